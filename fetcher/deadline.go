package fetcher

import (
	"net"
	"sync"
	"time"
)

// longBody is the size in bytes from which on a body may take longer than Options.Timeout (SPEC §2, "Limits").
const longBody = 1 << 20

// deadline ends a poll in time: it is the deadline of the connection that the
// poll has. It counts from the dial, leaves out the time that we keep the seller waiting ourselves, and
// goes on past the first limit for a long body alone. Only cutOff is called by another goroutine than the poll's.
type deadline struct {
	takeLong func() bool   // may this poll be its seller's one long body?
	bytes    int64         // of the body, so far or announced
	start    time.Time     // of the poll
	limit    time.Duration // in force
	bodyMax  time.Duration // the second limit
	waited   time.Duration // not counted
	pausedAt time.Time     // zero: running
	isLong   bool          // the second limit is in force
	expired  bool

	mu   sync.Mutex
	conn net.Conn // which the poll has
	cut  bool
}

func (d *deadline) begin(timeout, bodyTimeout time.Duration, takeLong func() bool) {
	d.start, d.limit, d.bodyMax, d.takeLong = time.Now(), timeout, bodyTimeout, takeLong
}

// elapsed is the time that counts, so far.
func (d *deadline) elapsed() time.Duration {
	e := time.Since(d.start) - d.waited
	if !d.pausedAt.IsZero() {
		e -= time.Since(d.pausedAt)
	}
	return e
}

// end is when time runs out.
func (d *deadline) end() time.Time { return d.start.Add(d.limit + d.waited) }

// watch makes c the connection that the limit is for; nil: none.
func (d *deadline) watch(c net.Conn) {
	d.mu.Lock()
	d.conn = c
	d.mu.Unlock()
	if c != nil {
		d.set(d.end())
	}
}

// set gives the connection its deadline, unless the poll was cut off.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn == nil {
		return
	}
	if d.cut {
		t = longAgo
	}
	_ = d.conn.SetDeadline(t) // of a closed one: the next read or write says so
}

// cutOff ends the poll now.
func (d *deadline) cutOff() {
	d.mu.Lock()
	d.cut = true
	d.mu.Unlock()
	d.set(longAgo)
}

func (d *deadline) isCut() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cut
}

// late is asked when a deadline has passed, and reports whether the poll may go on after all.
func (d *deadline) late() bool {
	if d.isCut() {
		return false
	}
	if d.elapsed() >= d.limit {
		if d.isLong || d.bytes <= longBody || !d.takeLong() {
			d.expired = true
			return false
		}
		d.isLong, d.limit = true, d.bodyMax
	}
	d.set(d.end())
	return true
}

// shorten lets the connection only so much time from now on.
func (d *deadline) shorten(most time.Duration) {
	t := time.Now().Add(most)
	if end := d.end(); end.Before(t) {
		t = end
	}
	d.set(t)
}

// pause stops counting until resume.
func (d *deadline) pause() { d.pausedAt = time.Now() }

func (d *deadline) resume() {
	d.waited += time.Since(d.pausedAt)
	d.pausedAt = time.Time{}
	d.set(d.end())
}
