package store

import (
	"time"

	bolt "go.etcd.io/bbolt"
)

// restored says what a restored database came from.
type restored struct {
	backupAt time.Time
	at       time.Time
}

func (r *restored) encode() []byte {
	e := newEncoder(32)
	e.time(r.backupAt)
	e.time(r.at)
	return e.seal(bMeta.seed, keyRestored)
}

// readRestored returns the zero value if the database was never restored; whole is false if nobody can tell.
func readRestored(tx *bolt.Tx) (r restored, whole bool) {
	rec := tx.Bucket(bMeta.name).Get(keyRestored)
	if rec == nil {
		return restored{}, true
	}
	d, ok := open(bMeta.seed, keyRestored, rec)
	r = restored{backupAt: d.time(), at: d.time()}
	return r, ok && d.ok()
}

// loadRestored reads it. Where nobody can tell it is taken for all there ever was, restored just now: files kept in
// vain do less harm than files deleted.
func (s *Store) loadRestored(tx *bolt.Tx) {
	r, whole := readRestored(tx)
	if !s.whole(whole, bMeta, keyRestored) {
		r = restored{backupAt: time.UnixMilli(0).UTC(), at: s.opts.Now()}
	}
	s.restored = r
}

// Restored returns when the backup was made that this database was restored from, and when that was; zero: it never
// was. What was recorded between the two is not in it, so that result files younger than the backup may belong to orders of it that
// have their end to come again. If it was restored more than once, backupAt is the earliest.
func (s *Store) Restored() (backupAt, restoredAt time.Time) {
	return s.restored.backupAt, s.restored.at
}
