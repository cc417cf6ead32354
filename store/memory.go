package store

import (
	"context"
	"maps"
	"time"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// counters are the numbers that must never be given twice. They are committed
// with what they were given to, so that a rolled back transaction burns none.
type counters struct {
	sellers    uint32
	orders     uint64
	events     uint64 // the newest
	firstEvent uint64 // the oldest that is kept
	tick       uint64
	cronAt     time.Time // of the newest cron or catch_up tick
	sweeps     uint64
}

func (c *counters) encode() encoder {
	e := newEncoder(48)
	e.uint(uint64(c.sellers))
	e.uint(c.orders)
	e.uint(c.events)
	e.uint(c.firstEvent)
	e.uint(c.tick)
	e.time(c.cronAt)
	e.uint(c.sweeps)
	return e
}

func (c *counters) decode(d *decoder) bool {
	*c = counters{
		sellers: uint32(d.uint()), orders: d.uint(), events: d.uint(), firstEvent: d.uint(),
		tick: d.uint(), cronAt: d.time(), sweeps: d.uint(),
	}
	return d.ok()
}

// usage is what a seller takes up.
type usage struct {
	active int64 // orders in processing
	bytes  int64 // of result files
}

// memory is what is known without reading: all of it follows from the file.
type memory struct {
	counters
	fuse   order.Fuse
	usage  map[uint32]usage
	states map[order.State]int64
	held   int64
	active int // sellers with orders in processing

	pending, dead int64     // deliveries
	oldest        time.Time // since when a pending one waits; zero: there is none
}

// load fills memory from the file: one pass over the orders' keys and ends.
func (s *Store) load(ctx context.Context, tx *bolt.Tx) error {
	m := &s.mem
	m.usage = make(map[uint32]usage)
	m.states = make(map[order.State]int64, len(order.States))
	for _, st := range order.States {
		m.states[st] = 0
	}
	if err := s.loadCounters(tx); err != nil {
		return err
	}
	if rec := tx.Bucket(bMeta.name).Get(keyFuse); rec != nil {
		d, ok := s.open(bMeta, keyFuse, rec)
		fuse, whole := decodeFuse(&d)
		if !ok || !s.whole(whole, bMeta, keyFuse) {
			// Nobody knows how many sellers lost orders: an operator must say go on.
			fuse = order.Fuse{Blown: true, BlownAt: s.opts.Now()}
		}
		m.fuse = fuse
	}
	scan := func(b *bucket, fn func(k, v []byte)) error {
		c := tx.Bucket(b.name).Cursor()
		i := 0
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if i++; i%4096 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			fn(k, v)
		}
		return nil
	}
	err := scan(bNumbers, func(k, v []byte) {
		if d, ok := s.open(bNumbers, k, v); ok {
			s.ids[parseSellerKey(k)] = d.string()
		}
	})
	if err == nil {
		// The sellers' own records say it too.
		err = scan(bSellers, func(k, v []byte) {
			if d, ok := s.open(bSellers, k, v); ok {
				x := decodeSellerHead(string(k), &d)
				s.ids[x.Number] = x.ID
			}
		})
	}
	if err == nil {
		// Neighbours are mostly the same seller's: one map access for a run of them.
		var run usage
		var of uint32
		flush := func() {
			if run != (usage{}) {
				u := m.usage[of]
				m.usage[of] = usage{u.active + run.active, u.bytes + run.bytes}
			}
			run = usage{}
		}
		at := func(k []byte) {
			if n := parseRef(k).Seller; n != of {
				flush()
				of = n
			}
		}
		err = scan(bHot, func(k, _ []byte) {
			at(k)
			run.active++
			m.states[order.StateProcessing]++
		})
		flush()
		m.active = len(m.usage)
		if err == nil {
			err = scan(bEnded, func(k, v []byte) {
				d, ok := s.open(bEnded, k, v)
				if !ok {
					return
				}
				var o order.Order
				var x ended
				decodeEnd(&d, &o, &x)
				at(k)
				run.bytes += x.stored
				m.states[o.State]++
			})
			flush()
		}
	}
	if err == nil {
		err = scan(bHeld, func([]byte, []byte) { m.held++ })
	}
	for b, n := range map[*bucket]*int64{bOutbox: &m.pending, bTried: &m.pending, bDead: &m.dead} {
		if err == nil {
			err = scan(b, func([]byte, []byte) { *n++ })
		}
	}
	m.oldest = s.outbox(tx).oldest()
	return err
}

// loadCounters reads the two copies of the counters; one damaged record must not stop everything.
func (s *Store) loadCounters(tx *bolt.Tx) error {
	s.mem.counters = counters{firstEvent: 1}
	found, damaged := false, false
	for _, key := range [][]byte{keyCounters, keyCounters2} {
		rec := tx.Bucket(bMeta.name).Get(key)
		if rec == nil {
			continue
		}
		var c counters
		d, ok := s.open(bMeta, key, rec)
		if ok && s.whole(c.decode(&d), bMeta, key) {
			if !found || c.orders+c.events+c.sweeps > s.mem.orders+s.mem.events+s.mem.sweeps {
				s.mem.counters = c
			}
			found = true
		} else {
			damaged = true
		}
	}
	if damaged && !found {
		return errCounters(s.opts.Path)
	}
	return nil
}

// SellerUsage returns how many orders of the seller are in processing, and the bytes of the
// result files that are kept for it. It reads nothing.
func (s *Store) SellerUsage(number uint32) (activeOrders, resultBytes int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	u := s.mem.usage[number]
	return u.active, u.bytes
}

// Counts returns the number of orders kept, by state; every state is there.
func (s *Store) Counts() map[order.State]int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.mem.states)
}

// Held returns the number of orders that the fuse holds.
func (s *Store) Held() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mem.held
}

// Fuse returns a copy of the fuse.
func (s *Store) Fuse() order.Fuse {
	s.mu.RLock()
	defer s.mu.RUnlock()
	f := s.mem.fuse
	f.Losers = maps.Clone(f.Losers)
	return f
}

// SellersWithActive returns the number of sellers that have orders in processing.
func (s *Store) SellersWithActive() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mem.active
}

// LastTick returns the newest tick number, and the time of the newest cron or
// catch_up tick; zero: none yet.
func (s *Store) LastTick(ctx context.Context) (tick uint64, cronAt time.Time, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mem.tick, s.mem.cronAt, ctx.Err()
}

// sellerID returns the id of the seller with this number, even if it was deleted.
func (s *Store) sellerID(number uint32) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ids[number]
}
