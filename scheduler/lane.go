package scheduler

import (
	"time"

	"poller/order"
)

// A lane's turn lasts for turnPolls of its polls as long as they take lately, at least quantum and at most longestTurn
// of worker time; then lanes that used less go first. It keeps one seller's orders together, over few kept connections:
// one that is not kept until the lane's next turn costs as much as 15 polls or more. Polls take what the seller takes,
// or, if all workers wait for the processor, what that takes. longestTurn is less than a poll that hangs.
const (
	turnPolls   = 100
	quantum     = time.Second
	longestTurn = 4 * time.Second
)

// Rests of a lane that was throttled without a readable Retry-After.
const (
	firstRest   = 5 * time.Second
	longestRest = time.Minute
)

// lane is one seller's due orders and all that decides when the next of them
// is polled. It outlives sweeps. Guarded by the scheduler's lock.
type lane struct {
	seller *order.Seller // replaced as a whole, never changed
	host   *host

	queue    queue
	fresh    *queue             // what the scan brings, until the seller's part is read; nil: it is not being read
	waiting  int64              // in both, as of the last refresh
	targets  []order.Target     // read ahead for the next turns; without an id: no longer due
	reading  bool               // ... for a flight that is waiting for them
	busy     map[uint64]*flight // from the start of a poll to its commit
	inFlight int                // polls that hold a slot
	seen     *run               // the newest sweep whose scan met an order of the lane

	used   time.Duration // worker time in this sweep
	turnAt time.Duration // ... when its turn began
	level  int64         // ... and that in quanta
	expect time.Duration // how long its polls take, lately

	brk       breaker
	restUntil time.Time
	rest      time.Duration // of the last rest without a Retry-After
	starts    []time.Time   // of the last max_per_minute polls: a ring
	start     int           // the oldest of them, once the ring is full
	health    order.Health
	overQuota bool
	reserved  int64 // bytes being kept, not yet in the store's books

	// of this sweep, for the deadline of orders that it skipped (SPEC §5)
	polls, bad int

	place  int       // among its host's that are ready, from 1; 0: it is not
	wakeAt time.Time // when the lane is looked at again because of time alone
	held   bool      // waits for its host's first answer in this sweep
	counts bool      // is among its host's lanes
}

// spend books worker time. With enough of it the lane's turn is over, and the next one begins.
func (l *lane) spend(d time.Duration) {
	l.used += d
	if l.used-l.turnAt >= min(max(quantum, turnPolls*l.expect), longestTurn) {
		l.nextTurn()
	}
}

// yield ends the lane's turn: lanes that used no more go first.
func (l *lane) yield() {
	l.used += quantum
	l.nextTurn()
}

func (l *lane) nextTurn() { l.turnAt, l.level = l.used, max(l.level, int64(l.used/quantum)) }

// newSweep begins a sweep's accounts.
func (l *lane) newSweep() {
	l.used, l.turnAt, l.level, l.polls, l.bad = 0, 0, 0, 0, 0
	l.brk.newSweep()
	if l.fresh != nil { // of a scan that was cut short
		l.fresh = nil
		l.queue.answered.unmark()
		l.queue.silent.unmark()
	}
}

// cap is how many polls of the lane may be in flight.
func (s *Scheduler) capOf(l *lane) int {
	n := s.cfg.PerSeller
	if l.seller.MaxConcurrency > 0 {
		n = l.seller.MaxConcurrency
	}
	return min(n, s.hostCap(l.host.name))
}

// eligible reports whether the lane's next poll may begin as far as the seller
// alone is concerned; if not, wake is when time alone changes that (zero: it won't).
func (s *Scheduler) eligible(l *lane, now time.Time) (ok bool, wake time.Time) {
	if l.queue.len() == 0 || l.seller.Paused || l.inFlight >= s.capOf(l) {
		return false, time.Time{}
	}
	if now.Before(l.restUntil) {
		return false, l.restUntil
	}
	if ok, wake := l.brk.may(now, s.cfg.BreakerFailures, l.inFlight, s.cfg.BreakerProbes); !ok {
		return false, wake
	}
	if l.held = !l.host.brk.answered && l.inFlight > 0 && l.host.lanes > 1; l.held {
		return false, time.Time{}
	}
	if at := l.rateAt(now); now.Before(at) {
		return false, at
	}
	if f, wait := l.queue.next(s.run, s.elapsed(now), l.brk.open); f == nil {
		return false, now.Add(wait)
	}
	return true, time.Time{}
}

// ratePeriod is the "minute" of max_per_minute: any 60 seconds.
const ratePeriod = time.Minute

// rateAt is when max_per_minute allows the next poll to begin.
func (l *lane) rateAt(now time.Time) time.Time {
	n := l.seller.MaxPerMinute
	if n <= 0 || len(l.starts) < n {
		return now
	}
	return l.starts[(l.start+len(l.starts)-n)%len(l.starts)].Add(ratePeriod)
}

// began notes the start of a poll for max_per_minute.
func (l *lane) began(now time.Time) {
	n := l.seller.MaxPerMinute
	switch {
	case n <= 0:
		l.starts, l.start = nil, 0
	case len(l.starts) < n && l.start == 0:
		l.starts = append(l.starts, now)
	case len(l.starts) != n: // the limit was changed: keep the newest, oldest first
		kept := make([]time.Time, 0, n)
		for i := max(0, len(l.starts)-(n-1)); i < len(l.starts); i++ {
			kept = append(kept, l.starts[(l.start+i)%len(l.starts)])
		}
		kept = append(kept, now)
		l.starts, l.start = kept, 0
	default:
		l.starts[l.start] = now
		l.start = (l.start + 1) % n
	}
}

// throttled lets the lane rest: as long as the seller asked, or 5 s doubling to a minute.
func (l *lane) throttled(now time.Time, retryAfter *time.Duration, longest time.Duration) {
	d := min(max(2*l.rest, firstRest), longestRest)
	if retryAfter != nil {
		d = min(*retryAfter, longest)
	} else {
		l.rest = d
	}
	if until := now.Add(d); until.After(l.restUntil) {
		l.restUntil = until
	}
}

// host is a name and port that several sellers may share.
type host struct {
	name     string
	lanes    int // ... and have something to do in this sweep
	inFlight int
	brk      breaker
	silent   map[uint32]struct{} // sellers whose first hop got no connection, since one did
	ready    ranks[*lane]        // lanes that may begin
	place    int                 // among the scheduler's hosts that are ready, from 1; 0: it is not
	wakeAt   time.Time
	waiting  []*lane // held until somebody gets an answer from the host
}

// hostCap is how many polls to a host may be in flight.
func (s *Scheduler) hostCap(name string) int {
	if n, ok := s.cfg.Hosts[name]; ok {
		return n
	}
	return s.cfg.PerHost
}

// open reports whether the host has room, and else when time alone makes some.
// A host's bound counts sellers, so that no seller can use it up for its neighbours.
func (s *Scheduler) hostMay(h *host, now time.Time) (ok bool, wake time.Time) {
	if h.inFlight >= s.hostCap(h.name) {
		return false, time.Time{}
	}
	h.brk.failures = len(h.silent)
	return h.brk.may(now, max(s.cfg.BreakerFailures, hostWitnesses), h.inFlight, s.cfg.BreakerProbes)
}

// hostWitnesses is how many sellers must have failed to reach a host before it is left alone.
const hostWitnesses = 3
