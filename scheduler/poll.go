package scheduler

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"poller/order"
)

// flight is one poll, from its turn to its commit. There is one way out of it, and that records.
type flight struct {
	lane     *lane
	host     *host
	seller   *order.Seller // as it was when the poll began
	ref      order.Ref
	item     item
	target   target
	run      *run // the sweep it began in; nil: by hand with none running
	tick     uint64
	byHand   bool // POST …/poll
	silent   bool // taken from among those whose last poll got no answer
	probe    bool // of the seller's breaker
	hostPrb  bool // of the host's breaker
	began    time.Time
	charge   time.Duration // worker time charged in advance
	reserved int64         // bytes kept for its result

	obs     order.Observation
	change  order.Change
	requeue bool // a scan met it in flight: if this poll does not count, it is still due

	done chan struct{} // closed after the commit
	err  error         // set before done is closed, if nothing was recorded
}

// maxPending bounds how many decisions wait for a commit; with more, no poll starts.
const maxPending = 20_000

// pump starts as many polls as may start. The lock is held.
func (s *Scheduler) pump(now time.Time) {
	for {
		f := s.take(now)
		if f == nil {
			return
		}
		s.workers.Add(1)
		go s.worker(f)
	}
}

// worker makes one poll after another, as long as there are turns.
func (s *Scheduler) worker(f *flight) {
	defer s.workers.Done()
	for f != nil {
		f.obs = s.fetcher.Fetch(s.work, s.ask(f))
		s.mu.Lock()
		s.land(f)
		now := time.Now()
		f = s.take(now)
		s.pump(now)
		s.rest()
		s.mu.Unlock()
	}
}

// rest tells the loop and the recorder when there is nothing left in flight to wait for. The lock is held.
func (s *Scheduler) rest() {
	if s.inFlight == 0 {
		if len(s.pending) > 0 {
			s.wakeRecorder()
		}
		s.poke()
	}
}

// take gives the next turn: it chooses an order, and occupies its slots. nil: nothing may start now. The lock is held.
func (s *Scheduler) take(now time.Time) *flight {
	if s.run == nil || s.stopping || s.distrust || s.inFlight >= s.cfg.Workers || len(s.pending)+s.recording >= maxPending {
		return nil
	}
	if s.fault && now.Before(s.faultNext) {
		return nil
	}
	for len(s.hostsReady) > 0 {
		l := s.hostsReady[0].heap[0]
		from, _ := l.queue.next(s.elapsed(now), l.brk.open)
		if from == nil {
			s.refreshLane(l, now)
			continue
		}
		if !s.enough() {
			if !s.starved {
				s.poke() // the loop says so, and looks again every second
			}
			return nil
		}
		it := from.pop()
		silent := from == &l.queue.silent
		t, ok := s.targetOf(l, it, from)
		if !ok {
			if s.stopping { // the store could not be read
				return nil
			}
			s.refreshLane(l, now)
			continue
		}
		l.queue.last = it.number
		if !l.brk.open {
			l.queue.turn++
		}
		f := &flight{lane: l, item: it, target: t, ref: order.Ref{Seller: l.seller.Number, Order: it.number}, run: s.run, tick: s.run.rec.Tick, silent: silent}
		s.takeOff(f, now)
		return f
	}
	return nil
}

// aheadOf is how many orders of a lane are loaded at once.
const aheadOf = 8

// targetOf says whom to ask about the order; false if it is no longer due. The lock is held.
func (s *Scheduler) targetOf(l *lane, it item, from *fifo) (target, bool) {
	if f := l.busy[it.number]; f != nil {
		f.requeue = true
		return target{}, false
	}
	if t, ok := l.targets[it.number]; ok {
		delete(l.targets, it.number)
		return t, t.id != ""
	}
	refs := make([]order.Ref, 1, aheadOf)
	refs[0] = order.Ref{Seller: l.seller.Number, Order: it.number}
	for i := from.head; i < len(from.items) && len(refs) < aheadOf; i++ {
		refs = append(refs, order.Ref{Seller: l.seller.Number, Order: from.items[i].number})
	}
	orders, err := s.store.Load(s.work, refs)
	if err != nil {
		s.failLocked(err)
		return target{}, false
	}
	for _, r := range refs[1:] {
		if l.busy[r.Order] == nil {
			l.targets[r.Order] = target{}
		}
	}
	for i := range orders {
		o := &orders[i]
		if l.busy[o.Ref.Order] != nil || !o.Due(s.run.rec.Tick, s.run.rec.StartedAt, s.run.byHand) {
			continue
		}
		t := target{id: o.ID, remoteID: o.RemoteID}
		if t.id == t.remoteID {
			t.remoteID = t.id // one string, not two
		}
		l.targets[o.Ref.Order] = t
	}
	t, ok := l.targets[it.number]
	delete(l.targets, it.number)
	return t, ok
}

// takeOff occupies a flight's slots. The lock is held.
func (s *Scheduler) takeOff(f *flight, now time.Time) {
	l := f.lane
	f.host, f.seller, f.began, f.done = l.host, l.seller, now, make(chan struct{})
	f.charge = l.expect
	l.used += f.charge
	l.inFlight++
	f.host.inFlight++
	s.inFlight++
	s.metrics.PollsInFlight.Set(float64(s.inFlight))
	l.busy[f.ref.Order] = f
	delete(l.targets, f.ref.Order)
	if !f.byHand {
		f.probe, f.hostPrb = l.brk.begin(), f.host.brk.begin()
	}
	l.began(now)
	if s.fault {
		s.faultNext = now.Add(faultPause)
	}
	s.refreshLane(l, now)
	s.refreshHost(f.host, now)
}

func (s *Scheduler) ask(f *flight) order.Ask {
	return order.Ask{Seller: f.seller, RemoteID: f.target.remoteID, Reserve: func(n int64) bool { return s.reserve(f, n) }}
}

// reserve books bytes that a poll is about to keep for its seller (results.max_per_seller).
func (s *Scheduler) reserve(f *flight, n int64) bool {
	_, kept := s.store.SellerUsage(f.ref.Seller)
	s.mu.Lock()
	defer s.mu.Unlock()
	if limit := s.cfg.MaxPerSeller; limit > 0 && kept+f.lane.reserved+n > limit {
		return false
	}
	f.reserved += n
	f.lane.reserved += n
	return true
}

// land gives a flight's slots back, draws the conclusions about its seller and
// host, and hands its decision to the recorder. The lock is held.
func (s *Scheduler) land(f *flight) {
	now, wall := time.Now(), s.wall()
	l, h := f.lane, f.host
	l.inFlight--
	h.inFlight--
	s.inFlight--
	s.metrics.PollsInFlight.Set(float64(s.inFlight))
	took := now.Sub(f.began)
	l.used += took - f.charge
	l.expect = (3*l.expect + took) / 4

	if s.work.Err() != nil && f.obs.Outcome == order.LocalFault {
		s.drop(f, order.ErrStopping) // cut off: counts for nothing
		return
	}
	evidence := order.Evidence{SellerValidAt: l.health.LastValidAt, OtherAnsweredAt: s.evidence.otherAnsweredAt(h.name)}
	s.judge(f, now, wall)
	stale := f.seller.Revision != l.seller.Revision
	s.conclude(f, stale, now)
	s.noteHealth(l, &f.obs, wall)
	s.metrics.PollDuration.Observe(f.obs.Duration.Seconds())
	if f.obs.Answered {
		s.metrics.ResponseBytes.Observe(float64(f.obs.Bytes))
	}
	if e := s.log.Check(zap.DebugLevel, "polled"); e != nil {
		e.Write(zap.String("order_id", f.target.id), zap.String("seller_id", f.seller.ID), zap.String("outcome", string(f.obs.Outcome)),
			zap.String("detail", f.obs.Detail), zap.Int("http_status", f.obs.HTTPStatus), zap.Duration("duration", f.obs.Duration))
	}

	poll := order.Poll{Tick: f.tick, ByHand: f.byHand, Stale: stale, ClockDoubted: s.clock.doubted, Evidence: evidence}
	policy := s.cfg.Policy
	f.change = order.Change{Ref: f.ref, Decide: func(o order.Order) order.Decision { return policy.Decide(o, f.obs, poll, wall) }}
	if r := f.obs.Result; r != nil {
		for i := range r.Files {
			if r.Files[i].Uploaded {
				f.change.Uploaded = append(f.change.Uploaded, r.Files[i].ObjectKey)
			}
		}
		f.change.Rejected = func(o order.Order, key string) order.Decision {
			obs := f.obs
			obs.Reject("object_key: " + key + " belongs to another order")
			return policy.Decide(o, obs, poll, wall)
		}
	}
	s.pending = append(s.pending, f)
	s.landed = f
	s.urgent = s.urgent || f.byHand
	if n := len(s.pending); n == 1 || n == commitAt || f.byHand {
		s.wakeRecorder()
	}
	s.refreshLane(l, now)
	s.refreshHost(h, now)
	if h.brk.answered { // not before: the heap must know the lane's own new turn
		s.unhold(h, now)
	}
}

// judge asks whose fault silence is (SPEC §5, "Ours or theirs"), and slows
// down or goes on accordingly. The lock is held.
func (s *Scheduler) judge(f *flight, now, wall time.Time) {
	switch {
	case f.obs.Answered:
		s.evidence.answered(f.host.name, wall)
		s.fault = false
	case f.obs.Outcome == order.Timeout || f.obs.Outcome == order.Unreachable:
		if s.evidence.silent(f.host.name, now) {
			f.obs.Blame("no other host answers either; poller's own network is the likely cause. " + f.obs.Detail)
		}
	}
	if f.obs.Outcome != order.LocalFault {
		return
	}
	if f.obs.Quota {
		return
	}
	if !s.fault {
		s.log.Warn("local fault: polls slow down to one in 5 s until one is answered", zap.String("detail", f.obs.Detail))
	}
	s.fault, s.faultNext = true, now.Add(faultPause)
	s.poke()               // the loop starts the next one
	f.lane.used += quantum // another lane's turn next: evidence comes from different hosts
}

// conclude tells breakers, rests and quotas what the poll showed. The lock is held.
func (s *Scheduler) conclude(f *flight, stale bool, now time.Time) {
	l, h, obs := f.lane, f.host, &f.obs
	counts := obs.Outcome != order.LocalFault && obs.Outcome != order.Blocked
	if !f.byHand || obs.Outcome.Valid() {
		l.polls++
		if obs.Dead() || obs.Outcome == order.Throttled {
			l.bad++
		}
	}
	switch {
	case stale && !obs.Outcome.Valid(): // it says nothing about the seller as it is now
		l.brk.undecided(f.probe)
	case !counts:
		l.brk.undecided(f.probe)
	case obs.Dead():
		wasOpen := l.brk.open
		l.brk.failed(now, f.probe, l.brk.failures+1 >= s.cfg.BreakerFailures)
		if !wasOpen && l.brk.open {
			s.metrics.BreakersOpen.WithLabelValues("seller").Inc()
			s.log.Warn("seller left alone", zap.String("seller_id", l.seller.ID), zap.String("outcome", string(obs.Outcome)), zap.String("detail", obs.Detail))
		}
	default:
		s.closeBreaker(l)
	}
	switch {
	case !counts:
		h.brk.undecided(f.hostPrb)
	case obs.NoConnection:
		if h.silent == nil {
			h.silent = make(map[uint32]struct{})
		}
		h.silent[l.seller.Number] = struct{}{}
		wasOpen := h.brk.open
		if f.hostPrb {
			l.used += quantum // the host's next probe is another seller's
		}
		h.brk.failed(now, f.hostPrb, len(h.silent) >= max(hostWitnesses, s.cfg.BreakerFailures))
		if !wasOpen && h.brk.open {
			s.metrics.BreakersOpen.WithLabelValues("host").Inc()
			s.log.Warn("host left alone", zap.String("host", h.name), zap.String("detail", obs.Detail))
		}
	default:
		if h.brk.open {
			s.metrics.BreakersOpen.WithLabelValues("host").Dec()
			s.log.Info("host answers again", zap.String("host", h.name))
		}
		clear(h.silent)
		h.brk.succeeded()
	}
	switch {
	case stale:
	case obs.Outcome == order.Throttled:
		l.throttled(now, obs.RetryAfter, s.cfg.Policy.MaxRetryAfter)
	case obs.Answered:
		l.rest = 0
	}
	if full := obs.Outcome == order.LocalFault && obs.Quota; full != l.overQuota && (full || obs.Outcome == order.Completed) {
		l.overQuota = full
		if full {
			s.metrics.SellersOverQuota.Inc()
			s.log.Warn("seller over quota: its completed answers wait", zap.String("seller_id", l.seller.ID), zap.String("detail", obs.Detail))
		} else {
			s.metrics.SellersOverQuota.Dec()
		}
	}
}

// closeBreaker notes that somebody answered. The lock is held.
func (s *Scheduler) closeBreaker(l *lane) {
	if l.brk.open {
		s.metrics.BreakersOpen.WithLabelValues("seller").Dec()
		s.log.Info("seller answers again", zap.String("seller_id", l.seller.ID))
	}
	l.brk.succeeded()
}

// noteHealth remembers how the seller answered. The lock is held.
func (s *Scheduler) noteHealth(l *lane, obs *order.Observation, wall time.Time) {
	h := &l.health
	was := inTrouble(h.LastOutcome)
	h.LastOutcome, h.LastPolledAt = obs.Outcome, wall
	if obs.Answered {
		h.LastAnsweredAt = wall
	}
	if obs.Outcome.Valid() {
		h.LastValidAt = wall
	}
	h.FailuresInARow = l.brk.failures
	if is := inTrouble(h.LastOutcome); is != was {
		if is {
			s.metrics.SellersInTrouble.Inc()
		} else {
			s.metrics.SellersInTrouble.Dec()
		}
	}
}

// inTrouble reports whether a seller whose last poll had this outcome is in trouble of its own.
func inTrouble(o order.Outcome) bool { return o != "" && o.HasEffect() && !o.Valid() }

// drop ends a flight of which nothing is recorded. The lock is held.
func (s *Scheduler) drop(f *flight, err error) {
	now := time.Now()
	delete(f.lane.busy, f.ref.Order)
	f.lane.reserved -= f.reserved
	f.lane.brk.undecided(f.probe)
	f.host.brk.undecided(f.hostPrb)
	f.err = err
	if s.run != nil && (f.run == s.run && !f.byHand || f.requeue) && !errors.Is(err, order.ErrStopping) {
		s.enqueue(f, true)
	}
	s.refreshLane(f.lane, now)
	s.refreshHost(f.host, now)
	close(f.done)
}

// enqueue puts a flight's order back into its lane: at the front if it was not
// polled, else, for a newer tick, at the back. The lock is held.
func (s *Scheduler) enqueue(f *flight, front bool) {
	l := f.lane
	if l.seller.Paused || s.lanes[f.ref.Seller] != l {
		return
	}
	q := &l.queue
	if l.incoming != nil && f.ref.Compare(s.run.after) <= 0 { // else the scan will meet it
		q = l.incoming
	}
	list := &q.answered
	if f.silent {
		list = &q.silent
	}
	it := f.item
	it.number, it.slot = f.ref.Order, 0
	if !front {
		it.tick = f.change.Decision.Order.Tick
	}
	if front {
		list.pushFront(it)
	} else {
		list.pushBack(it)
	}
}
