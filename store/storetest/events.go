package storetest

import (
	"errors"
	"fmt"
	"time"

	"poller/order"
)

var eventTests = map[string]func(*env){
	"events/dense, resumed by number, with what they tell": func(e *env) {
		e.seller("a")
		o := e.submit("a", "o")[0]
		e.record(e.poll(o.Ref, 1, order.Observation{Outcome: order.Processing, Progress: ptr(10.0), Message: "on it"}))
		e.later(15 * time.Minute)
		e.record(e.poll(o.Ref, 2, order.Observation{Outcome: order.HTTPError, Detail: "500", HTTPStatus: 500}))
		e.reopen()
		e.later(15 * time.Minute)
		e.record(e.poll(o.Ref, 3, order.Observation{Outcome: order.Processing}))
		e.later(15 * time.Minute)
		e.record(e.complete(o.Ref))
		want := []order.EventType{order.EventSubmitted, order.EventProgress, order.EventTrouble, order.EventRecovered, order.EventCompleted}
		var got []order.Event
		for range 10 {
			after := uint64(0)
			if len(got) > 0 {
				after = got[len(got)-1].Number
			}
			page, err := e.Events(e.ctx, after, 2)
			e.must(err)
			got = append(got, page...)
		}
		history, err := e.History(e.ctx, "o")
		e.must(err)
		if len(got) != len(want) || len(history) != len(want) {
			e.Fatalf("feed %d, history %d, want %d", len(got), len(history), len(want))
		}
		for i, ev := range got {
			if ev.Number != uint64(i+1) || ev.Type != want[i] || ev.OrderID != "o" || ev.SellerID != "a" || ev.Ref != o.Ref {
				e.Errorf("event %d: %+v", i, ev)
			}
			h := history[i]
			if h.Number != ev.Number || h.Type != ev.Type || !h.At.Equal(ev.At) || h.OrderID != "o" || h.SellerID != "a" ||
				h.Outcome != ev.Outcome || h.Detail != ev.Detail || h.Message != ev.Message {
				e.Errorf("history %+v, feed %+v", h, ev)
			}
		}
		if p := got[1]; *p.Progress != 10 || p.Message != "on it" {
			e.Errorf("progress %+v", p)
		}
		if tr := got[2]; tr.Outcome != order.HTTPError || tr.Detail != "500" {
			e.Errorf("trouble %+v", tr)
		}
		for _, end := range []order.Event{got[4], history[4]} {
			if end.Order == nil || end.Order.State != order.StateCompleted || *end.Order.Result.Text != "done" || !end.At.Equal(e.now) {
				e.Errorf("end %+v", end)
			}
		}
	},
	"events/gone below and above": func(e *env) {
		if first, last := e.EventRange(); first != 1 || last != 0 {
			e.Errorf("empty feed: %d…%d", first, last)
		}
		if evs, err := e.Events(e.ctx, 0, 10); len(evs) != 0 || err != nil {
			e.Errorf("empty feed: %v, %v", evs, err)
		}
		e.seller("a")
		e.submit("a", "o1", "o2", "o3", "o4")
		e.later(time.Hour)
		e.submit("a", "o5")
		if n, err := e.TrimEvents(e.ctx, e.now, 0, 3); n != 3 || err != nil {
			e.Errorf("trimmed %d, %v", n, err)
		}
		e.reopen()
		if first, last := e.EventRange(); first != 4 || last != 5 {
			e.Errorf("%d…%d", first, last)
		}
		for _, after := range []uint64{0, 2, 6, 1 << 63, 1<<64 - 1} {
			_, err := e.Events(e.ctx, after, 10)
			var gone interface{ FirstEvent() uint64 }
			if !errors.Is(err, order.ErrGone) || !errors.As(err, &gone) || gone.FirstEvent() != 4 {
				e.Errorf("after %d: %v", after, err)
			}
		}
		for after, want := range map[uint64]int{3: 2, 4: 1, 5: 0} {
			if evs, err := e.Events(e.ctx, after, 10); len(evs) != want || err != nil {
				e.Errorf("after %d: %d events, %v", after, len(evs), err)
			}
		}
		// An order's history lives as long as the order.
		if h, err := e.History(e.ctx, "o1"); err != nil || len(h) != 1 || h[0].Number != 1 {
			e.Errorf("history %+v, %v", h, err)
		}
		if n, err := e.TrimEvents(e.ctx, e.now.Add(time.Second), 0, 100); n != 2 || err != nil {
			e.Errorf("trimmed %d, %v", n, err)
		}
		if first, last := e.EventRange(); first != 6 || last != 5 {
			e.Errorf("all trimmed: %d…%d", first, last)
		}
		e.submit("a", "o6")
		if evs, err := e.Events(e.ctx, 5, 10); err != nil || len(evs) != 1 || evs[0].Number != 6 {
			e.Errorf("%+v, %v", evs, err)
		}
	},
	"events/at most so many": func(e *env) {
		e.seller("a")
		for i := range 10 {
			e.submit("a", fmt.Sprint("o", i))
		}
		if n, err := e.TrimEvents(e.ctx, e.now.Add(-time.Hour), 4, 100); n != 6 || err != nil {
			e.Errorf("trimmed %d, %v", n, err)
		}
		if n, err := e.TrimEvents(e.ctx, e.now.Add(-time.Hour), 4, 100); n != 0 || err != nil {
			e.Errorf("trimmed again %d, %v", n, err)
		}
	},
	"events/of progress, history shows the newest 20 that the feed holds": func(e *env) {
		e.seller("a")
		o := e.submit("a", "o")[0]
		for i := range 25 {
			e.later(time.Minute)
			e.record(e.poll(o.Ref, uint64(i+1), order.Observation{Outcome: order.Processing, Message: fmt.Sprint("m", i)}))
		}
		h, err := e.History(e.ctx, "o")
		e.must(err)
		if len(h) != 21 || h[1].Message != "m5" || h[20].Message != "m24" {
			e.Fatalf("%d events: %+v", len(h), h)
		}
		_, err = e.TrimEvents(e.ctx, e.now.Add(-time.Hour), 3, 1000)
		e.must(err)
		e.reopen()
		if h, err = e.History(e.ctx, "o"); err != nil || len(h) != 4 {
			e.Errorf("%d events, %v", len(h), err)
		}
		e.record(e.complete(o.Ref))
		if h, err = e.History(e.ctx, "o"); err != nil || len(h) != 5 || h[4].Type != order.EventCompleted {
			e.Errorf("%d events, %v", len(h), err)
		}
		if _, err := e.History(e.ctx, "nope"); !errors.Is(err, order.ErrNotFound) {
			e.Errorf("unknown: %v", err)
		}
	},
	"events/those who wait are woken": func(e *env) {
		e.seller("a")
		changed := e.EventsChanged()
		select {
		case <-changed:
			e.Fatal("woken without an event")
		default:
		}
		e.submit("a", "o")
		<-changed
		if evs, err := e.Events(e.ctx, 0, 10); err != nil || len(evs) != 1 {
			e.Errorf("%+v, %v", evs, err)
		}
		select {
		case <-e.EventsChanged():
			e.Error("woken again")
		default:
		}
	},
	"events/what is refused burns no number": func(e *env) {
		e.seller("a")
		e.submit("a", "o1")
		func() {
			defer func() { _ = recover() }()
			_ = e.Record(e.ctx, &order.Batch{Now: e.now, Changes: []*order.Change{
				e.poll(order.Ref{Seller: 1, Order: 1}, 1, order.Observation{Outcome: order.Processing, Message: "m"}),
				{Ref: order.Ref{Seller: 1, Order: 1}, Decide: func(order.Order) order.Decision { panic("bug") }},
			}})
		}()
		if got := e.get("o1"); got.Polls != 0 {
			e.Errorf("half a batch: %+v", got)
		}
		e.submit("a", "o2")
		evs, err := e.Events(e.ctx, 0, 10)
		e.must(err)
		if len(evs) != 2 || evs[1].Number != 2 || evs[1].OrderID != "o2" {
			e.Errorf("%+v", evs)
		}
		if o := e.get("o2"); o.Ref.Order != 2 {
			e.Errorf("%+v", o.Ref)
		}
	},
}
