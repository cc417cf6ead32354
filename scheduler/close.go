package scheduler

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"poller/order"
)

// closeRun ends the running sweep, if there is one: by is the trigger of the
// tick that closes it, or "" if it ended by itself. Only the loop calls it. It reports whether there was one.
func (s *Scheduler) closeRun(ctx context.Context, by order.Trigger) bool {
	s.mu.Lock()
	if s.run == nil {
		s.mu.Unlock()
		return false
	}
	var committed <-chan struct{}
	if s.landed != nil { // polls that ended before the close are in the books
		committed = s.landed.wait()
	}
	s.urgent = len(s.pending) > 0
	s.mu.Unlock()
	if committed != nil {
		s.wakeRecorder()
		<-committed
	}
	wall := s.wall()
	s.mu.Lock()
	r := s.run
	oldest := s.sort(r)
	r.rec.Close(by, wall)
	var left []leftOrder
	if r.rec.Trigger == order.TriggerCron && r.scanned && !r.resumed && !s.fault {
		left = s.leftOver()
	}
	s.run = nil
	s.metrics.SweepRunning.Set(0)
	rec := r.books()
	r.closed.Store(&rec)
	s.mu.Unlock()

	s.metrics.SweepDuration.Observe(rec.EndedAt.Sub(rec.StartedAt).Seconds())
	s.metrics.SweepRemaining.Set(float64(rec.Remaining))
	s.metrics.OrdersOverdue.Set(float64(rec.Remaining))
	s.metrics.OldestOverdue.Set(0)
	if rec.Remaining > 0 && !oldest.IsZero() {
		s.metrics.OldestOverdue.Set(wall.Sub(oldest).Seconds())
	}
	switch rec.State {
	case order.SweepDone:
		s.metrics.SweepLastSuccess.Set(float64(rec.EndedAt.UnixMilli()) / 1000)
	case order.SweepOverrun:
		s.metrics.SweepsOverrun.Inc()
	}
	if err := s.save(ctx, rec); err != nil {
		s.log.Error("sweep not saved", zap.Error(err))
		if errors.Is(err, order.ErrBroken) {
			s.fail(err)
		}
	}
	s.log.Info("sweep ended", zap.Uint64("sweep", rec.ID), zap.Uint64("tick", rec.Tick), zap.String("state", string(rec.State)), zap.Int64("due", rec.Due),
		zap.Int64("polled", rec.Polled), zap.Int64("skipped", rec.Skipped), zap.Int64("left_to_seller", rec.LeftToSeller), zap.Int64("remaining", rec.Remaining),
		zap.Duration("took", rec.EndedAt.Sub(rec.StartedAt)))
	if len(left) > 0 {
		s.workers.Add(1)
		go func() {
			defer s.workers.Done()
			s.endSkipped(s.work, r, left)
		}()
	}
	return true
}

// sort books what is left in the lanes by whose doing it is, and returns when
// the oldest of what remains because of us was first due. The lock is held.
func (s *Scheduler) sort(r *run) (oldest time.Time) {
	now := time.Now()
	rec := &r.rec
	for _, l := range s.lanes {
		n := l.waiting
		for _, f := range l.busy {
			if f.dueIn == r {
				rec.LeftToSeller++ // for so long as the seller takes
			}
		}
		switch {
		case n == 0:
		case l.brk.open, l.host.brk.open:
			rec.Skipped += n
		case now.Before(l.restUntil), l.inFlight >= s.capOf(l), now.Before(l.rateAt(now)):
			rec.LeftToSeller += n
		default:
			rec.Remaining += n
			l.queue.each(func(_, tick uint64) {
				if at, ok := s.ticks[tick+1]; ok && (oldest.IsZero() || at.Before(oldest)) {
					oldest = at
				}
			})
		}
	}
	rec.Due = rec.Polled + rec.Skipped + rec.LeftToSeller + rec.Remaining
	return oldest
}

// leftOrder is an order that a sweep did not poll.
type leftOrder struct {
	ref  order.Ref
	host *host
}

// leftOver lists the orders that a whole cron sweep skipped or left resting at
// sellers all of whose polls in it were dead or throttled. The lock is held.
func (s *Scheduler) leftOver() []leftOrder {
	now := time.Now()
	var left []leftOrder
	for _, l := range s.lanes {
		if l.polls == 0 || l.bad < l.polls || l.queue.len() == 0 || !l.brk.open && !now.Before(l.restUntil) {
			continue
		}
		l.queue.each(func(number, _ uint64) {
			left = append(left, leftOrder{order.Ref{Seller: l.seller.Number, Order: number}, l.host})
		})
	}
	return left
}

// endSkipped ends those of the orders that are past their deadline: a whole
// sweep had no turn for them, so there is no last chance to wait for (SPEC §5, "The deadline").
func (s *Scheduler) endSkipped(ctx context.Context, r *run, left []leftOrder) {
	for len(left) > 0 {
		chunk := left[:min(256, len(left))]
		left = left[len(chunk):]
		refs := make([]order.Ref, len(chunk))
		hosts := make(map[order.Ref]*host, len(chunk))
		for i, x := range chunk {
			refs[i], hosts[x.ref] = x.ref, x.host
		}
		orders, err := s.store.Load(ctx, refs)
		if err != nil {
			if ctx.Err() == nil {
				s.fail(err)
			}
			return
		}
		committed, stopping := s.endChunk(r, orders, hosts)
		if stopping {
			return
		}
		if committed != nil { // no more at once than one commit
			s.wakeRecorder()
			<-committed
		}
	}
}

// endChunk hands the ends of those of the orders that are past their deadline to the
// recorder; committed is closed when they are. After a stop nobody would record them.
func (s *Scheduler) endChunk(r *run, orders []order.Order, hosts map[order.Ref]*host) (committed <-chan struct{}, stopping bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return nil, true
	}
	wall := s.wall()
	doubted := s.lookAtClock(wall, time.Now())
	policy, tick := s.cfg.Policy, r.rec.Tick
	var last *flight
	for i := range orders {
		o := &orders[i]
		if !o.Deadline.Before(r.rec.StartedAt) {
			continue
		}
		h := hosts[o.Ref]
		poll := order.Poll{ClockDoubted: doubted, Evidence: order.Evidence{OtherAnsweredAt: s.evidence.otherAnsweredAt(h.name)}}
		last = &flight{ref: o.Ref, host: h, target: order.Target{ID: o.ID}, skip: func(o order.Order) order.Decision {
			if o.Tick >= tick { // polled after all
				return order.Decision{Dropped: true, Order: o}
			}
			return policy.DecideSkipped(o, r.rec.StartedAt, poll, wall)
		}}
		s.pending = append(s.pending, last)
	}
	if last != nil {
		committed = last.wait()
	}
	return committed, false
}
