package scheduler

import "time"

// Bounds of G12: the wall clock is doubted when it moves against the monotonic
// one by more than an hour, or stands at start more than an hour before the
// newest record, or more than seven days after it.
const (
	doubtStep    = time.Hour
	doubtAtStart = 7 * 24 * time.Hour
	// quietStep: smaller differences between two looks are the clocks' ordinary drift.
	quietStep = 10 * time.Second
)

// wallClock watches the wall clock against the monotonic one.
type wallClock struct {
	anchor, anchorWall time.Time
	seen, seenWall     time.Time
	off                time.Duration // wall clock's distance from where the anchor says it should be
	doubted            bool
	kept               time.Duration // off as it is in the store; 0: not doubted there
}

// newWallClock begins to watch. newest is the time of the newest record in the store, or zero; off is by how much the
// clock was doubted when it was last looked at, or zero. One that was ahead stays doubted as long as it may still be.
func newWallClock(newest time.Time, off time.Duration, wall, mono time.Time) *wallClock {
	c := &wallClock{anchor: mono, anchorWall: wall, seen: mono, seenWall: wall, kept: off}
	if !newest.IsZero() {
		ahead := wall.Sub(newest)
		if ahead < -doubtStep || ahead > doubtAtStart || off > doubtStep && ahead > off-doubtStep {
			// The store's own time is the anchor: only time near it, or a human, undoes the doubt.
			c.anchorWall, c.off, c.doubted = newest, ahead, true
		}
	}
	return c
}

// look compares the clocks and reports whether the doubt changed.
func (c *wallClock) look(wall, mono time.Time) bool {
	moved := wall.Sub(c.seenWall) - mono.Sub(c.seen)
	c.seen, c.seenWall = mono, wall
	if moved.Abs() < quietStep && !c.doubted {
		// Follow slow drift, so that it never adds up to a step.
		c.anchorWall = c.anchorWall.Add(moved)
		return false
	}
	c.off = wall.Sub(c.anchorWall) - mono.Sub(c.anchor)
	doubted := c.off.Abs() > doubtStep
	changed := doubted != c.doubted
	c.doubted = doubted
	return changed
}

// confirm takes the wall clock as right.
func (c *wallClock) confirm(wall, mono time.Time) {
	*c = wallClock{anchor: mono, anchorWall: wall, seen: mono, seenWall: wall, kept: c.kept}
}

// news is what the store should know: by how much the clock is doubted, 0 if it is not. Drift while it is doubted is none.
func (c *wallClock) news() time.Duration {
	switch {
	case !c.doubted:
		return 0
	case (c.off-c.kept).Abs() < quietStep && c.kept != 0:
		return c.kept
	}
	return c.off
}
