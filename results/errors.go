package results

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"poller/order"
)

// ErrForeign says that the folder or bucket belongs to another database, or to something that is
// not poller at all. Nothing in it was changed (GUARANTEES, G8).
var ErrForeign = errors.New("not this database's result store")

// errIrregular: there is something under the name, but neither a folder nor a
// file that poller made: a symbolic link, a pipe, a device.
var errIrregular = errors.New("not a regular file in regular folders")

// errInvalidKey: nothing can be kept under such a key.
var errInvalidKey = errors.New("the key is not of the form orders/<remote_id>/<name>")

// explain adds what was done to which file. Of a path error only the cause is
// kept: the folder's place on this machine is nobody's business. What is wrong
// with the disk wraps order.ErrNoSpace, what isn't there order.ErrNotFound.
func explain(doing, key string, err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	switch {
	case noSpace(err):
		err = fmt.Errorf("%w: %w", order.ErrNoSpace, err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errIrregular), errors.Is(err, errInvalidKey):
		err = fmt.Errorf("%w: %w", order.ErrNotFound, err)
	}
	return fmt.Errorf("%s result file %q: %w", doing, key, err)
}

// noSpace reports whether the disk refuses a write, for now or for good: no
// space (or inodes), over a quota, over a limit of file size, read-only (G7).
func noSpace(err error) bool {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EROFS} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// damaged says that a file is not what its order says.
func damaged(key, how string) error {
	return fmt.Errorf("result file %q: %w: %s", key, order.ErrDamaged, how)
}
