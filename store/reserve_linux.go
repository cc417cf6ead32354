package store

import (
	"errors"
	"os"
	"syscall"
)

// allocate gives a new file blocks for size bytes.
func allocate(f *os.File, size int64) error {
	err := syscall.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return writeRandom(f, size)
	}
	return err
}
