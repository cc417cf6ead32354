package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"syscall"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// hooks are what tests put in place of parts of the long works; nil in use.
type hooks struct {
	step func(name string) error // called when a step is done; its error is a fault at that point
	free func(dir string) (int64, error)
}

// reached tells the tests that a step is done.
func (h *hooks) reached(step string) error {
	if h.step == nil {
		return nil
	}
	return h.step(step)
}

// mapWide is how much address space, in bytes, is mapped at least on 64 bits. bbolt makes a commit that
// outgrows the map wait for all readers, a backup among them; a wide map means that none does. It costs
// no memory and no disk: pages are only mapped when they are read, and the file is as long as it was.
const mapWide = int64(64) << 30

// mapSizes returns the sizes to try for the map, in bytes, the best first; at 0 bbolt maps just the file.
func mapSizes(asked int, file int64) []int {
	switch {
	case asked != 0:
		return []int{asked, 0}
	case bits.UintSize == 32:
		return []int{64 << 20, 0}
	}
	return []int{int(max(mapWide, 2*file)), 1 << 30, 0}
}

// openBolt opens the file with the options that the measurements ask for:
// the free list is found at start instead of written at every commit, and the
// map is wide from the first, so that its growth does not wait for readers.
func openBolt(path string, o *Options) (db *bolt.DB, err error) {
	var size int64
	if info, err := os.Stat(path); err == nil {
		size = info.Size()
	}
	for _, n := range mapSizes(o.MapSize, size) {
		if db, err = openMapped(path, n); !errors.Is(err, syscall.ENOMEM) {
			return db, err
		}
		o.Log.Warn("the system refuses the address space (ulimit -v?); with less of it a commit that outgrows the map waits for a backup that is read",
			zap.Int("bytes", n))
	}
	return db, err
}

// openMapped opens the file with a map of at least size bytes.
func openMapped(path string, size int) (db *bolt.DB, err error) {
	var file *os.File
	defer asDamage(path, &err, func() { unlock(file) })
	db, err = bolt.Open(path, 0o600, &bolt.Options{
		Timeout:         lockWait,
		NoFreelistSync:  true,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: size,
		NoStatistics:    true,
		OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	})
	if err != nil {
		return nil, err
	}
	if err := samePlace(file, path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// openReading opens a file for reading only, under a shared lock.
func openReading(path string) (db *bolt.DB, err error) {
	defer asDamage(path, &err, func() {})
	return bolt.Open(path, 0, &bolt.Options{ReadOnly: true, Timeout: lockWait, NoStatistics: true})
}

// asDamage turns a panic into an error: bbolt panics on pages that contradict each other.
func asDamage(path string, err *error, cleanUp func()) {
	if p := recover(); p != nil {
		cleanUp()
		*err = fmt.Errorf("%w: %s: %v; restore it from a backup", errDamaged, path, p)
	}
}

// unlock gives back the lock of a file that bbolt left open; closing is not enough, since the map holds it too.
func unlock(f *os.File) {
	if f != nil {
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
		f.Close()
	}
}

// samePlace refuses a locked file that is not (any more) the one at path. The lock belongs to the file, not to
// its name: one who waits for it while compact or restore puts another file in place gets it on the old
// one, which is no longer the database. So the name is looked at again under the lock.
func samePlace(f *os.File, path string) error {
	ours, err := f.Stat()
	if err != nil {
		return err
	}
	now, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(ours, now) {
		return fmt.Errorf("%w: %s was replaced at this moment; try again", ErrInUse, path)
	}
	return nil
}

// lockFile takes the lock that bbolt takes on a database, whether or not what lies there is a whole one.
// Closing the file gives it back. Error: ErrInUse.
func lockFile(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file", ErrForeign, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errInUse(path)
	}
	if err == nil {
		err = samePlace(f, path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func errNothingAt(path string) error {
	return fmt.Errorf("%w: there is no %s; check store.bbolt and data_dir in the config", ErrMissing, path)
}

// openStopped opens the database of a daemon that is stopped, to work on the file. Errors: ErrMissing,
// ErrInUse, ErrForeign, ErrNewer, ErrBackup.
func openStopped(ctx context.Context, o *Options) (*bolt.DB, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if found, err := exists(o.Path); err != nil {
		return nil, err
	} else if !found {
		return nil, errNothingAt(o.Path)
	}
	db, err := openFile(o)
	if err != nil {
		return nil, err
	}
	err = db.View(func(tx *bolt.Tx) error {
		if _, err := readHead(tx, o.Path); err != nil {
			return err
		}
		return refuseBackup(tx, o.Path)
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// needSpace refuses work that writes need bytes into dir when there are fewer. Error: order.ErrNoSpace.
func (o *Options) needSpace(dir, work string, need int64) error {
	free := freeBytes
	if o.hooks.free != nil {
		free = o.hooks.free
	}
	has, err := free(dir)
	if err != nil {
		return err
	}
	if has < need {
		return errSpace(dir, work, need, has)
	}
	return nil
}

// freeBytes is what an unprivileged user may still write into dir.
func freeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	if blocks, size := s.Bavail, uint64(s.Bsize); size > 0 && blocks <= math.MaxInt64/size {
		return int64(blocks * size), nil
	}
	return math.MaxInt64, nil
}

// sameOwner gives a new file to whom the old one belongs: root works on the files of a daemon that is
// not root. Where there is no old one, its folder tells.
func sameOwner(file, old string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(old)
	if errors.Is(err, os.ErrNotExist) {
		info, err = os.Stat(filepath.Dir(old))
	}
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return os.Lchown(file, int(s.Uid), int(s.Gid))
	}
	return nil
}
