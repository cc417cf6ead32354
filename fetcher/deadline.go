package fetcher

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// longBody is the size in bytes from which on a body may take longer than Options.Timeout (SPEC §2, "Limits").
const longBody = 1 << 20

// errDeadline is the cause of a poll's context when its time ran out.
var errDeadline = errors.New("time limit")

// deadline ends a poll in time by cancelling its context. It counts from the
// dial, leaves out the time that we keep the seller waiting ourselves, and
// goes on past the first limit for a long body alone.
type deadline struct {
	cancel   context.CancelCauseFunc
	takeLong func() bool // may this poll be its seller's one long body?
	bytes    atomic.Int64

	mu       sync.Mutex
	timer    *time.Timer
	start    time.Time
	limit    time.Duration // in force
	bodyMax  time.Duration // the second limit
	waited   time.Duration // not counted
	pausedAt time.Time     // zero: running
	isLong   bool          // the second limit is in force
	expired  bool
	stopped  bool
}

// startDeadline starts counting; stop must be called.
func startDeadline(cancel context.CancelCauseFunc, timeout, bodyTimeout time.Duration, takeLong func() bool) *deadline {
	d := &deadline{cancel: cancel, takeLong: takeLong, start: time.Now(), limit: timeout, bodyMax: bodyTimeout}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timer = time.AfterFunc(timeout, d.fire)
	return d
}

func (d *deadline) fire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.pausedAt.IsZero() || d.expired || d.stopped {
		return // resume arms the timer again
	}
	if left := d.limit - d.elapsed(); left > 0 {
		d.timer.Reset(left)
		return
	}
	if !d.isLong && d.bytes.Load() > longBody && d.takeLong() {
		d.isLong, d.limit = true, d.bodyMax
		d.timer.Reset(d.limit - d.elapsed())
		return
	}
	d.expired = true
	d.cancel(errDeadline)
}

// elapsed is the time that counts; mu is held.
func (d *deadline) elapsed() time.Duration {
	e := time.Since(d.start) - d.waited
	if !d.pausedAt.IsZero() {
		e -= time.Since(d.pausedAt)
	}
	return e
}

// Elapsed is the time that counts, so far.
func (d *deadline) Elapsed() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.elapsed()
}

// pause stops counting until resume.
func (d *deadline) pause() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pausedAt = time.Now()
}

func (d *deadline) resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waited += time.Since(d.pausedAt)
	d.pausedAt = time.Time{}
	if !d.stopped && !d.expired {
		d.timer.Reset(max(d.limit-d.elapsed(), 0))
	}
}

// stop ends the counting and reports under which limit it stood.
func (d *deadline) stop() (limit time.Duration, long bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	d.timer.Stop()
	return d.limit, d.isLong
}

// hasExpired reports whether time ran out.
func (d *deadline) hasExpired() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.expired
}
