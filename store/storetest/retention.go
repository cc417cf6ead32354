package storetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"poller/order"
)

const retention = 30 * 24 * time.Hour

var retentionTests = map[string]func(*env){
	"retention/an old order goes with all that is its own": func(e *env) {
		// Ended before Now less retention, and told nobody.
		s := e.seller("a")
		e.now = Now.Add(-retention - time.Hour)
		old := e.submitAll(order.Submission{OrderID: "old", SellerID: "a", RemoteID: "job"})[0].Order
		e.record(e.poll(old.Ref, 1, order.Observation{Outcome: order.HTTPError, Detail: "x"}))
		end := e.complete(old.Ref, "orders/job/1", "orders/job/2")
		decide := end.Decide
		end.Decide = func(o order.Order) order.Decision { d := decide(o); d.Events = nil; return d } // no event, no outbox row
		e.record(end)
		e.now = Now.Add(-retention + time.Hour)
		young := e.submit("a", "young")[0]
		e.record(e.complete(young.Ref, "orders/young/1"))
		e.submit("a", "active")

		keys, n, err := e.Expire(e.ctx, Now.Add(-retention), 10)
		e.must(err)
		if n != 1 || !slices.Equal(keys, []string{"orders/job/1", "orders/job/2"}) {
			e.Errorf("%d expired, keys %v", n, keys)
		}
		e.reopen()
		if _, err := e.Order(e.ctx, "old"); !errors.Is(err, order.ErrNotFound) {
			e.Errorf("expired: %v", err)
		}
		if _, err := e.History(e.ctx, "old"); !errors.Is(err, order.ErrNotFound) {
			e.Errorf("its history: %v", err)
		}
		if named, err := e.Named(e.ctx, "orders/job/1"); named || err != nil {
			e.Errorf("its file is still named: %v", err)
		}
		if active, size := e.SellerUsage(s.Number); active != 1 || size != 100 {
			e.Errorf("usage %d, %d", active, size)
		}
		if c := e.Counts(); c[order.StateCompleted] != 1 || c[order.StateProcessing] != 1 {
			e.Errorf("counts %v", c)
		}
		// The names are free, for another seller too.
		e.seller("b")
		e.now = Now
		if d := e.submitAll(order.Submission{OrderID: "old", SellerID: "b", RemoteID: "job"})[0]; !d.Created {
			e.Errorf("names not free: %v", d.Err)
		}
		// Files are to be deleted until that is confirmed.
		if got, err := e.PendingDeletes(e.ctx, 10); err != nil || !slices.Equal(got, keys) {
			e.Errorf("pending %v, %v", got, err)
		}
		e.must(e.Deleted(e.ctx, []string{"orders/job/1", "unknown"}))
		e.reopen()
		if got, err := e.PendingDeletes(e.ctx, 10); err != nil || !slices.Equal(got, []string{"orders/job/2"}) {
			e.Errorf("pending %v, %v", got, err)
		}
	},
	"retention/twice as long while the webhook has not told of it": func(e *env) {
		e.seller("a")
		e.now = Now.Add(-retention - time.Hour)
		o := e.submit("a", "once")[0]
		e.record(e.complete(o.Ref, "orders/once/1"))
		for range 2 {
			if _, n, err := e.Expire(e.ctx, Now.Add(-retention), 10); n != 0 || err != nil {
				e.Errorf("expired %d, %v", n, err)
			}
			e.reopen()
		}
		e.get("once")
		// As if the retention were shorter: twice its end is over.
		if _, n, err := e.Expire(e.ctx, Now.Add(-retention/4), 10); n != 0 || err != nil {
			e.Errorf("put off till now: %d, %v", n, err)
		}
	},
	"retention/a name lives as long as an order has it": func(e *env) {
		e.seller("a")
		e.seller("b")
		submit := func(id string) order.Ref {
			d := e.submitAll(order.Submission{OrderID: id, SellerID: "a", RemoteID: "job"})[0]
			e.must(d.Err)
			return d.Order.Ref
		}
		quiet := func(ref order.Ref) {
			c := e.complete(ref)
			decide := c.Decide
			c.Decide = func(o order.Order) order.Decision { d := decide(o); d.Events = nil; return d }
			e.record(c)
		}
		e.now = Now.Add(-retention - time.Hour)
		quiet(submit("one"))
		e.now = Now.Add(-time.Hour)
		quiet(submit("two"))
		if _, n, err := e.Expire(e.ctx, Now.Add(-retention), 10); n != 1 || err != nil {
			e.Fatalf("expired %d, %v", n, err)
		}
		if d := e.submitAll(order.Submission{OrderID: "x", SellerID: "b", RemoteID: "job"})[0]; !errors.Is(d.Err, order.ErrConflict) {
			e.Errorf("still kept by two: %v", d.Err)
		}
		if _, n, err := e.Expire(e.ctx, Now, 10); n != 1 || err != nil {
			e.Fatalf("expired %d, %v", n, err)
		}
		if d := e.submitAll(order.Submission{OrderID: "x", SellerID: "b", RemoteID: "job"})[0]; !d.Created {
			e.Errorf("free: %v", d.Err)
		}
	},
	"retention/some at a time": func(e *env) {
		e.seller("a")
		e.now = Now.Add(-2*retention - time.Hour)
		for i := range 25 {
			o := e.submit("a", fmt.Sprint("o", i))[0]
			e.record(&order.Change{Ref: o.Ref, Decide: func(o order.Order) order.Decision {
				o.State, o.EndedAt = order.StateCancelled, e.now
				return order.Decision{Order: o}
			}})
		}
		for _, want := range []int{10, 10, 5, 0} {
			if _, n, err := e.Expire(e.ctx, Now.Add(-retention), 10); n != want || err != nil {
				e.Errorf("expired %d, %v, want %d", n, err, want)
			}
		}
		if c := e.Counts()[order.StateCancelled]; c != 0 {
			e.Errorf("%d left", c)
		}
	},
	"retention/an event of an order that is gone says so": func(e *env) {
		e.seller("a")
		e.now = Now.Add(-3 * retention)
		o := e.submit("a", "o")[0]
		e.record(e.complete(o.Ref))
		// The first time it is put off, being untold, to a time that is over as well.
		for i, want := range []int{0, 1} {
			if _, n, err := e.Expire(e.ctx, Now.Add(-retention), 10); n != want || err != nil {
				e.Fatalf("round %d: expired %d, %v", i, n, err)
			}
		}
		evs, err := e.Events(e.ctx, 0, 10)
		e.must(err)
		if len(evs) != 2 || evs[0].OrderID != "o" || evs[1].Type != order.EventCompleted || evs[1].Order != nil || !evs[1].Erased || evs[1].OrderID != "o" {
			e.Errorf("%+v", evs)
		}
	},
}
