package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"poller/internal/fakeseller"
)

// SIGTERM in a sweep: exit code 0, and no poll in flight is half recorded. Those
// that are answered in time count, so that after the restart each order has
// been polled once (GUARANTEES, G25).
func TestStopIsGraceful(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	s.set("fetch.per_seller", "2", "log.level", "info")
	counter := &pollCounter{}
	d := s.start()
	var ids []string
	for n := range 10 {
		seller := fmt.Sprintf("seller-%d", n)
		s.sellers.Handle(seller+"/*", counter.gate(fakeseller.Slow(50*time.Millisecond, fakeseller.Quick("done"))))
		d.register(n%2, seller)
		mine := names(seller+".order", 20)
		d.submitMany(seller, mine...)
		ids = append(ids, mine...)
	}
	middle := counter.at(70)
	var sweep sweepView
	d.call(http.MethodPost, "/v1/sweeps", nil, http.StatusAccepted, &sweep)
	<-middle
	d.stop()
	for _, line := range []string{"stopping", "stopped"} {
		d.waitLog(line, nil)
	}
	polled := 0
	for _, n := range pollsOf(s, ids) {
		polled += n
	}
	if polled == len(ids) {
		t.Error("the sweep was over before the stop")
	}
	checkDatabase(t, s.data("poller.db"))

	d = s.start()
	goesOn := d.waitLog("sweep goes on", nil)
	equal(t, "what goes on: sweep, polled", [2]int{goesOn.number("sweep"), goesOn.number("polled")}, [2]int{sweep.ID, polled})
	d.swept(sweep.ID)
	for id, n := range pollsOf(s, ids) {
		if n != 1 {
			t.Errorf("order %s was polled %d times", id, n)
		}
	}
	if ends := d.checkEvents(); len(ends) != len(ids) {
		t.Errorf("%d of %d orders ended", len(ends), len(ids))
	}
}

// Polls that are not answered within shutdown_timeout are cut off and count for nothing.
func TestStopCutsOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.set("shutdown_timeout", "1s")
	d := s.start()
	s.sellers.Handle("hang/*", fakeseller.Hang())
	d.register(0, "hang")
	d.submit("hang", "one")
	d.call(http.MethodPost, "/v1/sweeps", nil, http.StatusAccepted, nil)
	noError(t, s.sellers.WaitPolls(within(t), "hang", 1), "waiting for the poll")
	d.stop()
	d = s.start()
	if o := d.order("one"); o.Polls != 0 || o.Trouble != nil || len(o.RecentTrouble) != 0 {
		t.Errorf("a poll that was cut off left %+v", o)
	}
}

// runPoller runs a command to its end.
func (s *site) runPoller(args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(within(s.t), binary, append([]string{"--config", s.configFile()}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("running poller: %v", err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// Two daemons never share a store: the second exits and says why (GUARANTEES, G10).
func TestSecondDaemonIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.start()
	begun := time.Now()
	code, _, stderr := s.runPoller("serve")
	if code != 1 || !strings.Contains(stderr, "in use") || !strings.Contains(stderr, s.data("poller.db")) {
		t.Errorf("exit code %d, and: %s", code, stderr)
	}
	if took := time.Since(begun); took > 10*time.Second { // it tries for some seconds; the rest is for slow machines
		t.Errorf("it took %s", took)
	}
	d.call(http.MethodGet, "/v1/status", nil, http.StatusOK, nil) // the first one goes on
}

// A file that is not our database is never replaced by a new one (GUARANTEES, G8).
func TestForeignDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(path string) error{
		"missing": os.Remove,
		"empty":   func(path string) error { return os.Truncate(path, 0) },
		"cut":     func(path string) error { return os.Truncate(path, 20000) },
		"foreign": func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("x"), 1<<16), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 1)
			d := s.start()
			d.register(0, "acme")
			d.stop()
			noError(t, spoil(s.data("poller.db")), "spoiling the database")
			before, _ := os.ReadFile(s.data("poller.db"))
			code, _, stderr := s.runPoller("serve")
			if code != 1 || !strings.Contains(stderr, s.data("poller.db")) {
				t.Errorf("exit code %d, and: %s", code, stderr)
			}
			t.Log(strings.TrimSpace(stderr))
			if after, _ := os.ReadFile(s.data("poller.db")); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

// SIGHUP reads the configuration again: what can change live does, and is
// logged; an invalid file changes nothing (SPEC §3).
func TestReload(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.start()
	s.set("fetch.workers", "33", "orders.deadline", "5d", "store.bbolt", "elsewhere.db")
	d.signal(syscall.SIGHUP)
	d.waitLog("configuration reloaded", nil)
	for key, want := range map[string][3]string{
		"fetch.workers":   {"configuration changed", "512", "33"},
		"orders.deadline": {"configuration changed", "3d", "5d"},
		"store.bbolt":     {"configuration changed, but this takes a restart", strconv.Quote(s.data("poller.db")), strconv.Quote(filepath.Join(s.dir, "elsewhere.db"))},
	} {
		line := d.waitLog(want[0], func(l logLine) bool { return l.text("key") == key })
		equal(t, key, [2]string{line.text("old"), line.text("new")}, [2]string{want[1], want[2]})
	}
	d.checkSamples(map[string]float64{"poller_workers": 33, "poller_config_last_reload_successful": 1})
	d.register(0, "acme")
	d.submit("acme", "long")
	if left := time.Until(d.order("long").Deadline); left < 119*time.Hour {
		t.Errorf("the deadline is in %s", left)
	}

	s.set("fetch.workers", "none", "orders.deadline", "1d")
	d.signal(syscall.SIGHUP)
	refused := d.waitLog("configuration not reloaded: nothing changed", nil)
	equal(t, "the key at fault", refused.text("key"), "fetch.workers")
	d.checkSamples(map[string]float64{"poller_workers": 33, "poller_config_last_reload_successful": 0})
	d.submit("acme", "long-too")
	if left := time.Until(d.order("long-too").Deadline); left < 119*time.Hour {
		t.Errorf("after an invalid file the deadline is in %s", left)
	}
}

// With less than min_free nothing is acknowledged and no poll starts; all else
// goes on, and with space back work resumes by itself (SPEC §3, §4; GUARANTEES, G7).
func TestBelowMinFree(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.set("log.level", "info")
	d := s.start()
	d.register(0, "acme")
	s.sellers.Handle("acme/*", fakeseller.Quick("done"))
	d.submit("acme", "before")

	s.set("min_free", "1000000TiB", "schedule.cron", `"@every 2s"`)
	d.signal(syscall.SIGHUP)
	d.waitLog("configuration reloaded", nil)
	d.waitLog("disk space below min_free: no poll starts", nil)
	order := object{"order_id": "refused", "seller_id": "acme"}
	d.call(http.MethodPost, "/v1/orders", order, http.StatusInsufficientStorage, nil)
	d.call(http.MethodPost, "/v1/orders", []byte(`{"order_id":"refused","seller_id":"acme"}`+"\n"), http.StatusInsufficientStorage, nil)
	d.call(http.MethodPost, "/v1/orders/before/poll", nil, http.StatusInsufficientStorage, nil)
	d.call(http.MethodPost, "/v1/sweeps", nil, http.StatusInsufficientStorage, nil)
	for _, path := range []string{"/v1/orders", "/v1/orders/before", "/v1/orders/before/history", "/v1/sellers", "/v1/events", "/v1/sweeps", "/v1/status"} {
		d.call(http.MethodGet, path, nil, http.StatusOK, nil)
	}
	d.call(http.MethodGet, "/v1/orders/refused", nil, http.StatusNotFound, nil)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		equal(t, path, d.get(path).status, http.StatusOK)
	}
	// A tick passes: the reader of the feed sees nothing of it, no poll comes.
	d.call(http.MethodGet, "/v1/events?after=1&wait=5s", nil, http.StatusOK, nil)
	equal(t, "polls without space", s.sellers.Stats("acme").Polls, 0)
	if tick := d.sweepsTick(); tick != 0 {
		t.Errorf("ticks without space took the number %d", tick)
	}

	s.set("min_free", "1MiB", "schedule.cron", `"@every 1h"`)
	d.signal(syscall.SIGHUP)
	began := d.waitLog("sweep began", nil)
	equal(t, "the sweep that makes up for the ticks", [2]any{began.text("trigger"), began.number("tick")}, [2]any{"catch_up", 1})
	d.swept(began.number("sweep"))
	equal(t, "state", d.order("before").State, "completed")
	d.call(http.MethodPost, "/v1/orders", order, http.StatusCreated, nil)
}

// sweepsTick is the number of the newest tick; 0: none.
func (d *daemon) sweepsTick() int {
	d.t.Helper()
	tick := 0
	for s := range allPages[sweepView](d, "/v1/sweeps?limit=100") {
		tick = max(tick, s.Tick)
	}
	return tick
}

// A command without a daemon says what to do, and a wrong configuration is told
// in full, each fault with line and column.
func TestCommandsWithoutDaemon(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.set("api.listen", "127.0.0.1:1")
	if code, _, stderr := s.runPoller("status"); code != 1 || strings.Count(stderr, "\n") > 3 {
		t.Errorf("status: exit code %d, and: %s", code, stderr)
	}
	s.set("fetch.workers", "-1", "min_free", "lots", "fetch.nonsense", "1")
	code, _, stderr := s.runPoller("check-config")
	if code != 1 || strings.Count(stderr, s.configFile()+":") != 3 {
		t.Errorf("check-config: exit code %d, and: %s", code, stderr)
	}
}

// A reader of the feed who waits gets its answer when something happens.
func TestEventsWait(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.start()
	d.register(0, "acme")
	d.submit("acme", "one")
	var first pageOf[eventView]
	d.call(http.MethodGet, "/v1/events?after=0&wait=30s", nil, http.StatusOK, &first)
	answered := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		a, err := d.do(http.MethodGet, "/v1/events?wait=60s&after="+*first.Next, nil)
		var next pageOf[eventView]
		if err == nil {
			err = json.Unmarshal(a.body, &next)
		}
		if err == nil && (len(next.Items) != 1 || next.Items[0].Number != 2 || next.Items[0].Type != "order.cancelled") {
			err = fmt.Errorf("%s", a.body)
		}
		answered <- err
	}()
	d.call(http.MethodPost, "/v1/orders/one/cancel", nil, http.StatusOK, nil)
	select {
	case err := <-answered:
		noError(t, err, "waiting for an event")
	case <-ctx.Done():
		t.Error("no answer")
	}
}
