package scheduler

import (
	"time"

	"poller/order"
)

// breaker decides how a seller, or a host, that does not answer is left alone
// (SPEC §4, "Breaker"). It is guarded by the scheduler's lock.
type breaker struct {
	failures int  // in a row
	open     bool // failures reached the limit, and nothing closed it since
	answered bool // in this sweep

	first  bool      // the sweep's first probe is still to be sent
	since  time.Time // when it opened, or the sweep's first probe failed
	probes int       // of breaker_probes, begun since then
	probe  bool      // one is in flight
}

// newSweep begins a sweep: nobody has answered in it, and an open breaker gets one probe.
func (b *breaker) newSweep() {
	b.answered, b.first, b.probes = false, b.open, 0
}

// state is how the breaker is shown.
func (b *breaker) state() order.Breaker {
	switch {
	case !b.open:
		return order.BreakerClosed
	case b.probe:
		return order.BreakerHalfOpen
	}
	return order.BreakerOpen
}

// may reports whether a poll may begin, inFlight being those that have begun.
// If not, wake is when time alone will change that; zero: it won't.
func (b *breaker) may(now time.Time, limit, inFlight int, schedule []time.Duration) (ok bool, wake time.Time) {
	if !b.open {
		return b.answered || b.failures+inFlight < limit, time.Time{}
	}
	switch {
	case b.probe:
		return false, time.Time{}
	case b.first:
		return true, time.Time{}
	case b.probes < len(schedule):
		if at := b.since.Add(schedule[b.probes]); now.Before(at) {
			return false, at
		}
		return true, time.Time{}
	}
	return false, time.Time{}
}

// begin notes that a poll began, and reports whether it is a probe.
func (b *breaker) begin() bool {
	if !b.open {
		return false
	}
	b.probe = true
	return true
}

// failed notes a failure; opens says whether there are enough to open it.
func (b *breaker) failed(now time.Time, probe, opens bool) {
	b.failures++
	if probe {
		b.probe = false
	}
	switch {
	case !b.open && opens: // by a probe too, if somebody else's answer closed it meanwhile
		b.open, b.since, b.probes, b.first = true, now, 0, false
	case !b.open, !probe:
	case b.first:
		b.first, b.since, b.probes = false, now, 0
	default:
		b.probes++
	}
}

// tighten opens it if the failures so far reach a limit that became lower; its first probe is due at once.
func (b *breaker) tighten(limit int) (opened bool) {
	if b.open || b.failures < limit {
		return false
	}
	b.open, b.first, b.probes = true, true, 0
	return true
}

// undecided ends a probe that said nothing about the seller (blocked, local_fault): it may be sent again.
func (b *breaker) undecided(probe bool) {
	if probe {
		b.probe = false
	}
}

// succeeded closes it.
func (b *breaker) succeeded() {
	*b = breaker{answered: true}
}
