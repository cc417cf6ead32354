package results

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// pageSize is how many names of a folder are read at once: there may be a million orders.
const pageSize = 512

// Walk calls fn with every file, in no particular order: its key, when it was
// last written, its size in bytes. Files made or removed meanwhile may be left
// out; what is neither a file nor a folder always is. An error of fn ends the
// walk and is returned. fn may remove files.
func (d *Dir) Walk(ctx context.Context, fn func(key string, modTime time.Time, size int64) error) error {
	w := walker{ctx: ctx, file: fn, empty: func(string, time.Time) {}}
	return w.start(d.root)
}

// SweepOrphans removes the files last written before olderThan that no order
// names, and empty folders as old; it returns the number of files removed
// (GUARANTEES, G3). It goes on when one can't be removed and returns the first
// such error at the end; an error of named ends it. Names are asked about one by
// one: a file is kept if named says so.
//
// The file of a poll in flight has no owner yet, so olderThan must lie further
// back than any poll can last, and the wall clock must not be in doubt (G12).
func (d *Dir) SweepOrphans(ctx context.Context, olderThan time.Time, named func(ctx context.Context, key string) (bool, error)) (removed int, err error) {
	var failed error
	w := walker{ctx: ctx}
	w.file = func(key string, modTime time.Time, _ int64) error {
		if !modTime.Before(olderThan) {
			return nil
		}
		owned, err := named(ctx, key)
		if err != nil || owned {
			return err
		}
		if err := d.remove(key); err != nil {
			if failed == nil {
				failed = explain("removing", key, err)
			}
			return nil
		}
		removed++
		return nil
	}
	w.empty = func(path string, modTime time.Time) {
		if modTime.Before(olderThan) {
			_ = d.root.Remove(path) // no longer empty, or the next sweep's
		}
	}
	if err := w.start(d.root); err != nil {
		return removed, err
	}
	return removed, failed
}

// walker goes through the folders.
type walker struct {
	ctx   context.Context //nolint:containedctx // a walker lives within one call
	file  func(key string, modTime time.Time, size int64) error
	empty func(path string, modTime time.Time) // an empty folder below the topmost
}

func (w *walker) start(root *os.Root) error {
	folder, err := enter(root, top)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no file was ever made
	}
	if err != nil {
		return explain("listing", top, err)
	}
	defer func() { _ = folder.Close() }() // it was only read
	_, err = w.walk(folder, top)
	return err
}

// walk goes through one folder and what is below it, and returns how many names are in it.
func (w *walker) walk(folder *os.Root, path string) (names int, err error) {
	list, err := folder.Open(".")
	if err != nil {
		return 0, explain("listing", path, err)
	}
	defer func() { _ = list.Close() }() // it was only read
	for {
		entries, err := list.ReadDir(pageSize)
		names += len(entries)
		for _, e := range entries {
			if err := w.ctx.Err(); err != nil {
				return names, err
			}
			if err := w.visit(folder, e, path+"/"+e.Name()); err != nil {
				return names, err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) { // the end, or the folder itself was removed
			return names, nil
		}
		if err != nil {
			return names, explain("listing", path, err)
		}
	}
}

// visit looks at one name. One that is gone by now is passed over.
func (w *walker) visit(folder *os.Root, e fs.DirEntry, path string) error {
	info, err := folder.Lstat(e.Name())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return explain("listing", path, err)
	case info.Mode().IsRegular() && ValidKey(path):
		return w.file(path, info.ModTime(), info.Size())
	case !info.IsDir():
		return nil
	}
	below, err := enter(folder, e.Name())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errIrregular) {
		return nil
	}
	if err != nil {
		return explain("listing", path, err)
	}
	defer func() { _ = below.Close() }() // it was only read
	names, err := w.walk(below, path)
	if err == nil && names == 0 {
		w.empty(path, info.ModTime())
	}
	return err
}
