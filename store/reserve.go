package store

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// The reserve is a file beside the database that is only there to take up room. A commit that deletes writes the pages
// around what it deletes, so that on a full disk nothing could be deleted. When a commit is refused for want of
// space the file goes, and the commit is tried again in its room; it is made again when there is room for it, and for as much beside it.
const (
	reserveSuffix = ".reserve" // after the name of the database
	reserveSize   = 4 << 20    // bytes: several hundred pages
	reserveAgain  = 5 * time.Second
)

type reserve struct {
	path string
	free func(dir string) (int64, error)
	log  *zap.Logger
	out  atomic.Bool // it was given back, or there never was room for it
}

// newReserve makes the reserve, or finds it. Without one the store works as long as there is room.
func newReserve(o *Options) *reserve {
	r := &reserve{path: o.Path + reserveSuffix, free: freeBytes, log: o.Log}
	if o.hooks.free != nil {
		r.free = o.hooks.free
	}
	if info, err := os.Lstat(r.path); err == nil && info.Mode().IsRegular() && info.Size() == reserveSize {
		return r
	}
	switch err := makeReserve(r.path, o.Path); {
	case fullDisk(err):
		r.out.Store(true)
		r.log.Error("the disk is full: there is no room for the reserve that orders are ended and deleted with", zap.String("file", r.path), zap.Error(err))
	case err != nil:
		r.log.Warn("the reserve for a full disk can't be made", zap.String("file", r.path), zap.Error(err))
	}
	return r
}

// giveBack removes the file because a commit was refused; false: that makes no room. Only the writer calls it.
func (r *reserve) giveBack(cause error) bool {
	readOnly := errors.Is(cause, syscall.EROFS)
	if !readOnly && !fullDisk(cause) || r.out.Swap(true) {
		return false
	}
	if readOnly {
		r.log.Error("the disk has become read-only: nothing is recorded", zap.String("do", "find out why (dmesg), and make it writable again; work resumes by itself, or at a restart"),
			zap.String("file", r.path), zap.Error(cause))
		return false
	}
	r.log.Error("the disk is full: the reserve is given back, for orders to end and old ones to be deleted",
		zap.String("do", "free space on the disk of the database; work resumes by itself"), zap.String("file", r.path), zap.Error(cause))
	if err := os.Remove(r.path); err != nil {
		r.log.Warn("the reserve can't be removed", zap.String("file", r.path), zap.Error(err))
		return false
	}
	// Some file systems let the room be used only when the removal is on disk. If that fails the next commit says more.
	_ = syncDir(filepath.Dir(r.path))
	return true
}

// renew makes the file again if it was given back and there is room for it twice. Only the writer calls it.
func (r *reserve) renew(path string) {
	if !r.out.Load() {
		return
	}
	if free, err := r.free(filepath.Dir(r.path)); err != nil || free < 2*reserveSize {
		return
	}
	err := makeReserve(r.path, path)
	if fullDisk(err) || errors.Is(err, syscall.EROFS) {
		return
	}
	r.out.Store(false)
	if err != nil {
		r.log.Warn("the disk takes writes again, but the reserve can't be made", zap.String("file", r.path), zap.Error(err))
		return
	}
	r.log.Info("the disk takes writes again: the reserve is made again", zap.String("file", r.path))
}

// makeReserve makes the file, durably, for the owner of the database at path. After an error there is none.
func makeReserve(file, path string) (err error) {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = allocate(f, reserveSize)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = sameOwner(file, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(file))
	}
	if err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}

// writeRandom writes size bytes that no file system can make smaller.
func writeRandom(f *os.File, size int64) error {
	w := bufio.NewWriterSize(f, 64<<10)
	if _, err := io.CopyN(w, rand.NewChaCha8([32]byte{}), size); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return w.Flush()
}

// fullDisk reports whether an error says that the disk, or what of it we may use, is full.
func fullDisk(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Full reports whether the disk of the database is full or read-only: it refused a commit, and the reserve could not be
// made again yet. What is committed meanwhile should end or delete, and not add.
func (s *Store) Full() bool { return s.reserve.out.Load() }
