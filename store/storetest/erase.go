package storetest

import (
	"errors"
	"reflect"
	"slices"
	"time"

	"poller/order"
)

var eraseTests = map[string]func(*env){
	"erase/data goes; state, ids and times stay": func(e *env) {
		s := e.seller("a")
		meta := map[string]string{"k": "v"}
		sub := order.Submission{OrderID: "o", SellerID: "a", RemoteID: "job", Metadata: meta}
		o := e.submitAll(sub)[0].Order
		other := e.submit("a", "other")[0]
		e.record(e.poll(o.Ref, 1, order.Observation{Outcome: order.HTTPError, Detail: "detail", HTTPStatus: 500}))
		e.later(time.Minute)
		e.record(e.poll(o.Ref, 2, order.Observation{Outcome: order.Processing, Progress: ptr(50.0), Message: "message"}), e.poll(other.Ref, 2, order.Observation{Outcome: order.Processing, Message: "stays"}))
		e.later(time.Minute)
		if err := e.Erase(e.ctx, "o"); !errors.Is(err, order.ErrActive) {
			e.Errorf("while processing: %v", err)
		}
		e.record(e.complete(o.Ref, "orders/job/1", "orders/job/2"))
		before := e.get("o")
		events, err := e.Events(e.ctx, 0, 100)
		e.must(err)
		otherHistory, err := e.History(e.ctx, "other")
		e.must(err)

		e.must(e.Erase(e.ctx, "o"))
		e.reopen()
		got := e.get("o")
		want := order.Order{
			Ref: o.Ref, ID: "o", RemoteID: "job", SellerID: "a", SubmittedAt: before.SubmittedAt, Deadline: before.Deadline, State: order.StateCompleted,
			Tick: before.Tick, Polls: before.Polls, LastOutcome: before.LastOutcome, LastPolledAt: before.LastPolledAt, EndedAt: before.EndedAt, Erased: true,
		}
		if !reflect.DeepEqual(got, want) {
			e.Errorf("%+v\nwant %+v", got, want)
		}
		after, err := e.Events(e.ctx, 0, 100)
		e.must(err)
		for i, ev := range events {
			if ev.OrderID == "o" {
				ev = order.Event{Number: ev.Number, Type: ev.Type, Ref: ev.Ref, OrderID: "o", SellerID: "a", At: ev.At, Erased: true}
			}
			if i >= len(after) || !reflect.DeepEqual(after[i], ev) {
				e.Fatalf("feed %+v\nwant event %d to be %+v", after, i, ev)
			}
		}
		history, err := e.History(e.ctx, "o")
		e.must(err)
		if mine := slices.DeleteFunc(after, func(ev order.Event) bool { return ev.OrderID != "o" }); !reflect.DeepEqual(history, mine) || len(mine) != 5 {
			e.Errorf("history %+v\nfeed %+v", history, mine)
		}
		if h, err := e.History(e.ctx, "other"); err != nil || !reflect.DeepEqual(h, otherHistory) {
			e.Errorf("another order's history: %+v, %v", h, err)
		}
		// The files go, and count no more.
		if got := e.trash(); !slices.Equal(got, []string{"orders/job/1", "orders/job/2"}) || e.named("orders/job/1") {
			e.Errorf("to be deleted: %v", got)
		}
		if active, bytes := e.SellerUsage(s.Number); active != 1 || bytes != 0 {
			e.Errorf("%d active, %d bytes", active, bytes)
		}
		if c := e.Counts(); c[order.StateCompleted] != 1 {
			e.Errorf("%v", c)
		}
		// A webhook of it, pending or replayed, says so.
		for range 2 {
			list, _, err := e.Deliveries(e.ctx, e.now, 10)
			if err != nil || len(list) != 1 || !reflect.DeepEqual(list[0].Event, history[4]) {
				e.Errorf("%+v, %v", list, err)
			}
			e.delivered(order.Attempt{Number: history[4].Number, Attempts: 1, Dead: true})
			n, err := e.ReplayOrder(e.ctx, "o", e.now)
			if n != 1 || err != nil {
				e.Errorf("replay %d, %v", n, err)
			}
		}
		// The id stays taken, for the same content and for other.
		for _, s := range []order.Submission{sub, {OrderID: "o", SellerID: "a"}} {
			if d := e.submitAll(s)[0]; !errors.Is(d.Err, order.ErrErased) {
				e.Errorf("submitted again: %+v", d)
			}
		}
		if err := e.Erase(e.ctx, "o"); !errors.Is(err, order.ErrErased) {
			e.Errorf("twice: %v", err)
		}
		if err := e.Erase(e.ctx, "nope"); !errors.Is(err, order.ErrNotFound) {
			e.Errorf("unknown: %v", err)
		}
		if d := e.submitAll(order.Submission{OrderID: "second", SellerID: "a", RemoteID: "job"})[0]; !d.Created {
			e.Errorf("a second attempt at the job: %v", d.Err)
		}
	},
	"erase/failed and cancelled orders": func(e *env) {
		e.seller("a")
		o := e.submit("a", "f", "c")
		e.record(e.poll(o[0].Ref, 1, order.Observation{Outcome: order.SellerFailed, SellerError: order.SellerError{Code: "E", Message: "text"}}))
		e.add("c", "orders/c/1")
		_, err := e.UpdateOrder(e.ctx, "c", func(o order.Order) (order.Decision, error) { return order.Cancel(o, e.now), nil })
		e.must(err)
		for id, state := range map[string]order.State{"f": order.StateFailed, "c": order.StateCancelled} {
			e.must(e.Erase(e.ctx, id))
			if got := e.get(id); got.State != state || !got.Erased || got.Failure != nil || len(got.RecentTrouble) != 0 {
				e.Errorf("%+v", got)
			}
		}
		if got := e.trash(); !slices.Equal(got, []string{"orders/c/1"}) {
			e.Errorf("to be deleted: %v", got)
		}
	},
	"erase/expires at its time": func(e *env) {
		e.seller("a")
		e.now = Now.Add(-retention - time.Hour)
		o := e.submit("a", "o")[0]
		e.record(e.complete(o.Ref, "orders/o/1"))
		e.delivered(order.Attempt{Number: 2, Taken: true})
		e.must(e.Erase(e.ctx, "o"))
		e.must(e.Deleted(e.ctx, e.trash()))
		keys, n, err := e.Expire(e.ctx, Now.Add(-retention), 10)
		if len(keys) != 0 || n != 1 || err != nil {
			e.Errorf("%v, %d, %v", keys, n, err)
		}
		if _, err := e.Order(e.ctx, "o"); !errors.Is(err, order.ErrNotFound) {
			e.Error(err)
		}
		if d := e.submitAll(order.Submission{OrderID: "o", SellerID: "a"})[0]; !d.Created {
			e.Errorf("the id is not free: %v", d.Err)
		}
	},
	"erase/its events left the feed": func(e *env) {
		e.seller("a")
		o := e.submit("a", "o")[0]
		e.record(e.poll(o.Ref, 1, order.Observation{Outcome: order.HTTPError, Detail: "detail"}))
		e.record(e.complete(o.Ref))
		_, err := e.TrimEvents(e.ctx, e.now.Add(time.Second), 0, 2)
		e.must(err)
		e.must(e.Erase(e.ctx, "o"))
		h, err := e.History(e.ctx, "o")
		if err != nil || len(h) != 3 || !h[0].Erased || !h[1].Erased || h[1].Detail != "" || !h[2].Erased {
			e.Errorf("%+v, %v", h, err)
		}
		if first, last := e.EventRange(); first != 3 || last != 3 {
			e.Errorf("%d…%d", first, last)
		}
	},
}
