package scheduler

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"

	"poller/order"
)

// item is one due order in its lane's queue: 24 bytes, however large the order.
type item struct {
	number uint64 // order.Ref.Order
	tick   uint64 // the tick it was last polled for
	slot   int32  // milliseconds after the tick at which its turn may come; 0: at once
}

// fifo is a queue that takes back what could not be done at its front.
type fifo struct {
	items []item
	head  int
}

func (f *fifo) len() int { return len(f.items) - f.head }

func (f *fifo) front() item { return f.items[f.head] }

func (f *fifo) pop() item {
	it := f.items[f.head]
	f.head++
	if f.head == len(f.items) {
		f.items, f.head = nil, 0 // give the memory back
	}
	return it
}

func (f *fifo) pushFront(it item) {
	if f.head == 0 {
		f.items = slices.Insert(f.items, 0, it)
		return
	}
	f.head--
	f.items[f.head] = it
}

func (f *fifo) pushBack(it item) { f.items = append(f.items, it) }

// sort goes by slot, as only the front is looked at; what an earlier tick left has none and comes first.
// Of one slot older ticks come first, and orders of one tick by number, going
// on after the order with number last: so nobody's turn comes twice before another's once.
func (f *fifo) sort(last uint64) {
	less := func(a, b item) int {
		// Numbers up to last wrap round to the end.
		return cmp.Or(cmp.Compare(a.slot, b.slot), cmp.Compare(a.tick, b.tick), cmp.Compare(a.number-last-1, b.number-last-1))
	}
	if live := f.items[f.head:]; !slices.IsSortedFunc(live, less) {
		slices.SortFunc(live, less)
	}
}

// queue is what a lane has to do: orders whose last poll got an answer, and
// those whose last poll got none, which have one turn in ten while others wait (SPEC §4, "Turns").
type queue struct {
	answered, silent fifo
	turns
}

// turns is where a lane stopped; it outlives the queue.
type turns struct {
	turn uint
	last uint64 // number of the order that was taken last
}

func (q *queue) len() int { return q.answered.len() + q.silent.len() }

func (q *queue) add(d order.Due, slot int32) {
	it := item{number: d.Ref.Order, tick: d.Tick, slot: slot}
	if d.Unanswered {
		q.silent.pushBack(it)
	} else {
		q.answered.pushBack(it)
	}
}

func (q *queue) sort() { q.answered.sort(q.last); q.silent.sort(q.last) }

// silentTurn: every tenth turn goes to an order whose last poll got no answer.
const silentTurn = 10

// next chooses from where the next order is taken, elapsed being the time
// since the tick; nil with the wait until one's slot if none may begin yet.
// A probe takes an order that was answered, if there is one.
func (q *queue) next(elapsed time.Duration, probe bool) (*fifo, time.Duration) {
	first, second := &q.answered, &q.silent
	if !probe && q.turn%silentTurn == silentTurn-1 {
		first, second = second, first
	}
	wait := time.Duration(-1)
	for _, f := range []*fifo{first, second} {
		if f.len() == 0 {
			continue
		}
		w := time.Duration(f.front().slot)*time.Millisecond - elapsed
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

// each calls f with every order waiting.
func (q *queue) each(f func(item)) {
	for _, l := range []*fifo{&q.answered, &q.silent} {
		for _, it := range l.items[l.head:] {
			f(it)
		}
	}
}

// slotOf is an order's steady place in the window over which polls are spread (SPEC §4, "Spread").
func slotOf(ref order.Ref, spread time.Duration) int32 {
	if spread <= 0 {
		return 0
	}
	h := fnv.New64a()
	var b [12]byte
	for i := range 4 {
		b[i] = byte(ref.Seller >> (8 * i))
	}
	for i := range 8 {
		b[4+i] = byte(ref.Order >> (8 * i))
	}
	_, _ = h.Write(b[:]) // a hash's Write never fails
	// FNV's low bits are weak for short, similar keys; fold the high ones in.
	x := h.Sum64()
	x ^= x >> 29
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 32
	return int32(x % uint64(max(spread.Milliseconds(), 1)))
}
