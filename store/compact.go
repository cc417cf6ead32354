package store

import (
	"context"
	"errors"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
)

// Compact replaces the database of a stopped daemon by a copy of its live records, and returns the sizes of the
// file before and after, in bytes. It is the same store then, without the bytes of what was
// deleted or overwritten (GUARANTEES, G29), and without its free pages. A kill, or an error, leaves the old file or the new one, whole.
//
// Errors, each saying what to do: ErrMissing, ErrInUse, ErrForeign, ErrNewer, ErrBackup, order.ErrNoSpace.
func Compact(ctx context.Context, opts Options) (before, after int64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("compact: %w", err)
		}
	}()
	if err := opts.fill(); err != nil {
		return 0, 0, err
	}
	db, err := openStopped(ctx, &opts)
	if err != nil {
		return 0, 0, err
	}
	// Closed last of all: until then the old file is locked.
	defer func() { err = errors.Join(err, db.Close()) }()
	if before, err = fileSize(opts.Path); err != nil {
		return 0, 0, err
	}
	var temp string
	err = db.View(func(tx *bolt.Tx) (err error) {
		temp, err = tempCopy(ctx, &opts, tx, "compact", nil, func(*copier) ([]byte, error) {
			return tx.Bucket(bMeta.name).Get(keyFormat), nil
		})
		return err
	})
	if err != nil {
		return 0, 0, asNoSpace(err)
	}
	defer os.Remove(temp)
	if after, err = fileSize(temp); err != nil {
		return 0, 0, err
	}
	if err := replace(temp, opts.Path, &opts.hooks); err != nil {
		return 0, 0, err
	}
	return before, after, nil
}

func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
