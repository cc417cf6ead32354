package scheduler

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"poller/order"
)

// inLoop runs f in the loop's goroutine and waits for it.
func (s *Scheduler) inLoop(ctx context.Context, f func(context.Context)) error {
	done := make(chan struct{})
	select {
	case s.commands <- func(ctx context.Context) { defer close(done); f(ctx) }:
		<-done
		return nil
	case <-s.stopped:
		return order.ErrStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}

// StartSweep starts a sweep by hand (SPEC §4, "By hand"). dueOnly takes no
// tick number: it takes what the last tick left or skipped, and new orders.
// order.ErrConflict while another one started by hand has orders that wait for
// nobody; order.ErrNoSpace below min_free; order.ErrStopping.
func (s *Scheduler) StartSweep(ctx context.Context, dueOnly bool) (rec order.Sweep, err error) {
	if !s.enough() {
		return rec, order.ErrNoSpace
	}
	if e := s.inLoop(ctx, func(ctx context.Context) {
		s.mu.Lock()
		r := s.run
		busy := r != nil && r.rec.Trigger == order.TriggerManual && (!r.scanned || len(s.hostsReady) > 0)
		s.mu.Unlock()
		if busy {
			err = fmt.Errorf("sweep %d, started by hand, is still at work: %w", r.rec.ID, order.ErrConflict)
			return
		}
		rec, err = s.begin(ctx, order.TriggerManual, dueOnly)
	}); e != nil {
		return rec, e
	}
	return rec, err
}

// LiveSweep returns the running sweep with its books as of now; false if none runs.
func (s *Scheduler) LiveSweep() (order.Sweep, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return order.Sweep{}, false
	}
	rec := s.run.books()
	rec.Due = s.due()
	rec.Remaining = rec.Due - rec.Polled
	return rec, true
}

// PollNow polls one order at once: paused, resting or left alone, it does not
// matter; but it waits for a turn while as many polls are in flight as may be, in all or to the host
// (ctx ends that). It joins a poll of the order that is in flight. It returns what the
// poll brought and the order after the commit. order.ErrNotFound,
// order.ErrErased, order.ErrEnded, order.ErrNoSpace, order.ErrStopping.
func (s *Scheduler) PollNow(ctx context.Context, id string) (order.Observation, order.Order, error) {
	for {
		obs, o, err := s.pollNow(ctx, id)
		if !errors.Is(err, errNotDue) { // else the poll that it joined did not begin
			return obs, o, err
		}
	}
}

func (s *Scheduler) pollNow(ctx context.Context, id string) (order.Observation, order.Order, error) {
	var none order.Observation
	o, err := s.pollable(ctx, id)
	if err != nil {
		return none, o, err
	}
	if err := s.meet(ctx, []order.Due{{Ref: o.Ref}}); err != nil {
		return none, o, err
	}
	a, waits := s.askTurn(&o)
	select {
	case <-a.over:
	case <-ctx.Done():
		s.withdraw(a)
		return none, o, ctx.Err()
	}
	if a.err != nil {
		return none, o, a.err
	}
	if err := s.beginAsk(ctx, a, waits); err != nil {
		return none, o, err
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		return none, o, ctx.Err()
	}
	f := a.flight
	switch {
	case f.err != nil:
		return f.obs, o, f.err
	case f.change.Err != nil:
		return f.obs, o, f.change.Err
	}
	after := f.change.Decision.Order
	if f.change.Decision.Dropped && after.Ended() {
		return f.obs, after, order.ErrEnded // something else ended it meanwhile
	}
	return f.obs, after, nil
}

// pollable returns the order if it can be polled by hand now.
func (s *Scheduler) pollable(ctx context.Context, id string) (order.Order, error) {
	o, err := s.store.Order(ctx, id)
	switch {
	case err != nil:
		return o, err
	case o.Ended():
		return o, order.ErrEnded
	case !s.enough():
		return o, order.ErrNoSpace
	case !s.running():
		return o, order.ErrStopping
	}
	return o, nil
}

// running reports whether Run has read what it needs to judge polls, and is not stopping.
func (s *Scheduler) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock != nil && !s.stopping
}

// NextPoll is when an order will be polled next, as far as can be said: the
// next tick, or the one after its not_before. Zero: it has ended, or its seller is paused.
func (s *Scheduler) NextPoll(o *order.Order) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.Ended() || s.line == nil {
		return time.Time{}
	}
	if l := s.lanes[o.Ref.Seller]; l != nil && l.seller.Paused {
		return time.Time{}
	}
	wall := s.wall()
	if s.run != nil && o.Due(s.run.rec.Tick, s.run.rec.StartedAt, s.run.byHand) && (o.Polls > 0 || o.SubmittedAt.Before(s.run.rec.StartedAt)) {
		return wall // in the running sweep
	}
	next := wall.Add(time.Until(s.line.due)).Round(time.Second)
	for range 1000 {
		if !o.NotBefore.After(next.Add(time.Minute)) {
			return next
		}
		if next = s.schedule.Next(next); next.IsZero() {
			break
		}
	}
	return o.NotBefore
}

func (s *Scheduler) nextTick() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wall().Add(time.Until(s.line.due)).Round(time.Second)
}

// ClockDoubted reports whether the wall clock is doubted: deadlines and retention rest (GUARANTEES, G12).
// Before Run has compared it with the store it is: nothing is known of it yet.
func (s *Scheduler) ClockDoubted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock == nil || s.lookAtClock(s.wall(), time.Now())
}

// ClockLooked is closed once Run has compared the wall clock with the store: what goes by it waits for that.
func (s *Scheduler) ClockLooked() <-chan struct{} { return s.looked }

// lookAtClock reports whether the wall clock, which reads wall at the instant now, is doubted. Whatever goes by the wall
// clock asks here first: the loop alone could have slept since the clock stepped. The lock is held.
func (s *Scheduler) lookAtClock(wall, now time.Time) bool {
	if s.clock.look(wall, now) {
		s.tellClock()
		s.poke() // for the loop to remember it
	}
	return s.clock.doubted
}

// ConfirmClock takes the wall clock as right, on an operator's word.
func (s *Scheduler) ConfirmClock(ctx context.Context) error {
	var err error
	inLoop := s.inLoop(ctx, func(ctx context.Context) {
		s.mu.Lock()
		s.clock.confirm(s.wall(), time.Now())
		s.metrics.ClockDoubted.Set(0)
		s.log.Info("clock confirmed: deadlines and retention go on", zap.Time("wall", s.wall()))
		s.mu.Unlock()
		err = s.rememberClock(ctx)
	})
	return errors.Join(inLoop, err)
}

// rememberClock makes durable whether the clock is doubted, if that changed: a restart does not undo a doubt
// (GUARANTEES, G12). What the disk has no room for is tried again at the loop's next step. Only the loop calls it.
func (s *Scheduler) rememberClock(ctx context.Context) error {
	s.mu.Lock()
	off := s.clock.news()
	at := s.clock.seenWall.Add(-off)
	changed := off != s.clock.kept
	s.mu.Unlock()
	if !changed {
		return nil
	}
	err := s.store.SetClock(context.WithoutCancel(ctx), at, off)
	switch {
	case err == nil:
		s.mu.Lock()
		s.clock.kept = off
		s.mu.Unlock()
	case errors.Is(err, order.ErrBroken):
		s.fail(err)
	default:
		s.log.Warn("what is thought of the clock is not recorded; a restart may forget it", zap.Error(err))
	}
	return err
}

// tellClock shows whether the clock is doubted. The lock is held.
func (s *Scheduler) tellClock() {
	if s.clock.doubted {
		s.metrics.ClockDoubted.Set(1)
		s.log.Error("wall clock doubted: deadlines and retention rest", zap.Duration("off_by", s.clock.off.Round(time.Second)),
			zap.String("do", "set the clock right, or run `poller clock confirm` if it is"))
		return
	}
	s.metrics.ClockDoubted.Set(0)
}

// refreshAll looks at every lane and host anew. The lock is held.
func (s *Scheduler) refreshAll(now time.Time) {
	s.hostsReady, s.wakes = nil, nil
	for _, h := range s.hosts {
		h.ready, h.place, h.wakeAt, h.waiting = nil, 0, time.Time{}, nil
	}
	for _, l := range s.lanes {
		l.place, l.wakeAt, l.held = 0, time.Time{}, false
	}
	for _, l := range s.lanes {
		s.refreshLane(l, now)
	}
}

func (s *Scheduler) popWake() {
	w := heap.Pop(&s.wakes).(wake)
	if w.lane != nil && w.lane.wakeAt.Equal(w.at) {
		w.lane.wakeAt = time.Time{}
	}
	if w.host != nil && w.host.wakeAt.Equal(w.at) {
		w.host.wakeAt = time.Time{}
	}
}
