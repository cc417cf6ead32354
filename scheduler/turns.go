package scheduler

import (
	"container/heap"
	"time"
)

// Lanes that may begin a poll wait in the heap of their host, and hosts that
// have room wait in the heap of the scheduler, both by the turn of the best
// lane: so a host at its cap holds up nobody, and the next turn costs a
// logarithm, however many sellers there are. All of it is guarded by the scheduler's lock.

type laneHeap struct{ *host }

func (h laneHeap) Len() int           { return len(h.heap) }
func (h laneHeap) Less(i, j int) bool { return h.heap[i].before(h.heap[j]) }
func (h laneHeap) Swap(i, j int) {
	h.heap[i], h.heap[j] = h.heap[j], h.heap[i]
	h.heap[i].place, h.heap[j].place = i+1, j+1
}
func (h laneHeap) Push(x any) {
	l := x.(*lane)
	h.host.heap = append(h.host.heap, l)
	l.place = len(h.heap)
}
func (h laneHeap) Pop() any {
	n := len(h.heap) - 1
	l := h.heap[n]
	h.heap[n] = nil
	h.host.heap = h.heap[:n]
	l.place = 0
	return l
}

type hostHeap []*host

func (h hostHeap) Len() int           { return len(h) }
func (h hostHeap) Less(i, j int) bool { return h[i].heap[0].before(h[j].heap[0]) }
func (h hostHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}
func (h *hostHeap) Push(x any) {
	o := x.(*host)
	*h = append(*h, o)
	o.place = len(*h)
}
func (h *hostHeap) Pop() any {
	n := len(*h) - 1
	o := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	o.place = 0
	return o
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

// refreshLane puts the lane where it belongs after something about it changed.
func (s *Scheduler) refreshLane(l *lane, now time.Time) {
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
	best := len(h.heap) > 0 && h.heap[0] == l
	switch {
	case ok && l.place == 0:
		heap.Push(laneHeap{h}, l)
	case ok:
		heap.Fix(laneHeap{h}, l.place-1)
	case l.place != 0:
		heap.Remove(laneHeap{h}, l.place-1)
	}
	if !at.IsZero() && (l.wakeAt.IsZero() || at.Before(l.wakeAt)) {
		l.wakeAt = at
		heap.Push(&s.wakes, wake{at: at, lane: l})
	}
	if best || len(h.heap) > 0 && h.heap[0] == l || (h.place != 0) != (len(h.heap) > 0) {
		s.refreshHost(h, now)
	}
}

// refreshHost puts the host where it belongs after its room or its best lane changed.
func (s *Scheduler) refreshHost(h *host, now time.Time) {
	ok, at := false, time.Time{}
	if len(h.heap) > 0 {
		ok, at = s.hostMay(h, now)
	}
	switch {
	case ok && h.place == 0:
		heap.Push(&s.hostsReady, h)
	case ok:
		heap.Fix(&s.hostsReady, h.place-1)
	case h.place != 0:
		heap.Remove(&s.hostsReady, h.place-1)
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
