package api

import (
	"slices"
	"strings"
	"testing"

	"poller/order"
)

// ends tells n ends, each after an order.submitted.
func (g *rig) ends(n int) {
	for range n {
		g.store.tell(order.Event{Type: order.EventSubmitted})
		g.store.tell(order.Event{Type: order.EventCompleted, Order: &order.Order{State: order.StateCompleted}})
	}
}

func (g *rig) replay(body string) (v ReplayView) {
	g.t.Helper()
	g.do("POST", "/v1/webhook/replay", body).want(g.t, 200).into(g.t, &v)
	return v
}

// SPEC §6: replay {after} takes a number or a next, and goes through the feed in steps to its end.
func TestReplayAfter(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	if v := g.replay(`{"after":0}`); v.Replayed != 0 {
		t.Errorf("of an empty feed: %+v", v)
	}
	g.ends(4)
	for body, want := range map[string]int64{
		`{"after":0}`: 4, `{"after":1}`: 4, `{"after":2}`: 3, `{"after":8}`: 0,
		`{"after":"0"}`: 4, `{"after":"st0re-4"}`: 2,
	} {
		g.store.replays = nil
		if v := g.replay(body); v.Replayed != want {
			t.Errorf("%s: %+v in steps %v", body, v, g.store.replays)
		}
	}
	g.store.replays = nil
	g.replay(`{"after":3}`)
	if !slices.Equal(g.store.replays, []uint64{3, 5, 7}) {
		t.Errorf("steps %v", g.store.replays)
	}
	g.unset.Store(true)
	g.store.replays = nil
	p := g.do("POST", "/v1/webhook/replay", `{"after":0}`).want(t, 409).problem(t)
	if !strings.Contains(p.Detail, "webhook.url") || g.store.replays != nil {
		t.Errorf("without a webhook: %+v, %v", p, g.store.replays)
	}
}

// What reaches its retention while a replay goes on is passed over.
func TestReplayWhileTheFeedIsTrimmed(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.ends(4)
	g.store.trim = func(dropped uint64) uint64 { return max(dropped, 5) }
	if v := g.replay(`{"after":0}`); v.Replayed != 3 { // of 2, 6 and 8
		t.Errorf("%+v in steps %v", v, g.store.replays)
	}
}

// SPEC §6: {order_id} delivers the end of one order again; 404, and 409 before it has ended.
func TestReplayOrder(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	g.order("o1", "s")
	p := g.do("POST", "/v1/webhook/replay", `{"order_id":"o1"}`).want(t, 409).problem(t)
	if !strings.Contains(p.Detail, "not ended") {
		t.Errorf("%+v", p)
	}
	g.do("POST", "/v1/webhook/replay", `{"order_id":"nobody"}`).want(t, 404).problem(t)
	g.do("POST", "/v1/orders/o1/cancel", "").want(t, 200)
	if v := g.replay(`{"order_id":"o1"}`); v.Replayed != 1 {
		t.Errorf("%+v", v)
	}
	g.do("DELETE", "/v1/orders/o1", "").want(t, 204)
	if v := g.replay(`{"order_id":"o1"}`); v.Replayed != 1 { // its data says that it was erased
		t.Errorf("erased: %+v", v)
	}
}

// Exactly one of both, of the right kind; 410 with first and store as the feed itself.
func TestReplayRefused(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.ends(3)
	g.store.dropped = 2
	for _, body := range []string{
		`{}`, `{"after":3,"order_id":"o1"}`, `{"after":null}`, `{"after":-1}`, `{"after":1.5}`, `{"after":1e3}`, `{"after":true}`, `{"after":[3]}`,
		`{"after":""}`, `{"after":"x"}`, `{"after":18446744073709551615}`, `{"order_id":null}`, `{"order_id":""}`, `{"order_id":7}`, `{"order_id":"a b"}`, `{"since":3}`,
	} {
		g.do("POST", "/v1/webhook/replay", body).want(t, 422).problem(t)
	}
	g.do("POST", "/v1/webhook/replay", "").want(t, 400).problem(t)
	for _, body := range []string{`{"after":0}`, `{"after":1}`, `{"after":7}`, `{"after":"other-3"}`} {
		p := g.do("POST", "/v1/webhook/replay", body).want(t, 410).problem(t)
		if p.First == nil || *p.First != 3 || p.Store != "st0re" || !strings.Contains(p.Detail, "order_id") {
			t.Errorf("%s: %+v", body, p)
		}
	}
	g.store.fail = order.ErrNoSpace // from the second step on
	p := g.do("POST", "/v1/webhook/replay", `{"after":2}`).want(t, 507).problem(t)
	if !strings.Contains(p.Detail, "1 events are queued already") {
		t.Errorf("%+v", p)
	}
	g.api.Stop()
	g.do("POST", "/v1/webhook/replay", `{"after":2}`).want(t, 503).problem(t)
}
