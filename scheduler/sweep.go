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
	newest, off, err := s.store.Clock(ctx)
	if err != nil {
		return fmt.Errorf("reading what was thought of the clock: %w", err)
	}
	now, wall := time.Now(), s.wall()
	s.mu.Lock()
	s.healths = healths
	s.clock = newWallClock(newest, off, wall, now)
	s.tellClock()
	close(s.looked)
	s.cronAt = cronAt
	s.line = newTimeline(s.schedule, cronAt, wall, now)
	catchUp := s.cfg.CatchUp && missed(s.schedule, lastSeen(cronAt, newest, off), wall)
	s.mu.Unlock()
	if err := s.rememberClock(ctx); errors.Is(err, order.ErrBroken) { // before a sweep is dated by it
		return err
	}
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
	s.run, s.flying = r, 0
	s.metrics.SweepRunning.Set(1)
	s.forgetHosts()
	for _, h := range s.hosts {
		h.brk.newSweep()
	}
	for _, l := range s.lanes {
		l.newSweep()
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

// scan reads the due orders in key order, page by page, into their lanes. What waits in a lane already stays where it is.
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
		for items := page.Items; len(items) > 0; {
			number, n := items[0].Ref.Seller, 1
			for n < len(items) && items[n].Ref.Seller == number {
				n++
			}
			if l := s.lanes[number]; l != nil && !l.seller.Paused {
				if l != last {
					s.arrived(last, now)
					last = l
				}
				s.admit(r, l, items[:n])
			}
			items = items[n:]
		}
		after, r.after = page.Next, page.Next
		if page.More {
			if last != nil {
				s.refreshLane(last, now)
			}
			s.pump(now)
			s.mu.Unlock()
			continue
		}
		s.arrived(last, now)
		for _, l := range s.lanes {
			if l.seen != r && l.queue.len() > 0 { // no longer due
				l.queue.clear()
				s.refreshLane(l, now)
			}
		}
		r.scanned, r.settled = true, nil
		s.faultNext = now // those who hung in the last sweep say little of this one
		s.pump(now)
		s.poke()
		s.mu.Unlock()
		return
	}
}

// admit takes due orders into their lane. The lock is held.
func (s *Scheduler) admit(r *run, l *lane, due []order.Due) {
	if l.seen != r {
		l.seen, l.fresh = r, new(queue)
	}
	for i, d := range due {
		if f := l.busy[d.Ref.Order]; f != nil {
			s.stillDue(f)
			continue
		}
		if tick, ok := r.settled[d.Ref]; ok {
			if d.Tick = tick; tick >= r.rec.Tick {
				continue
			}
		}
		if l.queue.list(d.Unanswered).meet(d.Ref, d.Tick) {
			continue
		}
		tick := r.asOf(d.Tick)
		list := l.fresh.list(d.Unanswered)
		c := list.cohort(tick, r.slots(tick))
		if c.entries == nil && !r.older(tick) { // most are of this kind
			c.entries = make([]entry, 0, len(due)-i)
		}
		c.entries = append(c.entries, c.entry(d.Ref))
		list.n++
	}
}

// stillDue notes that the running sweep takes an order that is being polled: if that poll does not count, it waits again. The lock is held.
func (s *Scheduler) stillDue(f *flight) {
	if f.dueIn != s.run {
		f.dueIn = s.run
		s.flying++
	}
}

// asOf is the tick as of which an order waits that was last polled for this one. A new order
// waits as if it had been polled at the last tick: it must not go before what earlier ticks left.
func (r *run) asOf(tick uint64) uint64 {
	if tick == 0 && r.rec.Tick > 0 {
		return r.rec.Tick - 1
	}
	return tick
}

// older reports whether an order waits longer than since this tick: then it waits for no slot.
func (r *run) older(tick uint64) bool { return tick+1 < r.rec.Tick }

func (r *run) slots(tick uint64) bool { return r.spread > 0 && !r.older(tick) }

// arrived puts what the scan brought into the lane's queue, and drops what is no longer due. The lock is held.
func (s *Scheduler) arrived(l *lane, now time.Time) {
	if l == nil || l.fresh == nil {
		return
	}
	for _, silent := range []bool{false, true} {
		f := l.queue.list(silent)
		f.sift()
		f.join(l.fresh.list(silent), l.queue.last)
	}
	l.fresh, l.targets = nil, nil
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
		if w.lane != nil && w.lane.queue.len() > 0 && w.lane.wakeAt.Equal(w.at) || w.host != nil && len(w.host.ready) > 0 {
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
	return s.run.rec.Polled + s.queued + s.flying
}
