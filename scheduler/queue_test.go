package scheduler

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"poller/order"
)

// A lane's list through many ticks, against a plain map of what is due: each order waits once, as of its tick, older ticks first; orders
// of one tick by slot or by number from the last one on; and what the scan does not meet is dropped.
func TestTheQueueHoldsWhatTheScanMet(t *testing.T) {
	for _, spread := range []time.Duration{0, 10 * time.Minute} {
		t.Run(fmt.Sprint("spread=", spread), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, uint64(spread)))
			m := &modelQueue{t: t, spread: spread, due: map[uint64]uint64{}, waits: map[uint64]uint64{}}
			for tick := uint64(1); tick <= 200; tick++ {
				m.r = &run{rec: order.Sweep{Tick: tick}, spread: spread}
				for range rnd.IntN(20) { // new orders
					m.newest += 1 + rnd.Uint64N(5)
					m.due[m.newest] = 0
				}
				for n := range m.due { // some end
					if rnd.IntN(50) == 0 {
						delete(m.due, n)
					}
				}
				m.scan(rnd)
				m.check()
				for range rnd.IntN(len(m.due) + 1) {
					m.poll(rnd.IntN(10) == 0)
				}
				m.check()
			}
		})
	}
}

type modelQueue struct {
	t      *testing.T
	spread time.Duration
	r      *run
	q      queue
	newest uint64
	due    map[uint64]uint64 // every order, and the tick that it was last polled for
	waits  map[uint64]uint64 // those waiting, and as of which tick
}

// scan is what Scheduler.scan does for one lane, polls going on meanwhile.
func (m *modelQueue) scan(rnd *rand.Rand) {
	var fresh queue
	inFresh := map[uint64]uint64{}
	numbers := make([]uint64, 0, len(m.due))
	for n := range m.due {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	gone := map[uint64]bool{}
	for n := range m.waits {
		gone[n] = true
	}
	for _, n := range numbers {
		tick := m.due[n]
		delete(gone, n)
		if tick >= m.r.rec.Tick {
			continue
		}
		met := m.q.answered.meet(ref(n), tick)
		if _, waits := m.waits[n]; met != waits {
			m.t.Fatalf("tick %d: order %d of tick %d: met %v, waits %v", m.r.rec.Tick, n, tick, met, waits)
		}
		if !met {
			as := m.r.asOf(tick)
			c := fresh.answered.cohort(as, m.r.slots(as))
			c.entries = append(c.entries, c.entry(ref(n)))
			fresh.answered.n++
			inFresh[n] = as
		}
		if rnd.IntN(20) == 0 {
			m.poll(false)
		}
	}
	m.q.answered.sift()
	m.q.answered.join(&fresh.answered, m.q.last)
	for n := range gone {
		delete(m.waits, n)
	}
	for n, as := range inFresh {
		m.waits[n] = as
	}
}

// poll takes the next order; in vain: it comes back.
func (m *modelQueue) poll(inVain bool) {
	if m.q.len() == 0 {
		return
	}
	n, as := m.q.answered.pop()
	oldest := as
	for _, tick := range m.waits {
		oldest = min(oldest, tick)
	}
	if want, waits := m.waits[n]; waits && want != as || as != oldest {
		m.t.Fatalf("order %d was taken as of tick %d, it waits as of %d, the oldest as of %d", n, as, want, oldest)
	}
	m.q.last = n
	if inVain {
		m.q.answered.insert(ref(n), as, m.r.slots(as), 0)
		return
	}
	delete(m.waits, n)
	if _, kept := m.due[n]; kept {
		m.due[n] = m.r.rec.Tick
	}
}

func (m *modelQueue) check() {
	seen := map[uint64]uint64{}
	m.q.each(func(n, tick uint64) {
		if _, twice := seen[n]; twice {
			m.t.Errorf("order %d waits twice", n)
		}
		seen[n] = tick
	})
	if len(seen) != m.q.len() || len(seen) != len(m.waits) {
		m.t.Fatalf("tick %d: %d wait, it says %d, want %d", m.r.rec.Tick, len(seen), m.q.len(), len(m.waits))
	}
	for n, tick := range m.waits {
		if seen[n] != tick {
			m.t.Errorf("order %d waits as of %d, want %d", n, seen[n], tick)
		}
	}
	if !slices.IsSortedFunc(m.q.answered.cohorts, func(a, b cohort) int { return cmp.Compare(a.tick, b.tick) }) {
		m.t.Error("the cohorts are out of order")
	}
	for i := range m.q.answered.cohorts {
		c := &m.q.answered.cohorts[i]
		live := c.entries[c.head:]
		turn := func(e entry) entry { return (e - c.from) &^ met }
		if len(live) == 0 || !slices.IsSortedFunc(live, func(a, b entry) int { return cmp.Compare(turn(a), turn(b)) }) {
			m.t.Errorf("a cohort of tick %d with %d orders is empty or out of order", c.tick, len(live))
		}
		for _, e := range live {
			if e&met != 0 || c.slotted && (e.wait(m.spread) < 0 || e.wait(m.spread) >= m.spread) {
				m.t.Errorf("entry %x", e)
			}
		}
	}
}

func ref(n uint64) order.Ref { return order.Ref{Seller: 1, Order: n} }

// Orders of one tick go on after the one that was taken last, and round.
func TestACohortGoesOnAfterTheLastOrder(t *testing.T) {
	for _, c := range []struct {
		last uint64
		want string
	}{{0, "[2 4 6 8]"}, {4, "[6 8 2 4]"}, {5, "[6 8 2 4]"}, {8, "[2 4 6 8]"}, {9, "[2 4 6 8]"}} {
		var fresh, f fifo
		for n := uint64(2); n <= 8; n += 2 {
			x := fresh.cohort(7, false)
			x.entries = append(x.entries, x.entry(ref(n)))
			fresh.n++
		}
		f.join(&fresh, c.last)
		var got []uint64
		for f.n > 0 {
			n, _ := f.pop()
			got = append(got, n)
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("after %d: %v, want %s", c.last, got, c.want)
		}
	}
}
