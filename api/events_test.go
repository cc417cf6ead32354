package api

import (
	"strings"
	"testing"
	"time"

	"poller/order"
)

func (g *rig) eventsAfter(query string) EventPage {
	g.t.Helper()
	var p EventPage
	g.do("GET", "/v1/events"+query, "").want(g.t, 200).into(g.t, &p)
	return p
}

// SPEC §6: all events in order of number, from 1; after is a number or a next.
func TestEvents(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	progress := 40.0
	ended := order.Order{ID: "o1", State: order.StateCompleted}
	for _, e := range []order.Event{
		{Type: order.EventSubmitted},
		{Type: order.EventProgress, Progress: &progress, Message: "half"},
		{Type: order.EventTrouble, Outcome: order.Timeout, Detail: "8 s"},
		{Type: order.EventRecovered},
		{Type: order.EventCompleted, Order: &ended},
		{Type: order.EventCompleted, Order: &ended, Erased: true},
	} {
		e.OrderID, e.SellerID, e.At = "o1", "s", start.In(time.FixedZone("", 3600))
		g.store.tell(e)
	}
	g.store.orders["o1"] = ended
	a := g.do("GET", "/v1/events", "").want(t, 200)
	const at = `"order_id":"o1","seller_id":"s","at":"2026-11-23T12:00:00Z","data":`
	for _, want := range []string{
		`{"number":1,"type":"order.submitted",` + at + `null}`,
		`{"number":2,"type":"order.progress",` + at + `{"progress":40,"message":"half"}}`,
		`{"number":3,"type":"order.trouble",` + at + `{"outcome":"timeout","detail":"8 s"}}`,
		`{"number":4,"type":"order.recovered",` + at + `null}`,
		`{"number":5,"type":"order.completed",` + at + `{"order_id":"o1",`,
		`{"number":6,"type":"order.completed",` + at + `{"erased":true}}`,
		`"next":"st0re-6"`, `"store":"st0re"`,
	} {
		if !strings.Contains(string(a.body), want) {
			t.Errorf("not in the answer: %s\n%s", want, a.body)
		}
	}
	for query, numbers := range map[string][2]uint64{
		"?after=0": {1, 6}, "?after=4": {5, 6}, "?after=st0re-4": {5, 6}, "?after=0&limit=2": {1, 2},
	} {
		p := g.eventsAfter(query)
		if p.Items[0].Number != numbers[0] || p.Items[len(p.Items)-1].Number != numbers[1] {
			t.Errorf("%s: %+v", query, p)
		}
	}
	if p := g.eventsAfter("?after=6"); len(p.Items) != 0 || p.Items == nil || p.Next != "st0re-6" {
		t.Errorf("at the end: %+v", p)
	}
	var h List[order.EventView]
	g.do("GET", "/v1/orders/o1/history", "").want(t, 200).into(t, &h)
	if len(h.Items) != 6 || h.Next != nil {
		t.Errorf("history %+v", h)
	}
}

// SPEC §6: below what is kept, above the newest, or from another store: 410 with first and store. Unknown cursors: 422.
func TestEventsGone(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for range 5 {
		g.store.tell(order.Event{Type: order.EventSubmitted})
	}
	g.store.dropped = 2
	for _, after := range []string{"0", "1", "st0re-1", "6", "st0re-6", "18446744073709551614", "other-3", "a-b-3"} {
		p := g.do("GET", "/v1/events?after="+after, "").want(t, 410).problem(t)
		if p.First == nil || *p.First != 3 || p.Store != "st0re" {
			t.Errorf("after=%s: %+v", after, p)
		}
	}
	for _, query := range []string{
		"after=x", "after=-1", "after=st0re-", "after=1.5", "after=%2B1", "after=18446744073709551615", "after=99999999999999999999",
		"wait=61", "wait=61s", "wait=-1s", "wait=soon", "wait=NaN", "limit=0", "limit=1001",
	} {
		g.do("GET", "/v1/events?"+query, "").want(t, 422).problem(t)
	}
	if p := g.eventsAfter("?after=2"); len(p.Items) != 3 {
		t.Errorf("%+v", p)
	}
	if p := g.eventsAfter(""); len(p.Items) != 3 {
		t.Errorf("without after, from the oldest: %+v", p)
	}
}

// SPEC §6: wait holds the answer until there is one; Stop and the client's leaving end it.
func TestEventsWait(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.eventsAfter("?wait=1ms")
	got := make(chan answer)
	ask := func() {
		r := g.request("GET", "/v1/events?after=0&wait=60s", nil)
		go func() { got <- g.send(r) }()
	}
	ask()
	select {
	case a := <-got:
		t.Fatalf("it did not wait: %s", a.body)
	case <-time.After(20 * time.Millisecond): // too short a pause can't fail the test
	}
	g.store.tell(order.Event{Type: order.EventSubmitted})
	if a := <-got; !strings.Contains(string(a.body), `"number":1`) {
		t.Errorf("%s", a.body)
	}
	r := g.request("GET", "/v1/events?after=1&wait=60", nil)
	go func() { got <- g.send(r) }()
	g.api.Stop()
	if a := <-got; a.status != 200 || !strings.Contains(string(a.body), `"items":[]`) {
		t.Errorf("at shutdown: %s", a.body)
	}
}

func FuzzEventCursor(f *testing.F) {
	f.Add("st0re-12")
	f.Add("7")
	f.Fuzz(func(t *testing.T, s string) {
		store, number, ok := parseEventCursor(s)
		if ok && number+1 == 0 {
			t.Fatal("the next number would be 0")
		}
		if !ok && (store != "" || number != 0) {
			t.Fatal("a refused cursor has parts")
		}
	})
}
