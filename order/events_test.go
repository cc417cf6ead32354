package order_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"poller/order"
)

func TestOrderProgressTellsOf5PointsOrAnotherMessage(t *testing.T) {
	type say struct {
		progress *float64
		message  string
		told     bool
	}
	for _, c := range []struct {
		name string
		says []say
	}{
		{"nothing said, nothing told", []say{{nil, "", false}, {nil, "", false}}},
		{"the first", []say{{ptr(0.0), "", true}, {ptr(0.0), "", false}}},
		{"5 points", []say{{ptr(10.0), "", true}, {ptr(14.9), "", false}, {ptr(15.0), "", true}}},
		{"since it was last told, not since the last poll", []say{{ptr(10.0), "", true}, {ptr(13.0), "", false}, {ptr(16.0), "", true}, {ptr(20.0), "", false}}},
		{"backwards too", []say{{ptr(50.0), "", true}, {ptr(45.0), "", true}}},
		{"another message", []say{{nil, "a", true}, {nil, "a", false}, {nil, "b", true}}},
		{"a message left out is no other message", []say{{nil, "a", true}, {nil, "", false}, {nil, "a", false}}},
		{"a message tells the progress too", []say{{ptr(10.0), "a", true}, {ptr(12.0), "b", true}, {ptr(16.0), "b", false}, {ptr(17.0), "b", true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, at := processing(), t0
			for i, s := range c.says {
				at = at.Add(interval)
				obs := answers(order.Processing, at)
				obs.Progress, obs.Message = s.progress, s.message
				d := policy().Decide(o, obs, order.Poll{Tick: o.Tick + 1}, at)
				if told := slices.Contains(types(d.Events), order.EventProgress); told != s.told {
					t.Errorf("answer %d: told %v, want %v", i, told, s.told)
				}
				o = d.Order
			}
		})
	}
}

func TestProgressEventsCanBeOff(t *testing.T) {
	p := policy()
	p.ProgressEvents = false
	obs := answers(order.Processing, t0)
	obs.Progress, obs.Message = ptr(50.0), "half"
	d := p.Decide(processing(), obs, order.Poll{Tick: 1}, t0)
	if len(d.Events) != 0 || *d.Order.Progress != 50 || d.Order.Message != "half" {
		t.Errorf("events %v, progress %v: only the latest on the order", types(d.Events), *d.Order.Progress)
	}
}

func TestTroubleIsToldOnceOfAKindAndRecoveredOnce(t *testing.T) {
	type step struct {
		outcome order.Outcome
		after   time.Duration
		want    []order.EventType
	}
	trouble, recovered := []order.EventType{order.EventTrouble}, []order.EventType{order.EventRecovered}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"the first of a kind", []step{
			{order.HTTPError, interval, trouble}, {order.HTTPError, interval, nil}, {order.Timeout, interval, trouble},
			{order.HTTPError, interval, nil}, {order.Processing, interval, recovered}, {order.Processing, interval, nil},
		}},
		{"throttled and local_fault are no trouble", []step{
			{order.Throttled, interval, nil}, {order.LocalFault, interval, nil}, {order.Processing, interval, nil},
		}},
		{"at most one pair an hour", []step{
			{order.HTTPError, interval, trouble}, {order.Processing, interval, recovered},
			{order.HTTPError, interval, nil}, {order.Processing, interval, nil},
			{order.HTTPError, interval, trouble}, {order.Processing, interval, recovered},
		}},
		{"trouble that outlasts the hour is told then", []step{
			{order.HTTPError, minute, trouble}, {order.Processing, minute, recovered},
			{order.Timeout, minute, nil}, {order.Timeout, 57 * minute, nil}, {order.Timeout, minute, trouble}, {order.Processing, minute, recovered},
		}},
		{"a wall clock that went back silences nobody", []step{
			{order.HTTPError, interval, trouble}, {order.Processing, interval, recovered}, {order.HTTPError, -9000 * time.Hour, trouble},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, at := processing(), t0
			o.Deadline = t0.Add(9000 * time.Hour)
			for i, s := range c.steps {
				at = at.Add(s.after)
				d := decide(o, s.outcome, at)
				if !slices.Equal(types(d.Events), s.want) {
					t.Errorf("step %d, %s: events %v, want %v", i, s.outcome, types(d.Events), s.want)
				}
				for _, e := range d.Events {
					if e.Ref != o.Ref || e.OrderID != o.ID || e.SellerID != o.SellerID || !e.At.Equal(at) {
						t.Errorf("step %d: the event is not of this order and time: %+v", i, e)
					}
					if e.Type == order.EventTrouble && (e.Outcome != s.outcome || e.Detail == "") {
						t.Errorf("step %d: %+v", i, e)
					}
				}
				o = d.Order
			}
		})
	}
}

func TestEventsAsJSON(t *testing.T) {
	base := order.Event{Number: 9, OrderID: "o-1", SellerID: "acme", At: t0}
	with := func(f func(*order.Event)) order.Event { e := base; f(&e); return e }
	const head, tail = `{"number":9,"type":"`, `","order_id":"o-1","seller_id":"acme","at":"2026-03-01T12:00:00Z","data":`
	for _, c := range []struct {
		event order.Event
		want  string
	}{
		{with(func(e *order.Event) { e.Type = order.EventSubmitted }), `null`},
		{with(func(e *order.Event) { e.Type, e.Progress, e.Message = order.EventProgress, ptr(40.0), "page 2" }), `{"progress":40,"message":"page 2"}`},
		{with(func(e *order.Event) { e.Type, e.Progress = order.EventProgress, ptr(0.0) }), `{"progress":0,"message":null}`},
		{with(func(e *order.Event) { e.Type, e.Outcome, e.Detail = order.EventTrouble, order.Timeout, "no answer" }), `{"outcome":"timeout","detail":"no answer"}`},
		{with(func(e *order.Event) { e.Type = order.EventRecovered }), `null`},
		{with(func(e *order.Event) { e.Type, e.Erased = order.EventTrouble, true }), `{"erased":true}`},
	} {
		got, err := json.Marshal(c.event.View())
		if err != nil {
			t.Fatal(err)
		}
		if want := head + string(c.event.Type) + tail + c.want + "}"; string(got) != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	o := order.Cancel(processing(), t0).Order
	e := with(func(e *order.Event) { e.Type, e.Order = order.EventCancelled, &o })
	if v, ok := e.View().Data.(order.View); !ok || v.State != order.StateCancelled {
		t.Errorf("the data of an end is the order: %+v", e.View().Data)
	}
}
