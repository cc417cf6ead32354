package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"poller/order"
)

// run is the running sweep: its books, and how orders are taken into it.
type run struct {
	rec     order.Sweep
	began   time.Time // monotonic
	spread  time.Duration
	byHand  bool      // every order is taken whose not_before has passed
	resumed bool      // begun before a restart: not all of its polls are known
	after   order.Ref // the scan has taken all due orders up to this one
	scanned bool      // all due orders have been read
	// settled is what commits did while the scan read a page, which may show those orders as they were before.
	settled map[order.Ref]uint64 // the tick of the order's last poll

	// closed is the record as it ended; nil while it runs. A commit may ask for it at any time.
	closed atomic.Pointer[order.Sweep]
}

// books returns the record as it stands. The lock is held, or nothing else works on the run.
func (r *run) books() order.Sweep { return r.rec.Clone() }

// pageSize is how many due orders are read in one short transaction.
const pageSize = 4096

// start does what a start has to: it goes on with a sweep that was
// interrupted, or catches up once if a tick was missed (SPEC §4, "By hand", "At start").
func (s *Scheduler) start(ctx context.Context) error {
	healths, err := s.store.Healths(ctx)
	if err != nil {
		return fmt.Errorf("reading what is known of sellers: %w", err)
	}
	tick, cronAt, err := s.store.LastTick(ctx)
	if err != nil {
		return fmt.Errorf("reading the last tick: %w", err)
	}
	latest, _, err := s.store.Sweeps(ctx, "", 1)
	if err != nil {
		return fmt.Errorf("reading the last sweep: %w", err)
	}
	now, wall := time.Now(), s.wall()
	newest := cronAt
	if len(latest) > 0 && latest[0].StartedAt.After(newest) {
		newest = latest[0].StartedAt
	}
	s.mu.Lock()
	s.healths = healths
	s.clock = newWallClock(newest, wall, now)
	s.tellClock()
	s.cronAt = cronAt
	s.line = newTimeline(s.schedule, cronAt, wall, now)
	catchUp := s.cfg.CatchUp && missed(s.schedule, cronAt, wall)
	s.mu.Unlock()
	if len(latest) > 0 && latest[0].State == order.SweepRunning {
		rec := latest[0]
		if !catchUp {
			s.resume(rec)
			return nil
		}
		rec.Remaining = max(0, rec.Due-rec.Polled)
		rec.Close(order.TriggerCatchUp, wall)
		rec.State = order.SweepInterrupted
		if err := s.save(ctx, rec); err != nil && !errors.Is(err, order.ErrNoSpace) {
			return fmt.Errorf("closing the interrupted sweep: %w", err)
		}
	}
	if catchUp {
		if s.enough() {
			if _, err := s.begin(ctx, order.TriggerCatchUp, false); err != nil && !errors.Is(err, order.ErrNoSpace) {
				return fmt.Errorf("catching up: %w", err)
			}
		} else {
			s.mu.Lock()
			s.tickMissed = true
			s.mu.Unlock()
		}
	}
	s.log.Info("schedule running", zap.Uint64("tick", tick), zap.Time("next_tick", s.nextTick()))
	return nil
}

// resume goes on with the sweep that a stop or a crash interrupted, under its id and with its slots.
func (s *Scheduler) resume(rec order.Sweep) {
	s.log.Info("sweep goes on", zap.Uint64("sweep", rec.ID), zap.Uint64("tick", rec.Tick), zap.Int64("polled", rec.Polled))
	r := &run{rec: rec, began: time.Now(), byHand: rec.Trigger == order.TriggerManual, resumed: true}
	if rec.Trigger == order.TriggerCron {
		s.mu.Lock()
		r.spread = s.cfg.Spread
		s.mu.Unlock()
		r.began = r.began.Add(-max(s.wall().Sub(rec.StartedAt), 0))
	}
	s.launch(r)
}

// save writes the record of a sweep that ended; if the disk is full, before the next sweep begins.
// So at most the newest sweep is ever left running in the store.
func (s *Scheduler) save(ctx context.Context, rec order.Sweep) error {
	err := s.store.SaveSweep(ctx, rec)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsaved = nil
	if errors.Is(err, order.ErrNoSpace) {
		s.unsaved = &rec
	}
	return err
}

// begin closes the running sweep and starts the next. If that fails, one sweep
// catches up as soon as it can. Only the loop calls it.
func (s *Scheduler) begin(ctx context.Context, trigger order.Trigger, dueOnly bool) (order.Sweep, error) {
	closed := s.closeRun(ctx, trigger)
	rec, err := s.enter(ctx, order.Sweep{Trigger: trigger, State: order.SweepRunning, StartedAt: s.wall()}, dueOnly)
	if err != nil {
		s.mu.Lock()
		s.tickMissed = s.tickMissed || closed || trigger != order.TriggerManual
		s.mu.Unlock()
		if errors.Is(err, order.ErrBroken) {
			s.fail(err)
		}
		return rec, fmt.Errorf("beginning a sweep: %w", err)
	}
	s.metrics.Sweeps.WithLabelValues(string(trigger)).Inc()
	s.log.Info("sweep began", zap.Uint64("sweep", rec.ID), zap.Uint64("tick", rec.Tick), zap.String("trigger", string(trigger)))
	r := &run{rec: rec, began: time.Now(), byHand: trigger == order.TriggerManual}
	s.mu.Lock()
	s.tickMissed = false
	if trigger == order.TriggerCron {
		r.spread = s.cfg.Spread
	}
	if trigger != order.TriggerManual {
		s.cronAt = rec.StartedAt
	}
	s.ticks[rec.Tick] = rec.StartedAt
	if len(s.ticks) > 1000 {
		for t := range s.ticks {
			if t+1000 < rec.Tick {
				delete(s.ticks, t)
			}
		}
	}
	s.mu.Unlock()
	s.launch(r)
	return rec, nil
}

// enter makes a new sweep durable. dueOnly: it takes no tick number, unless there was none yet.
func (s *Scheduler) enter(ctx context.Context, rec order.Sweep, dueOnly bool) (order.Sweep, error) {
	s.mu.Lock()
	unsaved := s.unsaved
	s.mu.Unlock()
	if unsaved != nil {
		if err := s.save(ctx, *unsaved); err != nil {
			return rec, err
		}
	}
	if dueOnly {
		tick, _, err := s.store.LastTick(ctx)
		if err != nil {
			return rec, err
		}
		rec.Tick = tick
	}
	return s.store.BeginSweep(ctx, rec)
}

// launch makes r the running sweep: what the lanes still hold goes on at once, and the scan brings the rest.
func (s *Scheduler) launch(r *run) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run = r
	s.metrics.SweepRunning.Set(1)
	s.forgetHosts()
	for _, h := range s.hosts {
		h.brk.newSweep()
	}
	for _, l := range s.lanes {
		l.newSweep()
		l.incoming = nil // of a scan that was cut short
	}
	s.refreshAll(now)
	if s.stopping {
		return
	}
	s.pump(now)
	s.workers.Add(1)
	go func() {
		defer s.workers.Done()
		s.scan(s.work, r)
	}()
}

// scan reads the due orders in key order, page by page, into their lanes.
func (s *Scheduler) scan(ctx context.Context, r *run) {
	var last *lane
	after := order.Ref{}
	for {
		s.mu.Lock()
		r.settled = make(map[order.Ref]uint64)
		s.mu.Unlock()
		page, err := s.store.DuePage(ctx, r.rec.Tick, r.rec.StartedAt, r.byHand, after, pageSize)
		if err == nil {
			err = s.meet(ctx, page.Items)
		}
		if err != nil {
			if ctx.Err() == nil {
				s.log.Error("due orders not read", zap.Error(err))
				s.fail(err)
			}
			return
		}
		s.mu.Lock()
		if s.run != r || s.stopping {
			s.mu.Unlock()
			return
		}
		now := time.Now()
		for _, d := range page.Items {
			l := s.lanes[d.Ref.Seller]
			if l == nil || l.seller.Paused {
				continue
			}
			if l != last {
				s.arrived(last, now)
				last = l
			}
			s.admit(r, l, d)
		}
		after, r.after = page.Next, page.Next
		if page.More {
			s.pump(now)
			s.mu.Unlock()
			continue
		}
		s.arrived(last, now)
		for _, l := range s.lanes {
			if l.seen != r && l.queue.len() > 0 { // no longer due
				l.queue = queue{turns: l.queue.turns}
				s.refreshLane(l, now)
			}
		}
		r.scanned, r.settled = true, nil
		s.pump(now)
		s.poke()
		s.mu.Unlock()
		return
	}
}

// admit takes one due order into its lane. The lock is held.
func (s *Scheduler) admit(r *run, l *lane, d order.Due) {
	if l.seen != r {
		l.seen = r
		l.incoming = &queue{turns: l.queue.turns}
	}
	if f := l.busy[d.Ref.Order]; f != nil {
		f.requeue = true
		return
	}
	if tick, ok := r.settled[d.Ref]; ok {
		if d.Tick = tick; tick >= r.rec.Tick {
			return
		}
	}
	slot := int32(0)
	// What an earlier tick left waits for no slot; a new order (never polled) has its own like the others.
	if d.Tick == 0 || d.Tick+1 >= r.rec.Tick {
		slot = slotOf(d.Ref, r.spread)
	}
	l.incoming.add(d, slot)
}

// waiting counts the lane's orders that are due in the running sweep and were not
// polled: those in its queue, and those in flight. The lock is held.
func (s *Scheduler) waiting(l *lane) (queued, flying int64) {
	queued = int64(l.queue.len())
	if l.incoming != nil { // what the scan has passed is in there
		queued = int64(l.incoming.len())
		l.queue.each(func(it item) {
			if (order.Ref{Seller: l.seller.Number, Order: it.number}).Compare(s.run.after) > 0 {
				queued++
			}
		})
	}
	for _, f := range l.busy {
		if f.run == s.run && !f.byHand || f.requeue {
			flying++
		}
	}
	return queued, flying
}

// arrived puts what the scan brought in place of what the lane held. The lock is held.
func (s *Scheduler) arrived(l *lane, now time.Time) {
	if l == nil || l.incoming == nil {
		return
	}
	l.incoming.turns = l.queue.turns // it went on while the scan read
	l.queue, l.incoming = *l.incoming, nil
	l.queue.sort()
	clear(l.targets)
	s.refreshLane(l, now)
}

// elapsed is the time since the running sweep's tick. The lock is held.
func (s *Scheduler) elapsed(now time.Time) time.Duration {
	if s.run == nil {
		return 0
	}
	return now.Sub(s.run.began)
}

// finished reports whether nothing is left that can be done before the next tick. The lock is held.
func (s *Scheduler) finished() bool {
	if s.run == nil || !s.run.scanned || s.inFlight > 0 || len(s.pending)+s.recording > 0 || len(s.hostsReady) > 0 {
		return false
	}
	for len(s.wakes) > 0 {
		w := s.wakes[0]
		if w.at.After(s.line.due) {
			break
		}
		if w.lane != nil && w.lane.queue.len() > 0 && w.lane.wakeAt.Equal(w.at) || w.host != nil && len(w.host.heap) > 0 {
			return false
		}
		s.popWake()
	}
	return true
}

// due is how many orders the running sweep has taken: those polled, and those that wait. The lock is held.
func (s *Scheduler) due() int64 {
	if s.run == nil {
		return 0
	}
	n := s.run.rec.Polled
	for _, l := range s.lanes {
		queued, flying := s.waiting(l)
		n += queued + flying
	}
	return n
}
