package scheduler

import (
	"context"
	"slices"
	"time"

	"poller/order"
)

// ask is a poll by hand that wants a turn. It obeys workers and per_host as
// every poll does, and waits for a turn if need be: before all that a sweep takes, behind what was asked before it.
type ask struct {
	order  order.Order
	over   chan struct{} // closed when there is a flight or an err
	flight *flight
	own    bool            // the flight is this one's to begin; else it was in flight already
	done   <-chan struct{} // closed when the flight is over
	err    error
}

// askTurn asks for a poll of the order. waits: there is no turn for it now.
func (s *Scheduler) askTurn(o *order.Order) (a *ask, waits bool) {
	a = &ask{order: *o, over: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer(a, time.Now()) {
		return a, false
	}
	s.asks = append(s.asks, a)
	return a, true
}

// answerAsks gives turns to those who wait for one, as long as there are some. The lock is held.
func (s *Scheduler) answerAsks(now time.Time) {
	for i := 0; i < len(s.asks) && s.inFlight < s.cfg.Workers; {
		if s.answer(s.asks[i], now) {
			s.asks = slices.Delete(s.asks, i, i+1)
		} else {
			i++ // its host has no room
		}
	}
}

// answer gives the turn, or says why there is none; false: it has to wait. The lock is held.
func (s *Scheduler) answer(a *ask, now time.Time) bool {
	o := &a.order
	l := s.lanes[o.Ref.Seller]
	switch {
	case s.stopping:
		a.err = order.ErrStopping
	case l == nil:
		a.err = order.ErrNotFound
	case l.busy[o.Ref.Order] != nil:
		a.flight = l.busy[o.Ref.Order]
		a.done = a.flight.wait()
		s.urgent = true
		s.wakeRecorder()
	case s.inFlight >= s.cfg.Workers || l.host.inFlight >= s.hostCap(l.host.name):
		return false
	default:
		f := &flight{lane: l, ref: o.Ref, target: order.Target{Ref: o.Ref, ID: o.ID, RemoteID: o.RemoteID}, waited: o.Tick, byHand: true, tick: o.Tick}
		if s.run != nil {
			f.run, f.tick = s.run, s.run.rec.Tick
		}
		s.takeOff(f, now)
		s.workers.Add(1)
		a.flight, a.own, a.done = f, true, f.wait()
	}
	close(a.over)
	return true
}

// dismissAsks tells all who wait for a turn that none will come. The lock is held.
func (s *Scheduler) dismissAsks() {
	for _, a := range s.asks {
		a.err = order.ErrStopping
		close(a.over)
	}
	s.asks = nil
}

// withdraw is for a caller who no longer wants the poll.
func (s *Scheduler) withdraw(a *ask) {
	s.mu.Lock()
	if i := slices.Index(s.asks, a); i >= 0 {
		s.asks = slices.Delete(s.asks, i, i+1)
	}
	s.mu.Unlock()
	if a.own { // its turn came at the same moment
		s.forgo(a.flight)
	}
}

// forgo gives a turn back that was not used.
func (s *Scheduler) forgo(f *flight) {
	defer s.workers.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveBack(f, errNotDue)
	s.pump(time.Now())
	s.rest()
}

// beginAsk makes the poll, if it is this one's to make. One that has waited looks first whether it is still to be made.
func (s *Scheduler) beginAsk(ctx context.Context, a *ask, waited bool) error {
	if !a.own {
		return nil
	}
	if waited {
		o, err := s.pollable(ctx, a.order.ID)
		if err != nil {
			s.forgo(a.flight)
			return err
		}
		s.mu.Lock()
		a.flight.waited = o.Tick
		s.mu.Unlock()
	}
	go s.worker(a.flight)
	return nil
}
