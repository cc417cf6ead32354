package order

import (
	"maps"
	"time"
)

// Trigger says what made a tick.
type Trigger string

// The triggers.
const (
	TriggerCron    Trigger = "cron"     // the schedule
	TriggerManual  Trigger = "manual"   // POST /v1/sweeps
	TriggerCatchUp Trigger = "catch_up" // a tick was missed while poller was stopped, or had no space
)

// Triggers lists every trigger.
var Triggers = []Trigger{TriggerCron, TriggerManual, TriggerCatchUp}

// SweepState is where a sweep stands.
type SweepState string

// The states of a sweep.
const (
	SweepRunning     SweepState = "running"
	SweepDone        SweepState = "done"        // nothing remained for our own limits
	SweepOverrun     SweepState = "overrun"     // a cron tick closed a cron sweep with something remaining: more workers, or a longer interval
	SweepInterrupted SweepState = "interrupted" // anything else closed it with something remaining
)

// Sweep is the record of what one tick started. Due = Polled + Skipped +
// LeftToSeller + Remaining once it has ended (SPEC §4).
type Sweep struct {
	ID        uint64
	Tick      uint64
	Trigger   Trigger
	State     SweepState
	StartedAt time.Time
	EndedAt   time.Time

	Due          int64
	Polled       int64 // with effect, committed
	Skipped      int64 // the breaker
	LeftToSeller int64 // the seller's own cap, rate or rest
	Remaining    int64 // workers, per_host, memory, store: our limits
	Outcomes     map[Outcome]int64
}

// Close ends the record: by is what closed it, or "" if it ended by itself.
// Skipped, LeftToSeller and Remaining must be set.
func (s *Sweep) Close(by Trigger, now time.Time) {
	s.EndedAt = now
	switch {
	case s.Remaining == 0:
		s.State = SweepDone
	case by == TriggerCron && s.Trigger == TriggerCron:
		s.State = SweepOverrun
	default:
		s.State = SweepInterrupted
	}
}

// Clone returns a copy that shares nothing.
func (s Sweep) Clone() Sweep {
	s.Outcomes = maps.Clone(s.Outcomes)
	return s
}
