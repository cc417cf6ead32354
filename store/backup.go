package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"poller/order"
)

// Backup writes a complete copy of what is durable into a new file at path, which must be free (fs.ErrExist): as of
// one moment, live records only, synced. The sellers' headers lie in it sealed with the key KeyID; the
// key itself and the result files are not in it. It is brought in with Restore, and refused by Open.
//
// A damaged record is copied as it is, and counted (Damaged). If an error is returned nothing is left at
// path. Errors: order.ErrNoSpace, saying how much is needed. Memory stays bounded, and no commit waits; what is
// overwritten meanwhile is not reused before Backup returns, so the database may grow by that.
func (s *Store) Backup(ctx context.Context, path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("backup: %w", err)
		}
	}()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if err := f.Close(); err != nil {
		return err
	}
	c, err := newCopier(path, &s.opts.hooks)
	if err != nil {
		return err
	}
	defer func() { _ = c.close() }() // after an error; finish has closed else
	head, damaged, err := s.copyTo(ctx, c)
	if err != nil {
		return asNoSpace(err)
	}
	if damaged > 0 {
		s.log.Error("damaged records were copied into the backup as they are", zap.Int64("records", damaged))
	}
	return asNoSpace(errors.Join(c.finish(ctx, head), syncDir(filepath.Dir(path))))
}

// copyTo copies what is durable, in one read transaction that lasts no longer than the copying, and returns the head.
func (s *Store) copyTo(ctx context.Context, c *copier) (head []byte, damaged int64, err error) {
	at := s.opts.Now() // asked before: whatever is younger may not be in the copy
	err = s.view(ctx, func(tx *bolt.Tx) error {
		need, err := copySize(ctx, tx)
		if err != nil {
			return err
		}
		if err := s.opts.needSpace(filepath.Dir(c.path), "the backup", need); err != nil {
			return err
		}
		head = append(head, tx.Bucket(bMeta.name).Get(keyFormat)...)
		return c.live(ctx, tx, func(r *entry) bool {
			if !r.sound() {
				damaged++
				if r.kind != nil {
					s.damaged(r.kind, r.key)
				}
			}
			return true
		})
	})
	if err != nil {
		return nil, 0, err
	}
	b := backupRecord{at: at, key: s.KeyID()}
	return head, damaged, c.add(bMeta.name, keyBackup, b.encode())
}

// asNoSpace marks an error that says that the disk is full.
func asNoSpace(err error) error {
	if err != nil && refusedForSpace(err) {
		return fmt.Errorf("%w: %w", order.ErrNoSpace, err)
	}
	return err
}

// backupRecord marks a backup.
type backupRecord struct {
	at  time.Time
	key string // id of the key that seals the headers
}

func (b *backupRecord) encode() []byte {
	e := newEncoder(32)
	e.time(b.at)
	e.string(b.key)
	return e.seal(bMeta.seed, keyBackup)
}

// readBackupRecord returns the mark of a backup; false: it is none, or the mark is damaged.
func readBackupRecord(tx *bolt.Tx) (backupRecord, bool) {
	d, ok := open(bMeta.seed, keyBackup, tx.Bucket(bMeta.name).Get(keyBackup))
	b := backupRecord{at: d.time(), key: d.string()}
	return b, ok && d.ok()
}

// refuseBackup refuses a backup that was put in the place of a database: it bears the id of the store
// that it was made of, which has given out numbers since (SPEC §6, last paragraph).
func refuseBackup(tx *bolt.Tx, path string) error {
	if tx.Bucket(bMeta.name).Get(keyBackup) == nil {
		return nil
	}
	return fmt.Errorf("%w: %s; move it elsewhere, and bring it in with `poller restore FILE`", ErrBackup, path)
}
