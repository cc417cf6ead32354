package scheduler

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"

	"poller/order"
)

// entry is one due order in its lane's queue: 8 bytes, however large the order.
// The number of its ref is in the low bits (enough for a million orders a day for 3,000 years), its slot above them.
type entry uint64

const (
	numberBits = 40
	slotBits   = 23
	met        = entry(1) << (numberBits + slotBits) // the running scan says that it is still due
)

func (e entry) number() uint64 { return uint64(e) & (1<<numberBits - 1) }

// wait is how long after the tick its turn may come.
func (e entry) wait(spread time.Duration) time.Duration {
	return time.Duration(uint64(e&^met) >> numberBits * uint64(spread.Milliseconds()) >> slotBits * uint64(time.Millisecond))
}

// cohort is the orders of one lane that one scan brought and that were last polled for the same tick, in the order
// of their turns: by slot, or by number, going on after the order that was taken last when they came, and round.
type cohort struct {
	tick    uint64 // new orders: the tick before the one that took them in
	slotted bool
	from    entry // the first number; 0 if slotted
	head    int   // those before it are gone
	entries []entry
}

// entry is the order as it is kept in this cohort.
func (c *cohort) entry(ref order.Ref) entry {
	e := entry(ref.Order)
	if c.slotted {
		e |= slotOf(ref) << numberBits
	}
	return e
}

// find returns where the order is, or would be.
func (c *cohort) find(ref order.Ref) (at int, found bool) {
	key := func(e entry) entry { return (e - c.from) &^ met } // numbers below from come last
	i, found := slices.BinarySearchFunc(c.entries[c.head:], key(c.entry(ref)), func(e, k entry) int { return cmp.Compare(key(e), k) })
	return c.head + i, found
}

// arrange brings orders that came in order of their numbers into the order of their turns.
func (c *cohort) arrange(last uint64) {
	if c.slotted {
		slices.Sort(c.entries)
		return
	}
	c.from = entry(last + 1)
	at, _ := slices.BinarySearch(c.entries, c.from)
	slices.Reverse(c.entries[:at])
	slices.Reverse(c.entries[at:])
	slices.Reverse(c.entries)
}

// fifo is a queue of cohorts: older ticks come first, and of one tick those that came first.
type fifo struct {
	cohorts []cohort // none is empty
	n       int
}

// pop takes the first order, and returns its number and the tick as of which it waited.
func (f *fifo) pop() (number, tick uint64) {
	c := &f.cohorts[0]
	number, tick = c.entries[c.head].number(), c.tick
	c.head++
	f.n--
	if c.head == len(c.entries) {
		f.prune()
	}
	return number, tick
}

// prune drops empty cohorts, and with them their memory.
func (f *fifo) prune() {
	f.cohorts = slices.DeleteFunc(f.cohorts, func(c cohort) bool { return c.head == len(c.entries) })
	if len(f.cohorts) == 0 {
		f.cohorts = nil
	}
}

// place is where the first cohort of the tick is, or would be.
func (f *fifo) place(tick uint64) (at int, found bool) {
	return slices.BinarySearchFunc(f.cohorts, tick, func(c cohort, tick uint64) int { return cmp.Compare(c.tick, tick) })
}

// cohort returns the first cohort of the tick, made if need be; it must not be left empty.
func (f *fifo) cohort(tick uint64, slotted bool) *cohort {
	at, found := f.place(tick)
	if !found {
		f.cohorts = slices.Insert(f.cohorts, at, cohort{tick: tick, slotted: slotted})
	}
	return &f.cohorts[at]
}

// insert puts one order where it belongs.
func (f *fifo) insert(ref order.Ref, tick uint64, slotted bool, mark entry) {
	c := f.cohort(tick, slotted)
	e := c.entry(ref) | mark
	switch at, found := c.find(ref); {
	case found:
		return
	case at == c.head && c.head > 0: // it was taken, and comes back
		c.head--
		c.entries[c.head] = e
	default:
		c.entries = slices.Insert(c.entries, at, e)
	}
	f.n++
}

// meet marks an order that waits here as still due; false if it does not. tick is the one that it was last polled for: 0 for a new order.
func (f *fifo) meet(ref order.Ref, tick uint64) bool {
	i := 0
	if tick != 0 {
		i, _ = f.place(tick)
	}
	for ; i < len(f.cohorts) && (tick == 0 || f.cohorts[i].tick == tick); i++ {
		c := &f.cohorts[i]
		if at, found := c.find(ref); found {
			c.entries[at] |= met
			return true
		}
	}
	return false
}

// sift drops what the scan did not meet, and takes the marks away.
func (f *fifo) sift() {
	f.n = 0
	for i := range f.cohorts {
		c := &f.cohorts[i]
		kept := c.entries[:c.head]
		for _, e := range c.entries[c.head:] {
			if e&met != 0 {
				kept = append(kept, e&^met)
			}
		}
		c.entries = kept
		f.n += len(kept) - c.head
	}
	f.prune()
}

// join takes in what a scan brought; last is the number of the order that was taken last.
func (f *fifo) join(fresh *fifo, last uint64) {
	for i := range fresh.cohorts {
		fresh.cohorts[i].arrange(last)
	}
	f.cohorts = append(f.cohorts, fresh.cohorts...)
	slices.SortStableFunc(f.cohorts, func(a, b cohort) int { return cmp.Compare(a.tick, b.tick) })
	f.n += fresh.n
}

// unmark takes the marks of a scan away that was cut short.
func (f *fifo) unmark() {
	for i := range f.cohorts {
		for j := range f.cohorts[i].entries {
			f.cohorts[i].entries[j] &^= met
		}
	}
}

// queue is what a lane has to do: orders whose last poll got an answer, and
// those whose last poll got none, which have one turn in ten while others wait (SPEC §4, "Turns").
type queue struct {
	answered, silent fifo

	turn uint
	last uint64 // number of the order that was taken last
}

func (q *queue) len() int { return q.answered.n + q.silent.n }

func (q *queue) lists() [2]*fifo { return [...]*fifo{&q.answered, &q.silent} }

func (q *queue) list(silent bool) *fifo {
	if silent {
		return &q.silent
	}
	return &q.answered
}

// oldest is the tick as of which the next order waits; those that got no answer wait for their own turns.
func (q *queue) oldest() uint64 {
	for _, f := range q.lists() {
		if f.n > 0 {
			return f.cohorts[0].tick
		}
	}
	return 0
}

// clear drops every order.
func (q *queue) clear() { q.answered, q.silent = fifo{}, fifo{} }

// silentTurn: every tenth turn goes to an order whose last poll got no answer.
const silentTurn = 10

// next chooses from where the next order of the sweep is taken, elapsed being the time
// since the tick; nil with the wait until one's slot if none may begin yet.
// A probe takes an order that was answered, if there is one.
func (q *queue) next(r *run, elapsed time.Duration, probe bool) (*fifo, time.Duration) {
	first, second := &q.answered, &q.silent
	if !probe && q.turn%silentTurn == silentTurn-1 {
		first, second = second, first
	}
	wait := time.Duration(-1)
	for _, f := range [...]*fifo{first, second} {
		if f.n == 0 {
			continue
		}
		w := time.Duration(0)
		if c := &f.cohorts[0]; r != nil && c.slotted && !r.older(c.tick) {
			w = c.entries[c.head].wait(r.spread) - elapsed
		}
		if w <= 0 {
			return f, 0
		}
		if wait < 0 || w < wait {
			wait = w
		}
		if probe {
			break
		}
	}
	return nil, wait
}

// each calls f with the number of every order waiting, and the tick as of which it waits.
func (q *queue) each(do func(number, tick uint64)) {
	for _, f := range q.lists() {
		for i := range f.cohorts {
			c := &f.cohorts[i]
			for _, e := range c.entries[c.head:] {
				do(e.number(), c.tick)
			}
		}
	}
}

// slotOf is an order's steady place in the window over which polls are spread
// (SPEC §4, "Spread"), in parts of it: 0 is its beginning, 1<<slotBits its end.
func slotOf(ref order.Ref) entry {
	h := fnv.New64a()
	var b [12]byte
	for i := range 4 {
		b[i] = byte(ref.Seller >> (8 * i))
	}
	for i := range 8 {
		b[4+i] = byte(ref.Order >> (8 * i))
	}
	_, _ = h.Write(b[:]) // a hash's Write never fails
	// FNV's bits are weak for short, similar keys; mix them.
	x := h.Sum64()
	x ^= x >> 29
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 32
	return entry(x >> (64 - slotBits))
}
