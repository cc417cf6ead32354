package scheduler

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"poller/order"
)

// A commit takes what has gathered for commitAfter, or commitAt decisions,
// whichever comes first; or at once, if nothing else is in flight or somebody waits.
const (
	commitAt    = 10_000
	commitAfter = 500 * time.Millisecond
)

// wakeRecorder makes the recorder look again.
func (s *Scheduler) wakeRecorder() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// record is the one goroutine that commits decisions. It ends when the
// scheduler is stopping, no poll is in flight, and all are committed.
func (s *Scheduler) record(ctx context.Context) {
	timer := time.NewTimer(commitAfter)
	defer timer.Stop()
	timed := false
	for {
		batch, done := s.gather(timed)
		if done {
			return
		}
		if len(batch) > 0 {
			s.commit(context.WithoutCancel(ctx), batch)
			timed = false
			continue
		}
		timer.Reset(commitAfter)
		select {
		case <-s.kick:
			timed = false
		case <-timer.C:
			timed = true
		}
	}
}

// gather returns what is to be committed now, if anything; done when nothing will ever come again.
func (s *Scheduler) gather(timed bool) (batch []*flight, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) == 0 {
		return nil, s.stopping && s.inFlight == 0
	}
	if !timed && !s.urgent && !s.stopping && s.inFlight > 0 && len(s.pending) < commitAt &&
		time.Since(s.pending[0].began.Add(s.pending[0].obs.Duration)) < commitAfter {
		return nil, false
	}
	batch, s.pending, s.urgent = s.pending, nil, false
	s.recording = len(batch)
	return batch, false
}

// commit writes the batch, and settles its flights.
func (s *Scheduler) commit(ctx context.Context, batch []*flight) {
	changes := make([]order.Change, len(batch))
	b := &order.Batch{Changes: make([]*order.Change, len(batch)), Health: make(map[uint32]order.Health), Now: s.wall()}
	s.mu.Lock()
	r := s.run
	b.FuseShare = s.cfg.FuseShare
	policy := s.cfg.Policy
	for i, f := range batch {
		f.change = &changes[i]
		f.fill(&policy)
		b.Changes[i] = f.change
		if f.lane != nil && (i == 0 || f.lane != batch[i-1].lane) {
			b.Health[f.ref.Seller] = f.lane.health
		}
	}
	var books order.Sweep
	if r != nil {
		books = r.books()
		books.Due = s.due()
	}
	s.mu.Unlock()
	if r != nil {
		b.Books = func() order.Sweep {
			if closed := r.closed.Load(); closed != nil {
				return closed.Clone() // it ended before this commit: what it left is in its books as left
			}
			after := books.Clone()
			for _, f := range batch {
				if f.run == r {
					tally(&after, f)
				}
			}
			return after
		}
	}
	err := s.store.Record(ctx, b)
	if err != nil {
		s.log.Error("decisions not recorded", zap.Int("polls", len(batch)), zap.Error(err))
		if errors.Is(err, order.ErrNoSpace) {
			s.refused(ctx, batch, err)
		} else {
			s.refused(ctx, batch, order.ErrBroken)
			s.fail(err)
		}
		return
	}
	s.settle(ctx, r, batch)
}

// fill puts into the flight's change what the store must know.
func (f *flight) fill(policy *order.Policy) {
	c := f.change
	c.Ref, c.Decide = f.ref, f.skip
	if f.skipped() {
		return
	}
	c.Decide = func(o order.Order) order.Decision { return policy.Decide(o, f.obs, f.poll, f.wall) }
	if f.obs.Result == nil {
		return
	}
	for i := range f.obs.Result.Files {
		if file := &f.obs.Result.Files[i]; file.Uploaded {
			c.Uploaded = append(c.Uploaded, file.ObjectKey)
		}
	}
	c.Rejected = func(o order.Order, key string) order.Decision {
		obs := f.obs
		obs.Reject("object_key: " + key + " belongs to another order")
		return policy.Decide(o, obs, f.poll, f.wall)
	}
}

// tally adds one recorded poll to a sweep's books.
func tally(rec *order.Sweep, f *flight) {
	d := &f.change.Decision
	if f.change.Err != nil || d.Dropped || f.skipped() {
		return
	}
	if rec.Outcomes == nil {
		rec.Outcomes = make(map[order.Outcome]int64)
	}
	rec.Outcomes[d.Order.LastOutcome]++
	if d.Counts && !f.byHand {
		rec.Polled++
	}
}

// skipped reports whether the flight is no poll but the end of an order that a sweep skipped.
func (f *flight) skipped() bool { return f.skip != nil }

// settle draws the consequences of a commit: what did not count goes back into its lane, and everybody who waits is told.
func (s *Scheduler) settle(ctx context.Context, r *run, batch []*flight) {
	now := time.Now()
	var orphans []string
	s.mu.Lock()
	for _, f := range batch {
		c := f.change
		if r != nil && f.run == r {
			tally(&r.rec, f)
		}
		s.tell(f)
		if c.Err != nil || c.Decision.Dropped || c.Decision.Order.State != order.StateCompleted {
			orphans = append(orphans, ownKeys(f.obs.Result)...)
		}
		if f.skipped() {
			f.finish()
			continue
		}
		s.leave(f)
		if s.run != nil && s.run.settled != nil && c.Err == nil {
			s.run.settled[f.ref] = c.Decision.Order.Tick
		}
		if s.again(f, c) {
			s.refreshLane(f.lane, now)
		}
		f.finish()
	}
	s.recording = 0
	if s.landed != nil && s.landed.over {
		s.landed = nil
	}
	s.pump(now)
	s.rest()
	s.mu.Unlock()
	s.remove(ctx, orphans)
}

// again puts an order that is still due back into its lane, and reports whether it did. The lock is held.
func (s *Scheduler) again(f *flight, c *order.Change) bool {
	o := &c.Decision.Order
	if s.run == nil || f.dueIn != s.run || c.Err != nil || o.Ended() || o.Tick >= s.run.rec.Tick {
		return false
	}
	tick := o.Tick
	if !c.Decision.Counts || c.Decision.Dropped {
		tick = f.waited
	}
	s.enqueue(f, tick, o.LastUnanswered)
	return true
}

// refused gives the flights of a commit back that the store did not take: nothing happened.
func (s *Scheduler) refused(ctx context.Context, batch []*flight, why error) {
	var orphans []string
	s.mu.Lock()
	for _, f := range batch {
		if f.skipped() {
			f.err = why
			f.finish()
			continue
		}
		orphans = append(orphans, ownKeys(f.obs.Result)...)
		s.metrics.Polls.WithLabelValues(string(order.LocalFault)).Inc()
		s.drop(f, why)
	}
	s.recording = 0
	s.fault, s.faultNext = true, time.Now().Add(faultPause)
	s.poke() // the loop starts the next poll
	s.rest()
	s.mu.Unlock()
	s.remove(ctx, orphans)
}

// ownKeys are the keys of files that came with the answer itself; an object
// that the seller uploaded beforehand stays, it may name it again.
func ownKeys(r *order.Result) []string {
	if r == nil {
		return nil
	}
	var keys []string
	for i := range r.Files {
		if f := &r.Files[i]; f.ObjectKey != "" && !f.Uploaded {
			keys = append(keys, f.ObjectKey)
		}
	}
	return keys
}

// remove deletes files that no order came to own. What can't be deleted now is swept a day later.
func (s *Scheduler) remove(ctx context.Context, keys []string) {
	if len(keys) == 0 {
		return
	}
	if err := s.files.Remove(ctx, keys...); err != nil {
		s.log.Warn("result files left behind: they are swept in a day", zap.Int("files", len(keys)), zap.Error(err))
	}
}

// tell counts a committed decision and logs what an operator would act on. The lock is held.
func (s *Scheduler) tell(f *flight) {
	c := f.change
	if c.Err != nil {
		if !errors.Is(c.Err, order.ErrNotFound) { // deleted meanwhile: nothing to say
			s.log.Error("order not decided", zap.String("order_id", f.target.ID), zap.Error(c.Err))
		}
		return
	}
	d := &c.Decision
	if !f.skipped() && !d.Dropped {
		s.metrics.Polls.WithLabelValues(string(d.Order.LastOutcome)).Inc()
	}
	if d.Dropped {
		return
	}
	o := &d.Order
	switch {
	case o.Ended():
		fields := []zap.Field{zap.String("order_id", o.ID), zap.String("seller_id", o.SellerID), zap.String("state", string(o.State)), zap.Uint64("polls", o.Polls)}
		if o.Failure != nil {
			fields = append(fields, zap.String("code", o.Failure.Code), zap.String("message", o.Failure.Message))
		}
		s.log.Info("order ended", fields...)
	case o.Held != nil && !c.WasHeld:
		s.log.Warn("order held by the fuse", zap.String("order_id", o.ID), zap.String("seller_id", o.SellerID), zap.String("code", o.Held.Code))
	}
}
