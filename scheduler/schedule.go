package scheduler

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// ParseSchedule reads a cron line of five fields, or @hourly, @every 15m and
// the like, in the given time zone (SPEC §3, robfig/cron's standard syntax). It
// refuses what the library accepts and no operator can mean: a zone inside the
// line (schedule.timezone is the one place for it), "Local", an @every that is
// not whole seconds, and lines that never fire.
func ParseSchedule(line, timezone string) (s cron.Schedule, err error) {
	defer func() { // the library panics on some malformed lines
		if r := recover(); r != nil {
			s, err = nil, fmt.Errorf("not a cron line: %q", line)
		}
	}()
	if timezone == "Local" {
		return nil, errors.New(`timezone "Local" depends on the machine; name a zone, such as UTC or Europe/Berlin`)
	}
	loc, err := time.LoadLocation(timezone)
	if err != nil {
		return nil, fmt.Errorf("unknown timezone %q", timezone)
	}
	if strings.Contains(line, "TZ=") {
		return nil, errors.New("no zone inside the cron line; use schedule.timezone")
	}
	if every, ok := strings.CutPrefix(strings.TrimSpace(line), "@every "); ok {
		d, err := time.ParseDuration(strings.TrimSpace(every))
		if err != nil {
			return nil, fmt.Errorf("@every needs a duration such as 15m, not %q", every)
		}
		if d < time.Second || d%time.Second != 0 {
			return nil, fmt.Errorf("@every needs whole seconds, at least 1s, not %s", d)
		}
		return cron.ConstantDelaySchedule{Delay: d}, nil
	}
	s, err = cron.ParseStandard(line)
	if err != nil {
		return nil, fmt.Errorf("not a cron line of 5 fields or @every: %w", err)
	}
	if spec, ok := s.(*cron.SpecSchedule); ok {
		spec.Location = loc
	}
	if s.Next(someMonday).IsZero() {
		return nil, fmt.Errorf("cron line %q never fires", line)
	}
	return s, nil
}

// someMonday is where schedules are measured from; any day will do.
var someMonday = time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)

// ShortestGap returns the shortest time between two ticks of the schedule,
// measured over its next 2000 ticks or a year, whichever ends first.
func ShortestGap(s cron.Schedule) time.Duration {
	if every, ok := s.(cron.ConstantDelaySchedule); ok {
		return every.Delay
	}
	shortest := 366 * 24 * time.Hour
	at := s.Next(someMonday)
	for range 2000 {
		next := s.Next(at)
		if next.IsZero() || next.Sub(someMonday) > 366*24*time.Hour {
			break
		}
		shortest = min(shortest, next.Sub(at))
		at = next
	}
	return shortest
}

// timeline turns a schedule, which speaks of the wall clock, into instants of
// the monotonic clock, so that a step of the wall clock can neither stop the
// schedule nor make it fire twice (GUARANTEES, G11). Its arguments are always
// both clocks, read together.
type timeline struct {
	schedule cron.Schedule
	// the last tick, or where counting began
	last time.Time
	// the next one
	due     time.Time
	dueWall time.Time
	// both clocks when last looked at
	seen, seenWall time.Time
}

// wallStep is how far the wall clock may differ from what the monotonic clock
// says it should be, between two looks, before it counts as a step.
const wallStep = 2 * time.Second

// newTimeline begins to count. lastWall is the last cron or catch-up tick in the store, or zero: @every counts from there.
func newTimeline(s cron.Schedule, lastWall, wall, mono time.Time) *timeline {
	t := &timeline{schedule: s, last: mono, seen: mono, seenWall: wall}
	if every, ok := s.(cron.ConstantDelaySchedule); ok {
		wait := every.Delay
		if ago := wall.Sub(lastWall); !lastWall.IsZero() && ago >= 0 && ago < every.Delay {
			wait -= ago
		}
		t.due, t.dueWall = mono.Add(wait), wall.Add(wait)
		return t
	}
	t.dueWall = s.Next(wall)
	t.due = mono.Add(t.dueWall.Sub(wall))
	return t
}

// look takes a step of the wall clock into account and reports whether the next tick is due.
func (t *timeline) look(wall, mono time.Time) bool {
	step := wall.Sub(t.seenWall) - mono.Sub(t.seen)
	t.seen, t.seenWall = mono, wall
	if _, every := t.schedule.(cron.ConstantDelaySchedule); !every && step.Abs() >= wallStep {
		t.replan(wall, mono)
	}
	return !mono.Before(t.due)
}

// replan finds the next tick after the wall clock stepped: by the new wall
// time, but not sooner after the last tick than half the wait that was planned.
func (t *timeline) replan(wall, mono time.Time) {
	if !mono.Before(t.due) {
		return // due already, whatever the clock says
	}
	soonest := t.last.Add(t.due.Sub(t.last) / 2)
	next := t.schedule.Next(wall)
	for mono.Add(next.Sub(wall)).Before(soonest) {
		next = t.schedule.Next(next)
	}
	t.dueWall, t.due = next, mono.Add(next.Sub(wall))
}

// fired moves on to the tick after the one that is due.
func (t *timeline) fired(wall, mono time.Time) {
	t.last = mono
	if every, ok := t.schedule.(cron.ConstantDelaySchedule); ok {
		t.due = t.due.Add(every.Delay)
		if t.due.Before(mono) { // late by more than a whole turn: no volley
			t.due = mono.Add(every.Delay)
		}
		t.dueWall = wall.Add(t.due.Sub(mono))
		return
	}
	from := wall
	if t.dueWall.After(from) && t.dueWall.Sub(from) < wallStep { // woken a little early
		from = t.dueWall
	}
	t.dueWall = t.schedule.Next(from)
	t.due = mono.Add(t.dueWall.Sub(wall))
}

// lastSeen is the last tick, by the wall clock as it was when something was last recorded: a clock that was set back
// since the tick, and is right, must not let what an outage missed look as if it had been done.
func lastSeen(tick, newest time.Time, off time.Duration) time.Time {
	if at := newest.Add(off); !newest.IsZero() && at.Before(tick.Add(-wallStep)) {
		return at
	}
	return tick
}

// missed reports whether a tick lay between the last one in the store and now.
func missed(s cron.Schedule, last, wall time.Time) bool {
	if last.IsZero() {
		return false
	}
	next := s.Next(last)
	return !next.IsZero() && !next.After(wall)
}
