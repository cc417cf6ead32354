package scheduler

import (
	"container/heap"
	"time"
)

// Lanes that may begin a poll wait in the ranks of their host, and hosts that
// have room wait in the ranks of the scheduler, both by the turn of the best
// lane: so a host at its cap holds up nobody, and the next turn costs a
// logarithm, however many sellers there are. All of it is guarded by the scheduler's lock.

// turn says which lane goes first: that with the least worker time, then one whose last poll was answered, then what earlier ticks
// left, then that with the fewest polls in flight, then the order of the store. A lane thus opens another connection only
// when no other lane waits for its first, and hundreds of sellers that hang don't fill the workers before those that answer had a turn.
type turn struct {
	level    int64
	silent   bool // its last poll got no answer
	oldest   uint64
	inFlight int
	number   uint32
}

func (t turn) before(o turn) bool {
	switch {
	case t.level != o.level:
		return t.level < o.level
	case t.silent != o.silent:
		return o.silent
	case t.oldest != o.oldest:
		return t.oldest < o.oldest
	case t.inFlight != o.inFlight:
		return t.inFlight < o.inFlight
	}
	return t.number < o.number
}

// turnNow is the lane's turn as things are.
func (l *lane) turnNow() turn {
	return turn{l.level, l.health.LastPolledAt.After(l.health.LastAnsweredAt), l.queue.oldest(), l.inFlight, l.seller.Number}
}

// rank is a place among ranks. The turn is kept beside who has it, so that a comparison need not go and look.
type rank[T placed] struct {
	turn
	who T
}

// ranks is a heap: the best turn is at 0.
type ranks[T placed] []rank[T]

// placed is who remembers its place in ranks: from 1; 0: in none.
type placed interface{ placeIn() *int }

func (l *lane) placeIn() *int { return &l.place }
func (h *host) placeIn() *int { return &h.place }

// set puts who where this turn belongs.
func (r *ranks[T]) set(who T, t turn) {
	at := *who.placeIn() - 1
	if at < 0 {
		at = len(*r)
		*r = append(*r, rank[T]{})
	}
	r.settle(at, rank[T]{t, who})
}

// drop takes who out.
func (r *ranks[T]) drop(who T) {
	place := who.placeIn()
	at, n := *place-1, len(*r)-1
	last := (*r)[n]
	(*r)[n] = rank[T]{}
	*r = (*r)[:n]
	*place = 0
	if at < n {
		r.settle(at, last)
	}
}

// settle puts x at a free place, or where it belongs above or below it.
func (r *ranks[T]) settle(at int, x rank[T]) {
	list := *r
	put := func(at int, x rank[T]) {
		list[at] = x
		*x.who.placeIn() = at + 1
	}
	for at > 0 && x.before(list[(at-1)/2].turn) {
		put(at, list[(at-1)/2])
		at = (at - 1) / 2
	}
	for {
		child := 2*at + 1
		if child >= len(list) {
			break
		}
		if child+1 < len(list) && list[child+1].before(list[child].turn) {
			child++
		}
		if !list[child].before(x.turn) {
			break
		}
		put(at, list[child])
		at = child
	}
	put(at, x)
}

// wake is a lane or a host to look at again at a certain time.
type wake struct {
	at   time.Time
	lane *lane
	host *host
}

type wakeHeap []wake

func (w wakeHeap) Len() int           { return len(w) }
func (w wakeHeap) Less(i, j int) bool { return w[i].at.Before(w[j].at) }
func (w wakeHeap) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *wakeHeap) Push(x any)        { *w = append(*w, x.(wake)) }
func (w *wakeHeap) Pop() any {
	n := len(*w) - 1
	x := (*w)[n]
	(*w)[n] = wake{}
	*w = (*w)[:n]
	return x
}

// count keeps the number of orders that wait.
func (s *Scheduler) count(l *lane) {
	n := int64(l.queue.len())
	if l.fresh != nil {
		n += int64(l.fresh.len())
	}
	s.queued += n - l.waiting
	l.waiting = n
}

// refreshLane puts the lane where it belongs after something about it changed, and its host if it has another best lane then.
func (s *Scheduler) refreshLane(l *lane, now time.Time) {
	if s.placeLane(l, now) {
		s.refreshHost(l.host, now)
	}
}

// placeLane is refreshLane without the host; it reports whether the host is to be looked at.
func (s *Scheduler) placeLane(l *lane, now time.Time) bool {
	s.count(l)
	h := l.host
	if busy := l.queue.len() > 0 && !l.seller.Paused; busy != l.counts {
		l.counts = busy
		if busy {
			h.lanes++
		} else {
			h.lanes--
		}
	}
	wasHeld := l.held
	ok, at := s.eligible(l, now)
	if l.held && !wasHeld {
		h.waiting = append(h.waiting, l)
	}
	best := l.place == 1
	switch {
	case ok:
		h.ready.set(l, l.turnNow())
	case l.place != 0:
		h.ready.drop(l)
	}
	if !at.IsZero() && (l.wakeAt.IsZero() || at.Before(l.wakeAt)) {
		l.wakeAt = at
		heap.Push(&s.wakes, wake{at: at, lane: l})
	}
	return best || l.place == 1
}

// refreshHost puts the host where it belongs after its room or its best lane changed.
func (s *Scheduler) refreshHost(h *host, now time.Time) {
	ok, at := false, time.Time{}
	if len(h.ready) > 0 {
		ok, at = s.hostMay(h, now)
	}
	switch {
	case ok:
		s.hostsReady.set(h, h.ready[0].turn)
	case h.place != 0:
		s.hostsReady.drop(h)
	}
	if !at.IsZero() && (h.wakeAt.IsZero() || at.Before(h.wakeAt)) {
		h.wakeAt = at
		heap.Push(&s.wakes, wake{at: at, host: h})
	}
}

// unhold looks again at the lanes that waited for the host's first answer.
func (s *Scheduler) unhold(h *host, now time.Time) {
	waiting := h.waiting
	h.waiting = nil
	for _, l := range waiting {
		if l.held && l.host == h {
			l.held = false
			s.refreshLane(l, now)
		}
	}
}

// wakeUp looks again at everything whose time has come.
func (s *Scheduler) wakeUp(now time.Time) {
	for len(s.wakes) > 0 && !s.wakes[0].at.After(now) {
		w := heap.Pop(&s.wakes).(wake)
		if w.lane != nil {
			if w.lane.wakeAt.Equal(w.at) {
				w.lane.wakeAt = time.Time{}
			}
			s.refreshLane(w.lane, now)
			continue
		}
		if w.host.wakeAt.Equal(w.at) {
			w.host.wakeAt = time.Time{}
		}
		s.refreshHost(w.host, now)
	}
}
