package scheduler

import (
	"errors"
	"slices"
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
	target   order.Target
	ahead    []order.Ref // to be read before it can begin: its own order, and those after it in its lane; nil: target is known
	waited   uint64      // the tick as of which it waited
	run      *run        // the sweep it began in; nil: by hand with none running
	dueIn    *run        // the sweep that takes the order: if the poll does not count, it is still due in it
	tick     uint64
	byHand   bool // POST …/poll
	silent   bool // taken from among those whose last poll got no answer
	probe    bool // of the seller's breaker
	hostPrb  bool // of the host's breaker
	began    time.Time
	charge   time.Duration // worker time charged in advance
	reserved int64         // bytes kept for its result

	// What it brought:
	obs  order.Observation
	poll order.Poll
	wall time.Time
	skip func(order.Order) order.Decision // no poll, but the end of an order that a sweep skipped

	change *order.Change // what the store made of it
	over   bool          // committed, or err is set
	done   chan struct{} // closed when it is over; nil: nobody waits
	err    error         // why nothing was recorded
}

// errNotDue ends a flight whose order was no longer due when it was to begin.
var errNotDue = errors.New("not due any more")

// wait returns what is closed when the flight is over. The lock is held.
func (f *flight) wait() <-chan struct{} {
	if f.done == nil {
		f.done = make(chan struct{})
		if f.over {
			close(f.done)
		}
	}
	return f.done
}

// finish tells those who wait. The lock is held.
func (f *flight) finish() {
	f.over = true
	if f.done != nil {
		close(f.done)
	}
}

// maxPending bounds how many decisions wait for a commit; with more, no poll starts.
const maxPending = 20_000

// pump starts as many polls as may start. The lock is held.
func (s *Scheduler) pump(now time.Time) {
	s.answerAsks(now)
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
		if f.ahead != nil {
			f = s.aim(f)
			continue
		}
		f.obs = s.fetcher.Fetch(s.work, s.ask(f))
		s.mu.Lock()
		s.land(f)
		f = s.nextTurn()
		s.mu.Unlock()
	}
}

// nextTurn is take, with turns for other workers if there are more. The lock is held.
func (s *Scheduler) nextTurn() *flight {
	now := time.Now()
	s.answerAsks(now)
	f := s.take(now)
	if f != nil {
		s.pump(now)
	}
	s.rest()
	return f
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
		l := s.nextLane()
		from, _ := l.queue.next(s.run, s.elapsed(now), l.brk.open)
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
		number, tick := from.pop()
		if f := l.busy[number]; f != nil { // polled by hand
			s.stillDue(f)
			s.refreshLane(l, now)
			continue
		}
		t, known := l.target(number)
		if known && t.ID == "" {
			s.refreshLane(l, now)
			continue
		}
		f := &flight{
			lane: l, ref: order.Ref{Seller: l.seller.Number, Order: number}, target: t, waited: tick,
			run: s.run, tick: s.run.rec.Tick, silent: from == &l.queue.silent,
		}
		if !known {
			f.ahead = l.ahead(f.ref, from)
		}
		l.queue.last = number
		if !l.brk.open {
			l.queue.turn++
		}
		s.stillDue(f)
		s.takeOff(f, now)
		return f
	}
	return nil
}

// nextLane is the lane whose turn it is. While nobody answers it is one that can tell whether that is our fault:
// that was answered last, among those whose hosts were not asked in vain since. The lock is held.
func (s *Scheduler) nextLane() *lane {
	next := s.hostsReady[0].who.ready[0].who
	if !s.fault && len(s.evidence.failed) == 0 {
		return next
	}
	var latest time.Time
	for _, h := range s.hostsReady {
		l := h.who.ready[0].who
		if l.health.LastAnsweredAt.After(latest) && h.who.inFlight == 0 && !s.evidence.inVain(h.who.name) {
			next, latest = l, l.health.LastAnsweredAt
		}
	}
	return next
}

// maxAhead is how many orders of a lane are read at once.
const maxAhead = 16

// ahead lists the order, and those after it in its lane unless a flight is reading them already.
func (l *lane) ahead(ref order.Ref, from *fifo) []order.Ref {
	if l.reading || from.n == 0 {
		return []order.Ref{ref}
	}
	refs := append(make([]order.Ref, 0, maxAhead), ref)
	c := &from.cohorts[0]
	for _, e := range c.entries[c.head:min(len(c.entries), c.head+maxAhead-1)] {
		refs = append(refs, order.Ref{Seller: ref.Seller, Order: e.number()})
	}
	l.reading = len(refs) > 1
	return refs
}

// target takes out what was read ahead of an order.
func (l *lane) target(number uint64) (t order.Target, known bool) {
	i := slices.IndexFunc(l.targets, func(t order.Target) bool { return t.Ref.Order == number })
	if i < 0 {
		return t, false
	}
	t = l.targets[i]
	if i == 0 { // nearly always
		l.targets = l.targets[1:]
	} else {
		l.targets = slices.Delete(l.targets, i, i+1)
	}
	return t, true
}

// aim reads whom the flight is to ask, and the same of the orders after it. It returns the flight; if its order
// is no longer due, another one, or nil. The lock is not held: the store may have to wait for a commit.
func (s *Scheduler) aim(f *flight) *flight {
	r, l := f.run, f.lane
	targets, err := s.store.Targets(s.work, r.rec.Tick, r.rec.StartedAt, r.byHand, f.ahead)
	s.mu.Lock()
	defer s.mu.Unlock()
	ahead := f.ahead[1:]
	f.ahead = nil
	if len(ahead) > 0 {
		l.reading = false
	}
	if err != nil && s.work.Err() == nil {
		s.failLocked(err)
	}
	if len(targets) > 0 && targets[0].Ref == f.ref {
		f.target, targets = targets[0], targets[1:]
	}
	if r == s.run && err == nil {
		for _, ref := range ahead {
			t := order.Target{Ref: ref}
			if len(targets) > 0 && targets[0].Ref == ref {
				t, targets = targets[0], targets[1:]
			}
			if l.busy[ref.Order] == nil {
				l.target(ref.Order)
				l.targets = append(l.targets, t)
			}
		}
	}
	switch {
	case s.stopping:
		s.giveBack(f, order.ErrStopping)
	case f.target.ID == "":
		if f.dueIn == r && r == s.run {
			f.dueIn = nil
			s.flying--
		}
		s.giveBack(f, errNotDue)
	default:
		return f
	}
	return s.nextTurn()
}

// giveBack ends a flight that did not begin. The lock is held.
func (s *Scheduler) giveBack(f *flight, why error) {
	s.freeSlots(f)
	f.lane.used -= f.charge
	s.drop(f, why)
}

// takeOff occupies a flight's slots. The lock is held.
func (s *Scheduler) takeOff(f *flight, now time.Time) {
	l := f.lane
	f.host, f.seller, f.began, f.charge = l.host, l.seller, now, l.expect
	l.spend(f.charge)
	l.inFlight++
	f.host.inFlight++
	s.inFlight++
	s.metrics.PollsInFlight.Set(float64(s.inFlight))
	l.busy[f.ref.Order] = f
	if f.byHand {
		l.target(f.ref.Order) // read ahead of its turn: not what it will be then
	} else {
		f.probe, f.hostPrb = l.brk.begin(), f.host.brk.begin()
	}
	l.began(now)
	s.started = now
	if s.fault {
		s.faultNext = now.Add(faultPause)
	}
	s.refreshBoth(f, now)
}

// freeSlots is the opposite of takeOff. The lock is held.
func (s *Scheduler) freeSlots(f *flight) {
	f.lane.inFlight--
	f.host.inFlight--
	s.inFlight--
	s.metrics.PollsInFlight.Set(float64(s.inFlight))
}

// refreshBoth looks anew at the flight's lane and at its host, which the lane may have left. The lock is held.
func (s *Scheduler) refreshBoth(f *flight, now time.Time) {
	if s.placeLane(f.lane, now) && f.lane.host != f.host {
		s.refreshHost(f.lane.host, now)
	}
	s.refreshHost(f.host, now)
}

func (s *Scheduler) ask(f *flight) order.Ask {
	return order.Ask{Seller: f.seller, RemoteID: f.target.RemoteID, Reserve: func(n int64) bool { return s.reserve(f, n) }}
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
	s.freeSlots(f)
	took := now.Sub(f.began)
	l.expect = (3*l.expect + took) / 4
	l.spend(took - f.charge)

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
		e.Write(zap.String("order_id", f.target.ID), zap.String("seller_id", f.seller.ID), zap.String("outcome", string(f.obs.Outcome)),
			zap.String("detail", f.obs.Detail), zap.Int("http_status", f.obs.HTTPStatus), zap.Duration("duration", f.obs.Duration))
	}

	f.wall = wall
	f.poll = order.Poll{Tick: f.tick, ByHand: f.byHand, Stale: stale, ClockDoubted: s.lookAtClock(wall, now), Evidence: evidence}
	s.pending = append(s.pending, f)
	s.landed = f
	s.urgent = s.urgent || f.byHand
	if n := len(s.pending); n == 1 || n == commitAt || f.byHand {
		s.wakeRecorder()
	}
	s.refreshBoth(f, now)
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
	if !s.fault {
		s.fault, s.faultNext = true, s.started.Add(faultPause)
	}
	s.poke()       // the loop starts the next one
	f.lane.yield() // another lane's turn next: evidence comes from different hosts
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
			l.yield() // the host's next probe is another seller's
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
	s.leave(f)
	f.lane.brk.undecided(f.probe)
	f.host.brk.undecided(f.hostPrb)
	f.err = err
	if s.run != nil && f.dueIn == s.run && !errors.Is(err, order.ErrStopping) {
		s.enqueue(f, f.waited, f.silent)
	}
	s.refreshBoth(f, now)
	f.finish()
}

// leave takes a flight that is over out of its lane's books. The lock is held.
func (s *Scheduler) leave(f *flight) {
	delete(f.lane.busy, f.ref.Order)
	f.lane.reserved -= f.reserved
	if s.run != nil && f.dueIn == s.run {
		s.flying--
	}
}

// enqueue puts a flight's order back into its lane, as of the tick that it was last polled for. The lock is held.
func (s *Scheduler) enqueue(f *flight, tick uint64, silent bool) {
	l := f.lane
	if l.seller.Paused || s.lanes[f.ref.Seller] != l {
		return
	}
	tick = s.run.asOf(tick)
	mark := entry(0)
	if l.fresh != nil && f.ref.Compare(s.run.after) <= 0 { // else the scan will meet it
		mark = met
	}
	l.queue.list(silent).insert(f.ref, tick, s.run.slots(tick), mark)
}
