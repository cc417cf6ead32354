package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"poller/internal/fakeseller"
)

// processView is what a daemon costs.
type processView struct{ goroutines, privateKiB int }

func (d *daemon) process() (v processView) {
	d.t.Helper()
	for line := range strings.Lines(string(d.get("/metrics").body)) {
		if text, ok := strings.CutPrefix(line, "go_goroutines "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(text))
			noError(d.t, err, "reading go_goroutines")
			v.goroutines = n
		}
	}
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(d.cmd.Process.Pid), "status"))
	noError(d.t, err, "reading what the process costs")
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "RssAnon: %d kB", &v.privateKiB)
	}
	return v
}

// ramp takes every attempt, but holds the first of them until as many are in
// flight as there may be: one, and one more for each that was taken, eight at the most.
func (r *receiver) ramp(until int) func(attempt) int {
	answered := 0
	return func(a attempt) int {
		r.mu.Lock()
		defer r.mu.Unlock()
		for {
			width := min(max(answered, 1), 8)
			if r.inFlight > width {
				r.t.Errorf("%d attempts in flight after %d were taken", r.inFlight, answered)
			}
			if answered >= until || r.inFlight >= width {
				break
			}
			changed := r.changed
			r.mu.Unlock()
			select {
			case <-changed:
			case <-a.gone: // that many never came
				r.t.Errorf("poller hung up; %d attempts in flight after %d were taken", r.inFlight, answered)
			}
			r.mu.Lock()
		}
		answered++
		return http.StatusOK
	}
}

// Issue 5: a platform that hangs, or isn't there, slows no sweep and costs no
// memory, however many events wait for it; stops, kills and restarts keep them. After
// eight failures poller rests, with an attempt a minute; when the platform is back it is not
// stormed (SPEC §6, "Webhook"; GUARANTEES, G4). With POLLER_DRILL_DOWN=100000 it is that many events.
func TestPlatformDown(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("it reads /proc")
	}
	size, _ := drillSize(t, "POLLER_DRILL_DOWN", 2000)
	const sellers, more = 20, 200
	r := newReceiver(t)
	r.replies(hangs)
	s := newSite(t, 4)
	s.set("log.level", "info", "fetch.per_seller", "16")
	s.sellers.Handle("*/*", fakeseller.Quick("done"))
	s.tells(r)
	d := s.start()
	submit := func(prefix string, n int) {
		for seller := range sellers {
			d.submitMany(fmt.Sprintf("seller-%d", seller), names(fmt.Sprintf("%s-%d", prefix, seller), n/sellers)...)
		}
	}
	for n := range sellers {
		d.register(n%4, fmt.Sprintf("seller-%d", n))
	}
	ctx := for30m(t)

	// It hangs: a sweep is as quick as one that nobody is told of, which comes second and so knows the sellers.
	submit("first", size)
	begun := time.Now()
	rec := d.sweepFor(ctx)
	hanging := time.Since(begun)
	equal(t, "the sweep's books", [3]int{rec.Due, rec.Polled, rec.Outcomes["completed"]}, [3]int{size, size, size})
	d.waitPending(size)
	r.wait(ctx, "eight attempts hang", func() bool { return r.most == 8 })
	s.set("webhook.url", `""`)
	d.reload()
	submit("untold", size)
	begun = time.Now()
	d.sweepFor(ctx)
	alone := time.Since(begun)
	if hanging > 5*alone+5*time.Second {
		t.Errorf("a sweep took %s while the platform hung, and %s without one", hanging, alone)
	}
	s.tells(r)

	// A kill and a stop keep what waits; attempts that hang hold up no stop.
	d.kill()
	d = s.start()
	equal(t, "pending after a kill", d.status().Webhook.Pending, size)
	r.wait(ctx, "eight attempts hang again", func() bool { return r.inFlight == 8 })
	d.stop()

	// It isn't there.
	r.server.Cut()
	d = s.start()
	equal(t, "pending after a stop", d.status().Webhook.Pending, size)
	before := d.process()
	d.waitLog("webhook is down; resting", nil)
	submit("second", more)
	begun = time.Now()
	d.sweepFor(ctx)
	resting := time.Since(begun)
	d.waitPending(size + more)
	if after := d.process(); after.goroutines > before.goroutines+100 || after.privateKiB > before.privateKiB+64<<10 {
		t.Errorf("with %d events waiting and a sweep: %+v, at the start %+v", size+more, after, before)
	}
	costs := d.process()

	// It comes back, and the attempt of that minute finds it.
	r.mu.Lock()
	r.most = 0
	r.mu.Unlock()
	r.replies(r.ramp(50))
	r.server.Restore()
	d.waitLog("webhook is taken again", nil)
	begun = time.Now()
	r.waitTaken(ctx, size+more)
	took := time.Since(begun)
	d.waitPending(0)
	r.mu.Lock()
	most := r.most
	r.mu.Unlock()
	equal(t, "the most attempts at once", most, 8)
	equal(t, "attempts that were taken", d.samples()[`poller_webhook_attempts_total{result="taken"}`], float64(size+more))
	d.checkSamples(map[string]float64{"poller_outbox_pending": 0, "poller_webhook_dead": 0})
	if refused := d.samples()[`poller_webhook_attempts_total{result="unreachable"}`]; refused < 8 || refused > 20 {
		t.Errorf("%v attempts while nobody was there, want 8 and a few", refused)
	}
	told := 0
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range d.checkEvents() {
		_, was := r.last[id]
		if was {
			told++
		}
		if was == strings.HasPrefix(id, "untold") {
			t.Errorf("order %s: the platform was told of its end: %v", id, was)
		}
	}
	equal(t, "orders told of", told, size+more)
	t.Logf("%d orders completed in %s while the platform hung, in %s without one, %d more in %s while poller rested; %d events waiting: %d goroutines, %d MiB private (at the start %d and %d); all arrived within %s",
		size, hanging.Round(time.Millisecond), alone.Round(time.Millisecond), more, resting.Round(time.Millisecond),
		size+more, costs.goroutines, costs.privateKiB>>10, before.goroutines, before.privateKiB>>10, took.Round(time.Millisecond))
}
