// Package results keeps the files of results. Dir keeps them in a directory:
//
//	poller-store-id                      which database the directory belongs to
//	orders/<remote_id>/<random>          the files, each written once and never changed
//	orders/<remote_id>/<random>/<name>   ... those that sellers uploaded
//	uploads/<random>                     uploads that are not whole yet
//
// A file is written under its final name and digested on the way; it belongs
// to an order when a commit of the store names it, and until then to nobody.
// What a crash leaves behind is therefore only files that no order names, which
// SweepOrphans removes (GUARANTEES, G3). An upload could be named while it comes in, so it gets
// its name when it is whole; what a crash leaves of it goes when the directory is opened. Nothing is written outside the
// directory and no symbolic link in it is followed (G22); the path of the
// directory itself is the operator's and may well be one.
package results

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// markFile names the database that a directory belongs to. It is written
// under tempFile first, so that it is there in full or not at all.
const (
	markFile = "poller-store-id"
	tempFile = markFile + ".tmp"
)

// Dir is a directory of result files. Its methods may be called concurrently.
type Dir struct {
	root    *os.Root
	created bool
}

// OpenDir opens the directory, which must belong to the database with that
// store id. One that doesn't exist is made, and one that is empty becomes this
// database's; anything else is ErrForeign. It is closed to other users (0700),
// and rid of what a crash left of uploads: it must be open only once.
func OpenDir(dir, storeID string) (*Dir, error) {
	if err := checkStoreID(storeID); err != nil {
		return nil, fmt.Errorf("results folder: %w", err)
	}
	d, err := openDir(dir, storeID)
	if err != nil {
		return nil, fmt.Errorf("results folder %s: %w", dir, err)
	}
	return d, nil
}

func openDir(dir, storeID string) (*Dir, error) {
	parents := []string{filepath.Dir(dir)} // whose names change, the lowest first
	for {
		lowest := parents[len(parents)-1]
		if _, err := os.Stat(lowest); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		parents = append(parents, filepath.Dir(lowest))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	d := &Dir{root: root}
	err = d.claim(storeID)
	if err == nil {
		err = d.protect()
	}
	for i := 0; d.created && err == nil && i < len(parents); i++ {
		err = syncPath(parents[i])
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	d.sweepParts()
	return d, nil
}

// Close releases the directory. Files that are open stay usable.
func (d *Dir) Close() error { return d.root.Close() }

// Created reports whether OpenDir found the directory empty. If the database
// is not new, its files are somewhere else: a file system that is not mounted, perhaps.
func (d *Dir) Created() bool { return d.created }

// claim makes sure that the directory is this database's.
func (d *Dir) claim(storeID string) error {
	owner, err := d.owner()
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case owner != storeID:
		return foreignOwner(owner, storeID)
	default:
		return nil
	}
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		// The first is left by a crash in what follows, the second by mkfs.
		if e.Name() != tempFile && e.Name() != "lost+found" {
			return foreignContent(e.Name())
		}
	}
	d.created = true
	return d.mark(storeID)
}

// owner returns the store id in the mark file.
func (d *Dir) owner() (string, error) {
	f, info, err := openRegular(d.root, markFile)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	content, err := io.ReadAll(io.LimitReader(f, maxMark))
	if err != nil {
		return "", err
	}
	if info.Size() > maxMark {
		return "", foreignMark()
	}
	return strings.TrimSpace(string(content)), nil
}

// mark writes the mark file, durably.
func (d *Dir) mark(storeID string) error {
	if err := d.root.Remove(tempFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := d.root.OpenFile(tempFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(storeID + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := d.root.Rename(tempFile, markFile); err != nil {
		return err
	}
	return syncFolder(d.root)
}

// protect takes away what other users may do in a directory that was made by somebody else.
func (d *Dir) protect() error {
	info, err := d.root.Stat(".")
	if err != nil || info.Mode().Perm() == 0o700 {
		return err
	}
	return d.root.Chmod(".", 0o700)
}

// enter opens a folder in another one. The folder that was looked at is the
// one that is opened: a symbolic link is neither, nor is one put in its place meanwhile.
func enter(in *os.Root, name string) (*os.Root, error) {
	seen, err := in.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !seen.IsDir() {
		return nil, errIrregular
	}
	folder, err := in.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	opened, err := folder.Stat(".")
	if err == nil && !os.SameFile(seen, opened) {
		err = errIrregular
	}
	if err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	return folder, nil
}

// openRegular opens a file for reading; as with enter, nothing but a regular file is ever opened.
func openRegular(in *os.Root, name string) (*os.File, fs.FileInfo, error) {
	seen, err := in.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !seen.Mode().IsRegular() {
		return nil, nil, errIrregular
	}
	f, err := in.Open(name)
	if err != nil {
		return nil, nil, err
	}
	opened, err := f.Stat()
	if err == nil && !os.SameFile(seen, opened) {
		err = errIrregular
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, opened, nil
}

// folders opens the folders on the way to a key, the root first and the
// file's own last, and returns the file's name in it. Missing ones are made if
// create is set. The caller closes them with closeAll.
func (d *Dir) folders(key string, create bool) (way []*os.Root, name string, err error) {
	segments := strings.Split(key, "/")
	way = []*os.Root{d.root}
	for _, segment := range segments[:len(segments)-1] {
		in := way[len(way)-1]
		if create {
			if err := in.Mkdir(segment, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				closeAll(way)
				return nil, "", err
			}
		}
		folder, err := enter(in, segment)
		if err != nil {
			closeAll(way)
			return nil, "", err
		}
		way = append(way, folder)
	}
	return way, segments[len(segments)-1], nil
}

// closeAll closes what folders opened, which is all but the root.
func closeAll(way []*os.Root) {
	for _, folder := range way[1:] {
		_ = folder.Close() // nothing is written through it
	}
}

// syncFolder makes the names in a folder durable.
func syncFolder(folder *os.Root) error {
	f, err := folder.Open(".")
	if err != nil {
		return err
	}
	return syncAndClose(f)
}

// syncPath is syncFolder for a folder outside the directory.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return syncAndClose(f)
}

func syncAndClose(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, syscall.EINVAL) {
		err = nil // the file system has no such thing as the sync of a folder
	}
	return errors.Join(err, f.Close())
}
