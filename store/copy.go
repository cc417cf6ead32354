package store

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// A copy holds the live records of a database, and nothing of what was overwritten
// or deleted before: that lies in free pages, which are not copied (GUARANTEES, G29).
const (
	// copyBatch is how many bytes of records go into one transaction of a copy: it bounds the memory.
	copyBatch = 8 << 20
	// recordWeight is about what a record takes in memory beside its bytes, until the commit.
	recordWeight = 128
	// copyFill is how full the pages of a copy are left.
	copyFill = 0.9
)

// marks are the buckets whose records are a key and nothing else, not even a checksum.
var marks = []*bucket{bEnds, bHeld, bTrash, bDue}

// entry is one live record of a database. It is valid as long as the transaction that it was read in.
type entry struct {
	name       []byte  // of its bucket
	kind       *bucket // nil: one that we do not know
	key, value []byte
}

// is reports whether this is the record of bMeta under the key.
func (r *entry) is(key []byte) bool { return r.kind == bMeta && string(r.key) == string(key) }

// sound reports whether the record's checksum is right (GUARANTEES, G9).
func (r *entry) sound() bool {
	if len(r.value) == 0 && (r.kind == nil || slices.Contains(marks, r.kind)) {
		return true
	}
	_, ok := open(crc32.Checksum(r.name, castagnoli), r.key, r.value)
	return ok
}

// walk calls fn for each live record, in order of buckets and keys. fn must not keep it.
func walk(ctx context.Context, tx *bolt.Tx, fn func(*entry) error) error {
	var r entry
	i := 0
	return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
		if b == nil {
			return fmt.Errorf("%w: %q lies beside the buckets", errDamaged, name)
		}
		r.name, r.kind = name, bucketNamed(name)
		c := b.Cursor()
		for r.key, r.value = c.First(); r.key != nil; r.key, r.value = c.Next() {
			if i++; i%4096 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if r.value == nil {
				return fmt.Errorf("%w: bucket %q holds a bucket, which poller never makes", errDamaged, name)
			}
			if err := fn(&r); err != nil {
				return err
			}
		}
		return nil
	})
}

func bucketNamed(name []byte) *bucket {
	i := slices.IndexFunc(buckets, func(b *bucket) bool { return string(b.name) == string(name) })
	if i < 0 {
		return nil
	}
	return buckets[i]
}

// copySize returns about how many bytes a copy will take, rather too many.
func copySize(ctx context.Context, tx *bolt.Tx) (int64, error) {
	size := int64(1 << 20)
	err := walk(ctx, tx, func(r *entry) error {
		size += int64(elementSize+len(r.key)+len(r.value)) * 5 / 4
		return nil
	})
	return size, err
}

// tally is what was written into a copy, or read from it. The order does not matter.
type tally struct {
	records int64
	sum     uint64 // of the checksums of all
}

func (t *tally) add(name, key, value []byte) {
	t.records++
	sum := crc32.Update(crc32.Checksum(name, castagnoli), castagnoli, key)
	t.sum += uint64(crc32.Update(sum, castagnoli, value)) + uint64(len(key))<<32
}

// copier writes a new database.
type copier struct {
	path   string
	hooks  *hooks
	db     *bolt.DB
	tx     *bolt.Tx
	to     *bolt.Bucket // the one that the last record went to, in tx
	name   string       // of it
	weight int          // of tx
	put    tally
}

// newCopier begins a database in an empty file.
func newCopier(path string, h *hooks) (*copier, error) {
	// Until finish nothing is synced but the growing of the file, a batch at a time: so the disk is not
	// flooded at the end, and what is not complete has no head and is taken by nobody.
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout: lockWait, NoFreelistSync: true, FreelistType: bolt.FreelistMapType, NoStatistics: true, NoSync: true,
	})
	if err != nil {
		return nil, err
	}
	db.AllocSize = 0 // the file grows by what is written
	c := &copier{path: path, hooks: h, db: db}
	if c.tx, err = db.Begin(true); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	for _, b := range buckets {
		if _, err := c.tx.CreateBucket(b.name); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

// live copies the live records of tx but for the head and the mark of a backup, and those that keep, if
// not nil, refuses. Once it returns nothing of tx is needed any more.
func (c *copier) live(ctx context.Context, tx *bolt.Tx, keep func(*entry) bool) error {
	err := walk(ctx, tx, func(r *entry) error {
		if r.is(keyFormat) || r.is(keyBackup) || keep != nil && !keep(r) {
			return nil
		}
		return c.add(r.name, r.key, r.value)
	})
	if err != nil {
		return err
	}
	return c.flush()
}

// add writes one record; value must stay as it is until the next flush.
func (c *copier) add(name, key, value []byte) error {
	if c.weight >= copyBatch {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if c.to == nil || c.name != string(name) {
		b, err := c.tx.CreateBucketIfNotExists(name)
		if err != nil {
			return err
		}
		b.FillPercent = copyFill
		c.to, c.name = b, string(name)
	}
	c.weight += len(key) + len(value) + recordWeight
	c.put.add(name, key, value)
	return c.to.Put(key, value)
}

// flush commits what was written so far and begins anew.
func (c *copier) flush() (err error) {
	if err := c.tx.Commit(); err != nil {
		return err
	}
	if c.tx, err = c.db.Begin(true); err != nil {
		return err
	}
	c.to, c.weight = nil, 0
	return c.hooks.reached("batch")
}

// finish writes the head, last of all, syncs, and reads everything back. The file is then complete.
func (c *copier) finish(ctx context.Context, head []byte) error {
	if err := c.flush(); err != nil {
		return err
	}
	c.db.NoSync = false
	if err := c.add(bMeta.name, keyFormat, head); err != nil {
		return err
	}
	if err := c.tx.Commit(); err != nil {
		return err
	}
	c.tx = nil
	if err := c.close(); err != nil {
		return err
	}
	if err := c.hooks.reached("written"); err != nil {
		return err
	}
	if err := c.readBack(ctx); err != nil {
		return fmt.Errorf("what was written to %s does not read back, which should not happen (bad memory or disk?): %w", c.path, err)
	}
	return nil
}

// readBack checks the pages of the copy, and that it holds what was put there.
func (c *copier) readBack(ctx context.Context) error {
	if err := checkPages(c.path); err != nil {
		return err
	}
	db, err := openReading(c.path)
	if err != nil {
		return err
	}
	var got tally
	err = db.View(func(tx *bolt.Tx) error {
		return walk(ctx, tx, func(r *entry) error {
			got.add(r.name, r.key, r.value)
			return nil
		})
	})
	if err == nil && got != c.put {
		err = fmt.Errorf("%w: %d records instead of %d, or others", errDamaged, got.records, c.put.records)
	}
	return errors.Join(err, db.Close())
}

// close gives back what the copier holds; what is not finished stays without a head.
func (c *copier) close() error {
	var err error
	if c.tx != nil {
		err = c.tx.Rollback()
		c.tx = nil
	}
	if c.db != nil {
		err = errors.Join(err, c.db.Close())
		c.db = nil
	}
	return err
}

// tempCopy copies a database into a new file beside path, for path to be replaced by it. What write gives to the copier
// comes beside the live records that keep, if not nil, admits. If it returns an error nothing stays behind.
func tempCopy(ctx context.Context, o *Options, tx *bolt.Tx, work string, keep func(*entry) bool, write func(*copier) (head []byte, err error)) (temp string, err error) {
	dir := filepath.Dir(o.Path)
	need, err := copySize(ctx, tx)
	if err != nil {
		return "", err
	}
	if err := o.needSpace(dir, work, need); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, tempPattern) // 0600
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := errors.Join(f.Close(), sameOwner(f.Name(), o.Path)); err != nil {
		return "", err
	}
	c, err := newCopier(f.Name(), &o.hooks)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.close() }() // after an error; finish has closed else
	if err := c.live(ctx, tx, keep); err != nil {
		return "", err
	}
	head, err := write(c)
	if err != nil {
		return "", err
	}
	return f.Name(), c.finish(ctx, head)
}

func errSpace(dir, work string, need, has int64) error {
	const mib = 1 << 20
	return fmt.Errorf("%w: %s needs about %d MiB in %s, where %d MiB are free; make room and do it again",
		order.ErrNoSpace, work, need/mib+1, dir, has/mib)
}
