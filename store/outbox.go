package store

import (
	"encoding/binary"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// delivery is a row of the outbox. The event that it is about is built from the order as it ended, which
// outlives the feed. One that was never tried lies in bOutbox, in order of numbers, which is that of the ends: most are
// taken at the first attempt, and cost an end one short record. What was tried or replayed lies in bTried, with two
// keys in bDue, and what is set aside in bDead.
type delivery struct {
	ref      order.Ref
	attempts int       // that failed and counted
	queuedAt time.Time // with its event, or by the newest replay
	dueAt    time.Time // of the next attempt
}

func (x *delivery) encode(e encoder) encoder {
	e.uint(uint64(x.ref.Seller))
	e.uint(x.ref.Order)
	e.int(int64(x.attempts))
	e.time(x.queuedAt)
	if !x.dueAt.Equal(x.queuedAt) {
		e.time(x.dueAt)
	}
	return e
}

func (x *delivery) decode(d *decoder) bool {
	x.ref = order.Ref{Seller: uint32(d.uint()), Order: d.uint()}
	x.attempts = int(d.int())
	x.queuedAt = d.time()
	if x.dueAt = d.time(); x.dueAt.IsZero() {
		x.dueAt = x.queuedAt
	}
	return d.ok()
}

// A key of bDue is a kind, a time in milliseconds and a number.
const (
	dueRetry byte = 1 + iota // due at
	dueSince                 // queued at

	dueSize = 1 + 8 + 8
)

func dueKey(kind byte, at time.Time, number uint64) []byte {
	b := append(make([]byte, 0, dueSize), kind)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, millis(at)), number)
}

// millis orders times; those before 1970 count as 1970.
func millis(at time.Time) uint64 { return uint64(max(at.UnixMilli(), 0)) }

// keys are the keys in bDue of a delivery in bTried.
func (x *delivery) keys(number uint64) [2][]byte {
	return [2][]byte{dueKey(dueRetry, x.dueAt, number), dueKey(dueSince, x.queuedAt, number)}
}

// outbox reads the outbox in one transaction, of reading or of writing.
type outbox struct {
	s                 *Store
	fresh, tried, due *bolt.Bucket
}

func (s *Store) outbox(tx *bolt.Tx) outbox {
	return outbox{s: s, fresh: tx.Bucket(bOutbox.name), tried: tx.Bucket(bTried.name), due: tx.Bucket(bDue.name)}
}

func (t *txn) outbox() outbox {
	return outbox{s: t.s, fresh: t.bucket(bOutbox), tried: t.bucket(bTried), due: t.bucket(bDue)}
}

// row reads a pending delivery. in is where it lies, nil if there is none; ok is false if it is damaged too.
func (o outbox) row(number uint64) (row delivery, in *bucket, ok bool) {
	key := numberKey(number)
	in = bOutbox
	d, found, ok := o.s.get(o.fresh, in, key)
	if !found {
		in = bTried
		d, found, ok = o.s.get(o.tried, in, key)
	}
	switch {
	case !found:
		return delivery{}, nil, false
	case ok && o.s.whole(row.decode(&d), in, key):
		return row, in, true
	}
	return delivery{}, in, false
}

// delivery reads a pending delivery with its event; false: there is none, or its row or its order is damaged.
func (o outbox) delivery(r *reader, number uint64) (order.Delivery, bool) {
	row, _, ok := o.row(number)
	if !ok {
		return order.Delivery{}, false
	}
	x := new(stored)
	if r.readEnded(x, row.ref) != nil || x.ended.event != number {
		return order.Delivery{}, false
	}
	return order.Delivery{Event: x.endEvent(), Attempts: row.attempts, QueuedAt: row.queuedAt, DueAt: row.dueAt}, true
}

// dueWalk goes through the pending deliveries that were never tried, or through the others.
type dueWalk struct {
	c     *bolt.Cursor
	fresh bool
	kind  byte // of the keys in bDue

	ok         bool // else it is at its end
	at, number uint64
}

func (o outbox) walkFresh() dueWalk {
	w := dueWalk{c: o.fresh.Cursor(), fresh: true}
	w.read(w.c.First())
	return w
}

func (o outbox) walkDue(kind byte) dueWalk {
	w := dueWalk{c: o.due.Cursor(), kind: kind}
	w.read(w.c.Seek([]byte{kind}))
	return w
}

func (w *dueWalk) next() { w.read(w.c.Next()) }

func (w *dueWalk) read(k, v []byte) {
	if w.fresh {
		var row delivery
		d, whole := open(bOutbox.seed, k, v)
		whole = whole && row.decode(&d)
		w.ok, w.at, w.number = k != nil, millis(row.dueAt), parseNumber(k)
		if !whole {
			w.at = 0 // it comes first, and is set aside
		}
		return
	}
	if w.ok = len(k) == dueSize && k[0] == w.kind; w.ok {
		w.at, w.number = binary.BigEndian.Uint64(k[1:]), binary.BigEndian.Uint64(k[9:])
	}
}

// due: what was never tried is due at once, whatever became of the clock.
func (w *dueWalk) due(now uint64) bool { return w.ok && (w.fresh || w.at <= now) }

// longestPause, in milliseconds: nothing is put off for longer, whatever the retries (SPEC §6, 10 h with jitter). What is due
// later still was put off when the clock was ahead, and would wait until it is there again.
const longestPause = uint64(12 * time.Hour / time.Millisecond)

// walkLast goes backwards through those that wait for a retry, from the one due last.
func (o outbox) walkLast() dueWalk {
	w := dueWalk{c: o.due.Cursor(), kind: dueRetry}
	if k, _ := w.c.Seek([]byte{dueRetry + 1}); k == nil {
		w.read(w.c.Last())
	} else {
		w.prev()
	}
	return w
}

func (w *dueWalk) prev() { w.read(w.c.Prev()) }

// postponed: it is due later than any retry can be.
func (w *dueWalk) postponed(now uint64) bool { return w.ok && w.at > now+longestPause }

// longestDue returns the walk that stands at the delivery to come first; at its end: there is none.
func longestDue(fresh, retry *dueWalk, now uint64) *dueWalk {
	if !fresh.ok || retry.due(now) && retry.at < fresh.at {
		return retry
	}
	return fresh
}

// oldest returns since when the delivery waits that waits longest; zero: there is none.
func (o outbox) oldest() (at time.Time) {
	since, fresh := o.walkDue(dueSince), o.walkFresh()
	for fresh.ok && fresh.at == 0 {
		fresh.next()
	}
	for _, w := range []*dueWalk{&since, &fresh} {
		if t := time.UnixMilli(int64(w.at)).UTC(); w.ok && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	return at
}

// outboxChange is what a transaction changes of the outbox in memory.
type outboxChange struct {
	pending, dead int64
	changed       bool      // a pending delivery did
	queued        bool      // whoever waits for deliveries is to be woken
	oldest        time.Time // after the change
}

// queue puts the delivery of a new event into the outbox.
func (t *txn) queue(number uint64, ref order.Ref, at time.Time) {
	row := delivery{ref: ref, queuedAt: at, dueAt: at}
	t.put(bOutbox, numberKey(number), row.encode(t.encoder()))
	t.change.pending++
	t.change.changed, t.change.queued = true, true
}

// retry puts a delivery, which lies nowhere, among those that wait for another attempt.
func (t *txn) retry(number uint64, row *delivery) {
	t.put(bTried, numberKey(number), row.encode(t.encoder()))
	for _, k := range row.keys(number) {
		t.mark(bDue, k)
	}
	t.change.pending++
	t.change.changed = true
}

// unqueue removes a pending delivery from where it lies. whole: its row could be read.
func (t *txn) unqueue(number uint64, row *delivery, in *bucket, whole bool) {
	switch {
	case in == bTried && whole:
		for _, k := range row.keys(number) {
			t.delete(bDue, k)
		}
	case in == bTried:
		t.unlistLost(number)
	}
	t.delete(in, numberKey(number))
	t.change.pending--
	t.change.changed = true
}

// unlistLost removes keys from bDue whose row can't be read: it looks at all.
func (t *txn) unlistLost(number uint64) {
	var keys [][]byte
	c := t.bucket(bDue).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if len(k) == dueSize && binary.BigEndian.Uint64(k[9:]) == number {
			keys = append(keys, slices.Clone(k))
		}
	}
	for _, k := range keys {
		t.delete(bDue, k)
	}
	t.change.changed = true
}

// undeliver removes a delivery, pending or set aside, if there is one.
func (t *txn) undeliver(number uint64) {
	if row, in, ok := t.outbox().row(number); in != nil {
		t.unqueue(number, &row, in, ok)
	}
	if key := numberKey(number); t.bucket(bDead).Get(key) != nil {
		t.delete(bDead, key)
		t.change.dead--
	}
}

// untold reports whether the webhook is still to be told of an event: its delivery is pending or set aside.
func (t *txn) untold(number uint64) bool {
	_, in, _ := t.outbox().row(number)
	return in != nil || t.bucket(bDead).Get(numberKey(number)) != nil
}
