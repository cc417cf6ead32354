package store

import (
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// txn is the writer's transaction, with the changes to memory that take effect
// if it is committed.
type txn struct {
	s       *Store
	tx      *bolt.Tx
	buckets [32]*bolt.Bucket
	webhook map[order.EventType]bool

	scratch []byte // where the record at hand is encoded
	slab    []byte // where records are kept until the commit

	puts        int   // everything written so far
	coldChanges int   // ... in bCold
	size        int64 // of the database

	counters
	fuse   *order.Fuse // nil: unchanged
	usage  map[uint32]usage
	states map[order.State]int64
	held   int64
	active int
	ids    map[uint32]string // of new sellers
	ends   []*order.Order    // that had their transition
	change outboxChange

	// err is the first error that bbolt returned. Puts after it do nothing.
	err error
}

func (s *Store) newTxn(tx *bolt.Tx) *txn {
	// Only the writer changes memory, so that it needs no lock to read.
	return &txn{
		s: s, tx: tx, webhook: *s.webhook.Load(), counters: s.mem.counters,
		usage: make(map[uint32]usage), states: make(map[order.State]int64), ids: make(map[uint32]string),
	}
}

func (t *txn) bucket(b *bucket) *bolt.Bucket {
	if t.buckets[b.index] == nil {
		x := t.tx.Bucket(b.name)
		x.FillPercent = b.fill
		t.buckets[b.index] = x
	}
	return t.buckets[b.index]
}

// encoder begins a record; it is to be put before the next one begins.
func (t *txn) encoder() encoder { return encoder{append(t.scratch[:0], recordFormat)} }

// slabSize is how many bytes of records share one piece of memory.
const slabSize = 64 << 10

// put seals and writes a record. bbolt copies the key at once, but the value only when it commits.
func (t *txn) put(b *bucket, key []byte, e encoder) {
	t.scratch = e.seal(b.seed, key)
	n := len(t.scratch)
	if cap(t.slab)-len(t.slab) < n {
		t.slab = make([]byte, 0, max(n, slabSize))
	}
	t.slab = append(t.slab, t.scratch...)
	end := len(t.slab)
	t.putRaw(b, key, t.slab[end-n:end:end])
}

// mark puts a key that says all. Its value is empty, not nil, which a Get in the same transaction would take for absent.
func (t *txn) mark(b *bucket, key []byte) { t.putRaw(b, key, []byte{}) }

func (t *txn) putRaw(b *bucket, key, value []byte) {
	t.wrote(b)
	if t.err == nil {
		t.err = t.bucket(b).Put(key, value)
	}
}

func (t *txn) wrote(b *bucket) {
	t.puts++
	if b == bCold {
		t.coldChanges++
	}
}

func (t *txn) delete(b *bucket, key []byte) {
	t.wrote(b)
	if t.err == nil {
		t.err = t.bucket(b).Delete(key)
	}
}

// get returns the decoder of a record; found is false if there is none, ok if it is damaged.
func (t *txn) get(b *bucket, key []byte) (d decoder, found, ok bool) {
	return t.s.get(t.bucket(b), b, key)
}

// get reads a record of a bucket.
func (s *Store) get(bb *bolt.Bucket, b *bucket, key []byte) (d decoder, found, ok bool) {
	rec := bb.Get(key)
	if rec == nil {
		return decoder{}, false, false
	}
	d, ok = s.open(b, key, rec)
	return d, true, ok
}

// sellerID returns the id of the seller with this number.
func (t *txn) sellerID(number uint32) string {
	if id, ok := t.ids[number]; ok {
		return id
	}
	return t.s.ids[number]
}

// sellerActive returns how many orders of the seller are in processing.
func (t *txn) sellerActive(number uint32) int64 {
	return t.s.mem.usage[number].active + t.usage[number].active
}

// count notes that the seller's orders in processing and bytes of results change.
func (t *txn) count(number uint32, active, bytes int64) {
	before := t.sellerActive(number)
	u := t.usage[number]
	t.usage[number] = usage{u.active + active, u.bytes + bytes}
	switch after := before + active; {
	case before == 0 && after > 0:
		t.active++
	case before > 0 && after == 0:
		t.active--
	}
}

// theFuse returns the fuse for changing.
func (t *txn) theFuse() *order.Fuse {
	if t.fuse == nil {
		f := t.s.mem.fuse
		f.Losers = maps.Clone(f.Losers)
		t.fuse = &f
	}
	return t.fuse
}

// unchanged reports whether there is nothing to commit.
func (t *txn) unchanged() bool {
	return t.puts == 0 && t.fuse == nil && t.counters == t.s.mem.counters
}

// close writes what is written once a transaction.
func (t *txn) close() error {
	if t.counters != t.s.mem.counters {
		t.put(bMeta, keyCounters, t.counters.encode())
		t.put(bMeta, keyCounters2, t.counters.encode())
	}
	if t.fuse != nil {
		t.put(bMeta, keyFuse, encodeFuse(t.fuse))
	}
	if t.change.changed {
		t.change.oldest = t.outbox().oldest()
	}
	t.size = t.tx.Size()
	return t.err
}

// finish brings memory up to date after the commit.
func (t *txn) finish(s *Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.counters.events != s.mem.events {
		close(s.events)
		s.events = make(chan struct{})
	}
	if t.change.queued {
		close(s.queued)
		s.queued = make(chan struct{})
	}
	m := &s.mem
	m.counters = t.counters
	m.pending += t.change.pending
	m.dead += t.change.dead
	if t.change.changed {
		m.oldest = t.change.oldest
	}
	if t.fuse != nil {
		m.fuse = *t.fuse
	}
	for n, d := range t.usage {
		u := m.usage[n]
		if u = (usage{u.active + d.active, u.bytes + d.bytes}); u == (usage{}) {
			delete(m.usage, n)
		} else {
			m.usage[n] = u
		}
	}
	for st, d := range t.states {
		m.states[st] += d
	}
	m.held += t.held
	m.active += t.active
	maps.Copy(s.ids, t.ids)
}

// keysOf collects up to limit keys of a bucket that begin with prefix. They are
// copies: a bucket must not be changed while a cursor runs over it.
func (t *txn) keysOf(b *bucket, prefix []byte, limit int) [][]byte {
	var keys [][]byte
	c := t.bucket(b).Cursor()
	for k, _ := c.Seek(prefix); k != nil && len(keys) < limit && hasPrefix(k, prefix); k, _ = c.Next() {
		keys = append(keys, slices.Clone(k))
	}
	return keys
}

func hasPrefix(k, prefix []byte) bool {
	return len(k) >= len(prefix) && string(k[:len(prefix)]) == string(prefix)
}
