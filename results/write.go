package results

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"strings"

	"poller/order"
)

// Writer takes the bytes of one new file. It is used by one goroutine, which
// ends it with exactly one of Close and Abort; Abort after Close does nothing.
type Writer struct {
	dir  *Dir
	ctx  context.Context //nolint:containedctx // a writer lives within one poll, whose end ends it
	key  string
	file *os.File // nil: ended
	hash hash.Hash
	size int64
	err  error // the first one; nothing is written after it
}

// Create begins a file of the order that the seller knows as remoteID, under a
// new key: orders/<remoteID>/<random>. When ctx ends, writing fails. An error
// wraps order.ErrNoSpace if the disk has no room for it.
func (d *Dir) Create(ctx context.Context, remoteID string) (*Writer, error) {
	if !order.ValidID(remoteID) {
		return nil, fmt.Errorf("creating a result file: %q can't be a remote_id", remoteID)
	}
	key := newKey(remoteID)
	f, err := d.create(ctx, key)
	if err != nil {
		return nil, explain("creating", key, err)
	}
	return &Writer{dir: d, ctx: ctx, key: key, file: f, hash: sha256.New()}, nil
}

// create opens a new file.
func (d *Dir) create(ctx context.Context, key string) (f *os.File, err error) {
	err = whileFoldersGo(ctx, func() error {
		f, err = d.tryCreate(key)
		return err
	})
	return f, err
}

// whileFoldersGo calls try, which makes folders and then a name in them, until
// it gets through: between the two, Remove may take a folder away again, because it was empty.
func whileFoldersGo(ctx context.Context, try func() error) error {
	const attempts = 100 // each one lost to another Remove; more than that, and the root itself is gone
	var err error
	for range attempts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err = try(); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

func (d *Dir) tryCreate(key string) (*os.File, error) {
	way, name, err := d.folders(key, true)
	if err != nil {
		return nil, err
	}
	defer closeAll(way)
	return way[len(way)-1].OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// Write implements io.Writer. An error wraps order.ErrNoSpace if the disk is full.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.file == nil {
		return 0, explain("writing", w.key, fs.ErrClosed)
	}
	if err := w.ctx.Err(); err != nil {
		w.err = explain("writing", w.key, err)
		return 0, w.err
	}
	n, err := w.file.Write(p)
	w.hash.Write(p[:n])
	w.size += int64(n)
	if err != nil {
		w.err = explain("writing", w.key, err)
	}
	return n, w.err
}

// Close makes the file durable, with every folder on the way to it, and returns
// its key, its size in bytes and its SHA-256 in hex. If that fails, or a write
// has failed, the file is removed; order.ErrNoSpace then says that the disk is full.
func (w *Writer) Close() (key string, size int64, sha256 string, err error) {
	if w.file == nil {
		return "", 0, "", explain("closing", w.key, fs.ErrClosed)
	}
	err = w.err
	if err == nil {
		// Space may be found missing only now, when the data is given a place on the disk.
		if syncErr := w.file.Sync(); syncErr != nil {
			err = explain("syncing", w.key, syncErr)
		}
	}
	if closeErr := w.file.Close(); err == nil && closeErr != nil {
		err = explain("closing", w.key, closeErr)
	}
	w.file = nil
	if err == nil {
		if syncErr := w.dir.syncFolders(w.key); syncErr != nil {
			err = explain("syncing the folders of", w.key, syncErr)
		}
	}
	if err != nil {
		w.discard()
		return "", 0, "", err
	}
	return w.key, w.size, hex.EncodeToString(w.hash.Sum(nil)), nil
}

// Abort drops the file.
func (w *Writer) Abort() {
	if w.file == nil {
		return
	}
	_ = w.file.Close() // its bytes are not wanted
	w.file = nil
	w.discard()
}

// discard removes the file. If it can't, no order will name it, and SweepOrphans finds it.
func (w *Writer) discard() { _ = w.dir.remove(w.key) }

// syncFolders makes the names of a file and of its folders durable. All of
// them: an upper one may have been made a moment ago, by another writer that has not come as far.
func (d *Dir) syncFolders(key string) error {
	way, _, err := d.folders(key, false)
	if err != nil {
		return err
	}
	defer closeAll(way)
	for i := len(way) - 1; i >= 0; i-- {
		if err := syncFolder(way[i]); err != nil {
			return err
		}
	}
	return nil
}

// Remove deletes files, and folders that are empty then. A file that isn't
// there is no error, so that a deletion can be repeated. It goes on after an
// error and returns all of them.
//
// A power cut may bring a file back; it is then one that no order names.
func (d *Dir) Remove(ctx context.Context, keys ...string) error {
	var failed []error
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(failed, err)...)
		}
		if err := d.remove(key); err != nil {
			failed = append(failed, explain("removing", key, err))
		}
	}
	return errors.Join(failed...)
}

func (d *Dir) remove(key string) error {
	if !ValidKey(key) {
		return errInvalidKey
	}
	way, name, err := d.folders(key, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer closeAll(way)
	if err := way[len(way)-1].Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	segments := strings.Split(key, "/")
	for i := len(segments) - 2; i > 0; i-- { // the topmost folder stays
		if way[i].Remove(segments[i]) != nil {
			return nil // not empty, or somebody else was quicker
		}
	}
	return nil
}
