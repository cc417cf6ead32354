package api

import (
	"context"
	"testing"
	"time"

	"poller/order"
)

// SPEC §6: POST /v1/sweeps (202; due_only; 409), GET with the live books of the running one.
func TestSweeps(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.scheduler.sweep = order.Sweep{ID: 2, Tick: 9, Trigger: order.TriggerManual, State: order.SweepRunning, StartedAt: start, Due: 5, Polled: 3}
	var v SweepView
	g.do("POST", "/v1/sweeps", "").want(t, 202).into(t, &v)
	if v.ID != 2 || v.EndedAt != nil || v.Outcomes == nil {
		t.Errorf("%+v", v)
	}
	g.do("POST", "/v1/sweeps", `{}`).want(t, 202)
	g.do("POST", "/v1/sweeps", `{"due_only":true}`).want(t, 202)
	if d := g.scheduler.dueOnly; len(d) != 3 || d[0] || d[1] || !d[2] {
		t.Errorf("due_only %v", d)
	}
	for _, body := range []string{`{"due_only":1}`, `{"x":1}`, `[]`} {
		g.do("POST", "/v1/sweeps", body).want(t, 422).problem(t)
	}
	for err, status := range map[error]int{order.ErrConflict: 409, order.ErrNoSpace: 507, order.ErrStopping: 503} {
		g.scheduler.err = err
		g.do("POST", "/v1/sweeps", "").want(t, status).problem(t)
	}
	g.store.sweeps = []order.Sweep{
		{ID: 2, Tick: 9, State: order.SweepRunning},
		{ID: 1, Tick: 8, State: order.SweepDone, EndedAt: start, Outcomes: map[order.Outcome]int64{order.Timeout: 2}},
	}
	g.scheduler.live = true
	var l List[SweepView]
	g.do("GET", "/v1/sweeps", "").want(t, 200).into(t, &l)
	if len(l.Items) != 2 || l.Items[0].Polled != 3 || l.Items[1].Outcomes[order.Timeout] != 2 {
		t.Errorf("%+v", l)
	}
	g.do("GET", "/v1/sweeps?after=x", "").want(t, 422).problem(t)
}

// SPEC §6: GET /v1/status.
func TestStatus(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	var v StatusView
	g.do("GET", "/v1/status", "").want(t, 200).into(t, &v)
	if v.Sweep != nil {
		t.Errorf("a sweep from nowhere: %+v", v.Sweep)
	}
	g.store.sweeps = []order.Sweep{{ID: 7, State: order.SweepDone}}
	g.scheduler.doubted = true
	g.do("GET", "/v1/status", "").want(t, 200).into(t, &v)
	if v.Version != "1.2.3" || v.Store != "st0re" || v.Held != 3 || !v.ClockDoubted || v.DiskFreeBytes != 12345 || v.Sweep.ID != 7 || !v.StartedAt.Equal(start) {
		t.Errorf("%+v", v)
	}
	g.scheduler.live, g.scheduler.sweep = true, order.Sweep{ID: 8}
	g.do("GET", "/v1/status", "").want(t, 200).into(t, &v)
	if v.Sweep.ID != 8 {
		t.Errorf("%+v", v.Sweep)
	}
}

// SPEC §6: held/release for a seller, or {} for all; never for all by mistake.
func TestRelease(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	for _, body := range []string{`{"seller_id":""}`, `{"seller_id":null}`, `{"seller_id":"nobody"}`, `{"seller":"s"}`} {
		g.do("POST", "/v1/held/release", body).want(t, 422).problem(t)
	}
	g.do("POST", "/v1/held/release", "").want(t, 400).problem(t)
	if len(g.store.released) != 0 {
		t.Fatalf("released %q", g.store.released)
	}
	var v ReleaseView
	g.do("POST", "/v1/held/release", `{}`).want(t, 200).into(t, &v)
	if v.Released != 3 || g.store.released[0] != "" {
		t.Errorf("%+v %q", v, g.store.released)
	}
	g.store.released = nil
	g.do("POST", "/v1/held/release", `{"seller_id":"s"}`).want(t, 200)
	if g.store.released[0] != "s" {
		t.Errorf("%q", g.store.released)
	}
}

// GUARANTEES G12: the operator confirms the clock.
func TestConfirmClock(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.scheduler.doubted = true
	var v ClockView
	g.do("POST", "/v1/clock/confirm", "").want(t, 200).into(t, &v)
	if v.ClockDoubted || g.logs.FilterMessage("wall clock confirmed").Len() != 1 {
		t.Errorf("%+v", v)
	}
}

// SPEC §6: cancelling all orders of a seller goes on in the background, over restarts and errors.
func TestCanceller(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	g.seller("t")
	for _, id := range []string{"o1", "o2", "o3"} {
		g.order(id, "s")
	}
	g.order("other", "t")
	var v SellerView
	g.do("POST", "/v1/sellers/s/cancel", "").want(t, 202).into(t, &v)
	if !v.Cancelling {
		t.Error("not accepted durably")
	}
	g.do("POST", "/v1/sellers/nobody/cancel", "").want(t, 404)
	// Another process takes it up; its first try fails.
	g.store.fail = order.ErrNoSpace
	c := newCanceller(g.store, g.scheduler, g.api.opt.Now, g.api.log)
	c.retry = time.Millisecond
	g.scheduler.changed = nil
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- c.Run(ctx) }()
	for g.logs.FilterMessage("cancelling orders of a seller waits").Len() == 0 {
		time.Sleep(time.Millisecond)
	}
	g.store.mu.Lock()
	g.store.fail = nil
	g.store.mu.Unlock()
	for g.scheduler.changes() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for id, want := range map[string]order.State{"o1": "cancelled", "o2": "cancelled", "o3": "cancelled", "other": "processing"} {
		if got := g.store.orders[id].State; got != want {
			t.Errorf("%s is %s", id, got)
		}
	}
	if g.scheduler.changed[0].Cancelling {
		t.Error("the scheduler was not told that it is over")
	}
	g.store.sellers["s"] = order.Seller{ID: "s", Number: 1, Cancelling: true}
	g.store.fail = order.ErrBroken
	if err := c.Run(t.Context()); err == nil {
		t.Error("it goes on with a broken store")
	}
}
