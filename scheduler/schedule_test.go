package scheduler

import (
	"strings"
	"testing"
	"time"
)

func TestParseScheduleRefusesWhatNobodyCanMean(t *testing.T) {
	for _, c := range []struct{ line, zone, want string }{
		{"*/15 * * * *", "UTC", ""},
		{"@every 15m", "UTC", ""},
		{"@hourly", "Europe/Berlin", ""},
		{"30 2 * * *", "Europe/Berlin", ""},
		{"*/15 * * * *", "Local", "depends on the machine"},
		{"*/15 * * * *", "Mars/Olympus", "unknown timezone"},
		{"TZ=UTC", "UTC", "no zone inside"},
		{"CRON_TZ=Europe/Berlin * * * * *", "UTC", "no zone inside"},
		{"@every 500ms", "UTC", "whole seconds"},
		{"@every 0s", "UTC", "whole seconds"},
		{"@every -5s", "UTC", "whole seconds"},
		{"@every 1.5s", "UTC", "whole seconds"},
		{"@every soon", "UTC", "duration"},
		{"0 0 31 2 *", "UTC", "never fires"},
		{"", "UTC", "not a cron line"},
		{"* * * *", "UTC", "not a cron line"},
		{"* * * * * *", "UTC", "not a cron line"},
		{"61 * * * *", "UTC", "not a cron line"},
	} {
		_, err := ParseSchedule(c.line, c.zone)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q in %s: %v, want %q", c.line, c.zone, err, c.want)
		}
	}
}

func FuzzParseSchedule(f *testing.F) {
	for _, s := range []string{"*/15 * * * *", "@every 15m", "TZ=UTC", "CRON_TZ=UTC ", "0 0 31 2 *", "*/99999999999 * * * *"} {
		f.Add(s, "UTC")
	}
	f.Fuzz(func(t *testing.T, line, zone string) {
		s, err := ParseSchedule(line, zone)
		if err != nil {
			return
		}
		if next := s.Next(someMonday); !next.After(someMonday) {
			t.Errorf("%q: next tick %s", line, next)
		}
		if g := ShortestGap(s); g <= 0 {
			t.Errorf("%q: shortest gap %s", line, g)
		}
	})
}

func TestShortestGap(t *testing.T) {
	for line, want := range map[string]time.Duration{
		"*/15 * * * *":   15 * time.Minute,
		"@every 90s":     90 * time.Second,
		"0 8,9,20 * * *": time.Hour,
		"0 0 1 1 *":      366 * 24 * time.Hour,
	} {
		s, err := ParseSchedule(line, "UTC")
		if err != nil {
			t.Fatal(err)
		}
		if got := ShortestGap(s); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

// clocks are a wall clock that steps and a monotonic one that does not.
type clocks struct {
	mono time.Time
	off  time.Duration
}

func (c *clocks) wall() time.Time         { return c.mono.Add(c.off).Round(0) }
func (c *clocks) run(d time.Duration)     { c.mono = c.mono.Add(d) }
func (c *clocks) stepped(d time.Duration) { c.off += d }

// GUARANTEES G11: no wall-clock step delays a sweep by more than one interval, doubles it, or stops the schedule.
func TestAStepOfTheWallClockNeitherStopsNorDoublesTheSchedule(t *testing.T) {
	for _, line := range []string{"*/15 * * * *", "@every 15m"} {
		for _, step := range []time.Duration{-24 * time.Hour, -time.Hour, -10 * time.Minute, -20 * time.Second, 20 * time.Second, 7 * time.Minute, 14 * time.Minute, time.Hour, 24 * time.Hour, 10 * 365 * 24 * time.Hour} {
			for _, at := range []time.Duration{time.Second, 5 * time.Minute, 14*time.Minute + 50*time.Second} {
				s, err := ParseSchedule(line, "UTC")
				if err != nil {
					t.Fatal(err)
				}
				c := &clocks{mono: someMonday}
				tl := newTimeline(s, time.Time{}, c.wall(), c.mono)
				last, stepAt := c.mono, 30*time.Minute+at
				stepDone := false
				for elapsed := time.Duration(0); elapsed < 3*time.Hour; elapsed += time.Second {
					c.run(time.Second)
					if !stepDone && elapsed >= stepAt {
						c.stepped(step)
						stepDone = true
					}
					if !tl.look(c.wall(), c.mono) {
						continue
					}
					gap := c.mono.Sub(last)
					last = c.mono
					tl.fired(c.wall(), c.mono)
					if gap > 30*time.Minute || gap < 7*time.Minute {
						t.Errorf("%s, step %s at %s: %s between two ticks", line, step, at, gap)
					}
				}
				if c.mono.Sub(last) > 30*time.Minute {
					t.Errorf("%s, step %s at %s: the schedule stopped", line, step, at)
				}
			}
		}
	}
}

// Time zones that skip or repeat an hour: the tick is not skipped for more than a day, and steps aren't seen where there are none.
func TestTicksInZonesWithSummerTime(t *testing.T) {
	s, err := ParseSchedule("0 * * * *", "Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	c := &clocks{mono: time.Date(2024, 10, 26, 0, 30, 0, 0, time.UTC)}
	tl := newTimeline(s, time.Time{}, c.wall(), c.mono)
	ticks := 0
	for range 48 * 60 {
		c.run(time.Minute)
		if tl.look(c.wall(), c.mono) {
			tl.fired(c.wall(), c.mono)
			ticks++
		}
	}
	if ticks != 48 {
		t.Errorf("%d ticks of an hourly schedule in 48 hours", ticks)
	}
}

// SPEC §4, "Ticks": @every counts from the last cron or catch-up tick in the store.
func TestEveryCountsFromTheLastTick(t *testing.T) {
	s, err := ParseSchedule("@every 15m", "UTC")
	if err != nil {
		t.Fatal(err)
	}
	now := someMonday
	for ago, want := range map[time.Duration]time.Duration{10 * time.Minute: 5 * time.Minute, time.Hour: 15 * time.Minute, -time.Hour: 15 * time.Minute} {
		if got := newTimeline(s, now.Add(-ago), now, now).due.Sub(now); got != want {
			t.Errorf("last tick %s ago: next in %s, want %s", ago, got, want)
		}
	}
}

// GUARANTEES G12: a step over an hour is doubted until undone or confirmed; at start too.
func TestTheWallClockIsDoubted(t *testing.T) {
	c := &clocks{mono: someMonday}
	look := func(w *wallClock) bool { w.look(c.wall(), c.mono); return w.doubted }
	w := newWallClock(time.Time{}, 0, c.wall(), c.mono)
	for _, s := range []struct {
		step time.Duration
		want bool
	}{{30 * time.Minute, false}, {-30 * time.Minute, false}, {2 * time.Hour, true}, {-2 * time.Hour, false}, {-25 * time.Hour, true}, {25 * time.Hour, false}} {
		c.run(time.Minute)
		c.stepped(s.step)
		if got := look(w); got != s.want {
			t.Errorf("after a step of %s: doubted %v", s.step, got)
		}
	}
	c.stepped(50 * time.Minute)
	look(w)
	c.run(time.Minute)
	c.stepped(50 * time.Minute)
	if !look(w) {
		t.Error("two steps of 50 minutes are a step of more than an hour")
	}
	w.confirm(c.wall(), c.mono)
	c.run(time.Hour)
	if look(w) {
		t.Error("doubted although confirmed")
	}
	for range 5000 { // drift that adds up to hours is no step
		c.run(time.Minute)
		c.stepped(5 * time.Second)
		if look(w) {
			t.Fatal("slow drift is doubted")
		}
	}
	for ago, want := range map[time.Duration]bool{-2 * time.Hour: true, -time.Minute: false, 6 * 24 * time.Hour: false, 8 * 24 * time.Hour: true} {
		if got := newWallClock(c.wall().Add(-ago), 0, c.wall(), c.mono).doubted; got != want {
			t.Errorf("newest record %s before the start: doubted %v", ago, got)
		}
	}
}

// GUARANTEES, G13: what was missed is caught up although the clock was set back, rightly, after the last tick.
func TestLastSeen(t *testing.T) {
	tick := time.Date(2026, 3, 1, 12, 15, 0, 0, time.UTC)
	for _, c := range []struct {
		name   string
		newest time.Time
		off    time.Duration
		want   time.Time
	}{
		{"nothing recorded", time.Time{}, 0, tick},
		{"recorded since", tick.Add(time.Minute), 0, tick},
		{"recorded a moment before, by another clock", tick.Add(-time.Second), 0, tick},
		{"set back since", tick.Add(-24 * time.Hour), 0, tick.Add(-24 * time.Hour)},
		{"ahead and doubted", tick.Add(time.Minute - 24*time.Hour), 24 * time.Hour, tick},
		{"back and doubted", tick.Add(time.Minute), -24 * time.Hour, tick.Add(time.Minute - 24*time.Hour)},
	} {
		if got := lastSeen(tick, c.newest, c.off); !got.Equal(c.want) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
