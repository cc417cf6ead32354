package results

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"

	"poller/order"
)

// partsFolder is where uploads are written until they are whole. No key leads
// there, and Walk does not: nobody can name what is in it.
const partsFolder = "uploads"

// part is an upload that is being written.
type part struct {
	dir    *Dir
	folder *os.Root
	name   string
	file   *os.File // nil: closed
	info   fs.FileInfo
	hash   hash.Hash
}

// newPart begins an upload. It ends with discard, whatever came before.
func (d *Dir) newPart() (*part, error) {
	p := &part{dir: d, name: rand.Text(), hash: sha256.New()}
	if err := p.open(); err != nil {
		return nil, explain("creating", partsFolder, err)
	}
	return p, nil
}

func (p *part) open() error {
	if err := p.dir.root.Mkdir(partsFolder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	folder, err := enter(p.dir.root, partsFolder)
	if err != nil {
		return err
	}
	p.folder = folder
	p.file, err = folder.OpenFile(p.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return errors.Join(err, folder.Close())
	}
	if p.info, err = p.file.Stat(); err != nil {
		return errors.Join(err, p.discard())
	}
	return nil
}

// write adds bytes. The error wraps order.ErrNoSpace if the disk is full.
func (p *part) write(b []byte) error {
	p.hash.Write(b)
	if _, err := p.file.Write(b); err != nil {
		return explain("writing", partsFolder, err)
	}
	return nil
}

// publish makes the whole file appear under its key, durably, and returns its
// SHA-256 in hex. order.ErrConflict: there is a file under this key, and it stays
// as it is. After another error there may be one all the same, a whole one.
func (p *part) publish(ctx context.Context, key string) (sum string, err error) {
	err = p.file.Sync()
	err = errors.Join(err, p.file.Close())
	p.file = nil
	if err == nil {
		err = whileFoldersGo(ctx, func() error { return p.link(key) })
	}
	if errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("%w: there is a file under this key", order.ErrConflict)
	}
	if err == nil {
		err = p.dir.syncFolders(key)
	}
	if err != nil {
		return "", explain("publishing", key, err)
	}
	return hex.EncodeToString(p.hash.Sum(nil)), nil
}

// link gives the file its key as a second name. A link, and no renaming: it fails if there is a file already.
func (p *part) link(key string) error {
	way, name, err := p.dir.folders(key, true)
	if err != nil {
		return err
	}
	defer closeAll(way)
	if err := p.dir.root.Link(partsFolder+"/"+p.name, key); err != nil {
		return err
	}
	// Folders on the way may have been made symbolic links meanwhile; they lead nowhere outside, but are not followed.
	info, err := way[len(way)-1].Lstat(name)
	if err == nil && !os.SameFile(info, p.info) {
		err = errIrregular
	}
	return err
}

// discard removes the name that the upload was written under. What can't be removed goes when the directory is opened next.
func (p *part) discard() error {
	if p.file != nil {
		_ = p.file.Close() // its bytes are not wanted
		p.file = nil
	}
	err := p.folder.Remove(p.name)
	_ = p.folder.Close() // nothing is written through it
	if err != nil {
		return explain("removing", partsFolder, err)
	}
	return nil
}

// sweepParts removes what a crash has left of uploads. What can't be removed, on
// a disk that is read-only perhaps, does no harm: the next start tries again.
func (d *Dir) sweepParts() {
	folder, err := enter(d.root, partsFolder)
	if err != nil {
		return
	}
	defer func() { _ = folder.Close() }() // nothing is written through it
	list, err := folder.Open(".")
	if err != nil {
		return
	}
	defer func() { _ = list.Close() }() // it was only read
	names, _ := list.Readdirnames(-1)   // those before an error; at most uploadsAtOnce are left by each crash
	for _, name := range names {
		_ = folder.Remove(name)
	}
}
