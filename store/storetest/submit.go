package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"poller/order"
)

var submitTests = map[string]func(*env){
	"submit/stored as sent, and after reopening": func(e *env) {
		e.seller("acme")
		deadline := e.now.Add(time.Hour)
		done := e.submitAll(
			order.Submission{OrderID: "plain", SellerID: "acme"},
			order.Submission{OrderID: "full", SellerID: "acme", RemoteID: "r-1", Deadline: &deadline, Metadata: map[string]string{"a": "1", "ü": ""}},
		)
		want := []order.Order{
			{Ref: order.Ref{Seller: 1, Order: 1}, ID: "plain", RemoteID: "plain", SellerID: "acme", SubmittedAt: e.now, Deadline: e.now.Add(72 * time.Hour), State: order.StateProcessing},
			{
				Ref: order.Ref{Seller: 1, Order: 2}, ID: "full", RemoteID: "r-1", SellerID: "acme", SubmittedAt: e.now, Deadline: deadline,
				Metadata: map[string]string{"a": "1", "ü": ""}, State: order.StateProcessing,
			},
		}
		e.reopen()
		for i, d := range done {
			if !d.Created || d.Err != nil || !reflect.DeepEqual(d.Order, want[i]) {
				e.Errorf("answer %d: %+v", i, d)
			}
			if got := e.get(want[i].ID); !reflect.DeepEqual(got, want[i]) {
				e.Errorf("stored %+v, want %+v", got, want[i])
			}
		}
		if _, err := e.Order(e.ctx, "r-1"); !errors.Is(err, order.ErrNotFound) {
			e.Errorf("a remote_id is no order_id: %v", err)
		}
		if h, err := e.History(e.ctx, "full"); err != nil || len(h) != 1 || h[0].Type != order.EventSubmitted || h[0].Number != 2 {
			e.Errorf("history %+v, %v", h, err)
		}
	},
	"submit/the same again is the existing order": func(e *env) {
		e.seller("acme")
		e.submit("acme", "o")
		sub := order.Submission{OrderID: "o", SellerID: "acme", Fault: errors.New("the deadline is over")}
		d := e.submitAll(sub, sub)
		for _, d := range d {
			if d.Created || d.Err != nil || d.Order.ID != "o" {
				e.Errorf("again: %+v", d)
			}
		}
		e.record(e.complete(d[0].Order.Ref))
		e.reopen()
		if d := e.submitAll(sub)[0]; d.Created || d.Err != nil || d.Order.State != order.StateCompleted {
			e.Errorf("again, after its end: %+v", d)
		}
		if _, last := e.EventRange(); last != 2 {
			e.Errorf("%d events", last)
		}
	},
	"submit/other content under the same id is a conflict": func(e *env) {
		e.seller("acme")
		e.seller("other")
		dl, at := e.now.Add(time.Hour), e.now.Add(time.Hour).In(time.FixedZone("x", 3600))
		e.submitAll(order.Submission{OrderID: "o", SellerID: "acme", Deadline: &dl, Metadata: map[string]string{"k": "v"}})
		later := dl.Add(time.Second)
		for name, s := range map[string]order.Submission{
			"other seller":   {OrderID: "o", SellerID: "other", Deadline: &dl, Metadata: map[string]string{"k": "v"}},
			"unknown seller": {OrderID: "o", SellerID: "nobody", Deadline: &dl, Metadata: map[string]string{"k": "v"}},
			"remote_id":      {OrderID: "o", SellerID: "acme", RemoteID: "o", Deadline: &dl, Metadata: map[string]string{"k": "v"}},
			"deadline":       {OrderID: "o", SellerID: "acme", Deadline: &later, Metadata: map[string]string{"k": "v"}},
			"no deadline":    {OrderID: "o", SellerID: "acme", Metadata: map[string]string{"k": "v"}},
			"metadata":       {OrderID: "o", SellerID: "acme", Deadline: &dl, Metadata: map[string]string{"k": "w"}},
		} {
			if d := e.submitAll(s)[0]; !errors.Is(d.Err, order.ErrConflict) || d.Created {
				e.Errorf("%s: %+v", name, d)
			}
		}
		if d := e.submitAll(order.Submission{OrderID: "o", SellerID: "acme", Deadline: &at, Metadata: map[string]string{"k": "v"}})[0]; d.Err != nil || d.Created {
			e.Errorf("the same instant in another zone: %+v", d)
		}
	},
	"submit/refused": func(e *env) {
		e.seller("acme")
		fault := errors.New("bad")
		d := e.submitAll(
			order.Submission{OrderID: "x", SellerID: "nobody"},
			order.Submission{OrderID: "y", SellerID: "acme", Fault: fault},
			order.Submission{OrderID: "", SellerID: "acme"},
			order.Submission{OrderID: strings.Repeat("a", 70000), SellerID: "acme"},
			order.Submission{OrderID: "z", SellerID: "acme", RemoteID: "a/b"},
			order.Submission{OrderID: "good", SellerID: "acme"},
		)
		if !errors.Is(d[0].Err, order.ErrUnknownSeller) || !errors.Is(d[1].Err, fault) || d[2].Err == nil || d[3].Err == nil || d[4].Err == nil {
			e.Errorf("%v / %v / %v / %v / %v", d[0].Err, d[1].Err, d[2].Err, d[3].Err, d[4].Err)
		}
		if d[5].Err != nil || !d[5].Created {
			e.Errorf("its good neighbour: %v", d[5].Err)
		}
		if n := e.Counts()[order.StateProcessing]; n != 1 {
			e.Errorf("%d orders", n)
		}
	},
	"submit/duplicates in one call": func(e *env) {
		e.seller("acme")
		d := e.submitAll(
			order.Submission{OrderID: "o", SellerID: "acme"},
			order.Submission{OrderID: "o", SellerID: "acme"},
			order.Submission{OrderID: "o", SellerID: "acme", Metadata: map[string]string{"k": "v"}},
			order.Submission{OrderID: "p", SellerID: "acme", RemoteID: "o"},
		)
		if !d[0].Created || d[1].Created || d[1].Err != nil || d[1].Order.Ref != d[0].Order.Ref {
			e.Errorf("%+v, %+v", d[0], d[1])
		}
		if !errors.Is(d[2].Err, order.ErrConflict) || !errors.Is(d[3].Err, order.ErrConflict) {
			e.Errorf("%v / %v", d[2].Err, d[3].Err)
		}
	},
	"submit/one remote_id: one seller, one order in processing": func(e *env) {
		e.seller("a")
		e.seller("b")
		first := e.submitAll(order.Submission{OrderID: "o1", SellerID: "a", RemoteID: "job"})[0].Order
		conflict := func(name string, s order.Submission, says string) {
			e.Helper()
			if d := e.submitAll(s)[0]; !errors.Is(d.Err, order.ErrConflict) || !strings.Contains(d.Err.Error(), says) {
				e.Errorf("%s: %v", name, d.Err)
			}
		}
		conflict("in processing", order.Submission{OrderID: "o2", SellerID: "a", RemoteID: "job"}, "still in processing")
		conflict("order_id as remote_id", order.Submission{OrderID: "job", SellerID: "a"}, "still in processing")
		conflict("another seller's", order.Submission{OrderID: "o2", SellerID: "b", RemoteID: "job"}, "another seller")
		e.record(e.complete(first.Ref))
		e.reopen()
		conflict("another seller's, ended", order.Submission{OrderID: "o2", SellerID: "b", RemoteID: "job"}, "another seller")
		if d := e.submitAll(order.Submission{OrderID: "o2", SellerID: "a", RemoteID: "job"})[0]; !d.Created {
			e.Errorf("a second attempt: %v", d.Err)
		}
		conflict("a third at the same time", order.Submission{OrderID: "o3", SellerID: "a", RemoteID: "job"}, "still in processing")
		// The order_id "job" is still free, and its remote_id may be another.
		if d := e.submitAll(order.Submission{OrderID: "job", SellerID: "b", RemoteID: "else"})[0]; !d.Created {
			e.Errorf("order_id that is a remote_id: %v", d.Err)
		}
		// An order_id does not take its own name as a remote_id.
		if d := e.submitAll(order.Submission{OrderID: "o4", SellerID: "b", RemoteID: "o1"})[0]; !d.Created {
			e.Errorf("remote_id that is an order_id: %v", d.Err)
		}
	},
	"submit/a seller being cancelled takes orders": func(e *env) {
		e.seller("a")
		_, err := e.UpdateSeller(e.ctx, "a", func(s *order.Seller) error { s.Cancelling = true; return nil })
		e.must(err)
		e.submit("a", "o")
	},
	"submit/many at the same time are all there": func(e *env) {
		e.seller("acme")
		const callers, each = 16, 20
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				for i := range each {
					d, err := e.Submit(e.ctx, []order.Submission{{OrderID: fmt.Sprintf("o-%d-%d", c, i), SellerID: "acme"}, {OrderID: "shared", SellerID: "acme"}}, time.Hour, e.now)
					if err != nil || d[0].Err != nil || !d[0].Created || d[1].Err != nil {
						e.Errorf("%v, %+v", err, d)
						return
					}
				}
			})
		}
		wg.Wait()
		e.reopen()
		if n := e.Counts()[order.StateProcessing]; n != callers*each+1 {
			e.Errorf("%d orders", n)
		}
		first, last := e.EventRange()
		evs, err := e.Events(e.ctx, 0, 10000)
		e.must(err)
		if first != 1 || last != callers*each+1 || len(evs) != int(last) {
			e.Fatalf("events %d…%d, %d read", first, last, len(evs))
		}
		for i, ev := range evs {
			if ev.Number != uint64(i+1) {
				e.Fatalf("event %d has number %d", i, ev.Number)
			}
		}
	},
	"orders/list by state, seller, held, in pages": func(e *env) {
		e.seller("a")
		e.seller("b")
		a := e.submit("a", "a1", "a2", "a3", "a4", "a5")
		b := e.submit("b", "b1", "b2", "b3")
		e.record(e.complete(a[1].Ref), e.poll(a[2].Ref, 1, order.Observation{Outcome: order.SellerFailed}), e.complete(b[0].Ref))
		_, err := e.UpdateOrder(e.ctx, "a5", func(o order.Order) (order.Decision, error) {
			o.Held = &order.Failure{Code: order.CodeNotFound, Message: "m"}
			return order.Decision{Order: o}, nil
		})
		e.must(err)
		for f, want := range map[order.Filter]string{
			{}:                                            "a1 a2 a3 a4 a5 b1 b2 b3",
			{SellerID: "a"}:                               "a1 a2 a3 a4 a5",
			{SellerID: "b"}:                               "b1 b2 b3",
			{SellerID: "nobody"}:                          "",
			{State: order.StateProcessing}:                "a1 a4 a5 b2 b3",
			{State: order.StateCompleted}:                 "a2 b1",
			{State: order.StateFailed}:                    "a3",
			{State: order.StateCancelled}:                 "",
			{State: "completed", SellerID: "b"}:           "b1",
			{Held: true}:                                  "a5",
			{Held: true, SellerID: "b"}:                   "",
			{Held: true, State: order.StateFailed}:        "",
			{State: order.StateProcessing, SellerID: "a"}: "a1 a4 a5",
		} {
			for _, limit := range []int{1, 2, 3, 100} {
				var got []string
				after := ""
				for {
					list, next, err := e.Orders(e.ctx, f, after, limit)
					e.must(err)
					if next != "" && len(list) != limit {
						e.Errorf("%+v: a page of %d that is not the last", f, len(list))
					}
					for _, o := range list {
						got = append(got, o.ID)
					}
					if after = next; next == "" {
						break
					}
				}
				if strings.Join(got, " ") != want {
					e.Errorf("%+v by %d: %q, want %q", f, limit, got, want)
				}
			}
		}
		_, next, err := e.Orders(e.ctx, order.Filter{SellerID: "a"}, "", 1)
		e.must(err)
		if _, _, err := e.Orders(e.ctx, order.Filter{SellerID: "b"}, next, 1); !errors.Is(err, order.ErrCursor) {
			e.Errorf("the cursor of another filter: %v", err)
		}
	},
	"orders/load only those in processing": func(e *env) {
		e.seller("a")
		o := e.submit("a", "o1", "o2", "o3")
		e.record(e.complete(o[1].Ref))
		list, err := e.Load(e.ctx, []order.Ref{o[2].Ref, o[1].Ref, {Seller: 9, Order: 9}, o[0].Ref})
		e.must(err)
		if len(list) != 2 || list[0].ID != "o3" || list[1].ID != "o1" {
			e.Errorf("%+v", list)
		}
	},
}
