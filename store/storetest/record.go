package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"poller/order"
)

var recordTests = map[string]func(*env){
	"update/returns times as they are read": func(e *env) {
		e.seller("a")
		e.submit("a", "moved", "cancelled")
		now := e.now.Add(time.Hour + 123456*time.Nanosecond).In(time.FixedZone("elsewhere", 3600))
		for id, decide := range map[string]func(order.Order) order.Decision{
			"moved":     func(o order.Order) order.Decision { return order.Redeadline(o, now, e.now) },
			"cancelled": func(o order.Order) order.Decision { return order.Cancel(o, now) },
		} {
			got, err := e.UpdateOrder(e.ctx, id, func(o order.Order) (order.Decision, error) { return decide(o), nil })
			e.must(err)
			if want := e.get(id); !reflect.DeepEqual(got, want) {
				e.Errorf("got  %+v\nwant %+v", got, want)
			}
		}
	},
	"record/every field of an order survives": func(e *env) {
		e.seller("a")
		o := e.submit("a", "o")[0]
		o.Tick, o.NotBefore = 7, e.now.Add(time.Minute)
		o.Held = &order.Failure{Code: order.CodeNotFound, Message: "gone"}
		o.Progress, o.ToldProgress, o.ETASeconds = ptr(42.5), ptr(0.0), ptr(1e300)
		o.Message = "wörk"
		o.Polls, o.LastOutcome, o.LastDetail, o.LastPolledAt, o.LastUnanswered = 9, order.Timeout, "no answer", e.now, true
		o.Trouble = &order.Trouble{Outcome: order.Timeout, Since: e.now.Add(-time.Hour), Told: []order.Outcome{order.HTTPError, order.Timeout}}
		o.Clocks = order.Clocks{NotFound: order.Clock{Elapsed: time.Minute, Polls: 1}, InvalidResponse: order.Clock{Elapsed: time.Hour, Polls: 2}, RejectedResult: order.Clock{Polls: 3}}
		for i := range 5 {
			o.RecentTrouble = append(o.RecentTrouble, order.Incident{At: e.now, Outcome: order.HTTPError, Detail: fmt.Sprint(i), HTTPStatus: 500 + i, Duration: time.Duration(i) * time.Millisecond})
		}
		o.TroubleToldAt = e.now.Add(-time.Minute)
		want := o
		e.record(&order.Change{Ref: o.Ref, Decide: func(order.Order) order.Decision { return order.Decision{Order: o} }})
		e.reopen()
		if got := e.get("o"); !reflect.DeepEqual(got, want) {
			e.Errorf("got  %+v\nwant %+v", got, want)
		}
		// And as it ended.
		o.State, o.EndedAt = order.StateCompleted, e.now
		o.Result = &order.Result{
			OutputType: order.OutputFile, Text: ptr(""), URL: "https://x.example/r",
			Files: []order.File{{Filename: "f", MIMEType: "m", Size: 5, SHA256: "ab", ObjectKey: "orders/o/1", Uploaded: true}, {Filename: "g", URL: "https://x.example/g"}},
		}
		o.Failure = &order.Failure{Code: "other_code", Message: "m"}
		o.Held = nil
		want = o
		e.record(&order.Change{Ref: o.Ref, Decide: func(order.Order) order.Decision { return order.Decision{Order: o} }})
		e.reopen()
		if got := e.get("o"); !reflect.DeepEqual(got, want) {
			e.Errorf("ended\ngot  %+v\nwant %+v", got, want)
		}
	},
	"record/decided about the order as it is": func(e *env) {
		e.seller("a")
		o := e.submit("a", "o")[0]
		see := func(polls uint64) *order.Change {
			return &order.Change{Ref: o.Ref, Decide: func(o order.Order) order.Decision {
				if o.Polls != polls {
					e.Errorf("decided about poll %d, want %d", o.Polls, polls)
				}
				o.Polls++
				return order.Decision{Order: o, Counts: true}
			}}
		}
		first, second := see(0), see(1)
		e.record(first, second) // the same order twice in a batch
		if first.Decision.Order.Polls != 1 || second.Decision.Order.Polls != 2 || !second.Decision.Counts {
			e.Errorf("first %+v, second %+v", first.Decision, second.Decision)
		}
		if got := e.get("o"); got.Polls != 2 {
			e.Errorf("%d polls", got.Polls)
		}
	},
	"record/one end, whoever comes at the same moment": func(e *env) {
		e.seller("a")
		o := e.submit("a", "o")[0]
		var ends atomic.Int32
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if i%2 == 0 {
					c := e.complete(o.Ref, fmt.Sprintf("orders/o/%d", i))
					e.must(e.Record(e.ctx, &order.Batch{Changes: []*order.Change{c}, Now: e.now}))
					if !c.Decision.Dropped {
						ends.Add(1)
					}
					return
				}
				_, err := e.UpdateOrder(e.ctx, "o", func(o order.Order) (order.Decision, error) {
					if o.Ended() {
						return order.Decision{}, order.ErrEnded
					}
					return order.Cancel(o, e.now), nil
				})
				if err == nil {
					ends.Add(1)
				} else if !errors.Is(err, order.ErrEnded) {
					e.Error(err)
				}
			})
		}
		wg.Wait()
		if n := ends.Load(); n != 1 {
			e.Errorf("%d ends", n)
		}
		before := e.get("o")
		e.reopen()
		if got := e.get("o"); !got.Ended() || !reflect.DeepEqual(got, before) {
			e.Errorf("%+v", got)
		}
		if _, last := e.EventRange(); last != 2 {
			e.Errorf("%d events", last)
		}
	},
	"record/a decision that would change an ended order is dropped": func(e *env) {
		e.seller("a")
		o := e.submit("a", "o")[0]
		e.record(e.complete(o.Ref))
		want := e.get("o")
		c := &order.Change{Ref: o.Ref, Decide: func(o order.Order) order.Decision {
			o.State, o.Polls = order.StateFailed, 99
			return order.Decision{Order: o, Events: []order.Event{{Type: order.EventFailed}}}
		}}
		e.record(c)
		if !c.Decision.Dropped {
			e.Error("not dropped")
		}
		_, err := e.UpdateOrder(e.ctx, "o", func(o order.Order) (order.Decision, error) {
			o.Polls = 99
			return order.Decision{Order: o}, nil
		})
		if !errors.Is(err, order.ErrEnded) {
			e.Errorf("update: %v", err)
		}
		if got := e.get("o"); !reflect.DeepEqual(got, want) {
			e.Errorf("%+v", got)
		}
	},
	"record/unknown orders are named, the others go on": func(e *env) {
		e.seller("a")
		o := e.submit("a", "o")[0]
		bad := e.poll(order.Ref{Seller: 4, Order: 4}, 1, order.Observation{Outcome: order.Processing})
		good := e.poll(o.Ref, 1, order.Observation{Outcome: order.Processing})
		e.must(e.Record(e.ctx, &order.Batch{Changes: []*order.Change{bad, good}, Now: e.now}))
		if !errors.Is(bad.Err, order.ErrNotFound) || good.Err != nil || e.get("o").Polls != 1 {
			e.Errorf("%v, %v", bad.Err, good.Err)
		}
	},
	"record/an object belongs to one order": func(e *env) {
		e.seller("a")
		o := e.submit("a", "o1", "o2", "o3")
		e.record(e.complete(o[0].Ref, "orders/x/1"))
		e.reopen()
		uploaded := e.complete(o[1].Ref, "orders/x/1")
		uploaded.Uploaded = []string{"orders/x/1"}
		var said string
		rejected := func(o order.Order, key string) order.Decision {
			said = key
			o.LastOutcome = order.RejectedResult
			return order.Decision{Order: o, Counts: true}
		}
		uploaded.Rejected = rejected
		e.record(uploaded)
		if got := e.get("o2"); said != "orders/x/1" || got.Ended() || got.LastOutcome != order.RejectedResult {
			e.Errorf("said %q, %+v", said, got)
		}
		plain := e.complete(o[1].Ref, "orders/x/1")
		e.must(e.Record(e.ctx, &order.Batch{Changes: []*order.Change{plain}, Now: e.now}))
		if !errors.Is(plain.Err, order.ErrConflict) || e.ended("o2") {
			e.Errorf("without Rejected: %v", plain.Err)
		}
		// Two in one batch: the first has it.
		x, y := e.complete(o[1].Ref, "orders/y"), e.complete(o[2].Ref, "orders/y")
		x.Rejected, y.Rejected = rejected, rejected
		e.record(y, x)
		if !e.ended("o2") || e.ended("o3") {
			e.Error("both own orders/y, or neither")
		}
		for key, want := range map[string]bool{"orders/x/1": true, "orders/y": true, "orders/z": false, "": false} {
			if got, err := e.Named(e.ctx, key); err != nil || got != want {
				e.Errorf("named %q: %v, %v", key, got, err)
			}
		}
	},
	"record/books are asked for after the decisions": func(e *env) {
		e.seller("a")
		o := e.submit("a", "o1", "o2")
		sw, err := e.BeginSweep(e.ctx, order.Sweep{Trigger: order.TriggerCron, StartedAt: e.now})
		e.must(err)
		changes := []*order.Change{e.poll(o[0].Ref, sw.Tick, order.Observation{Outcome: order.Processing}), e.poll(o[1].Ref, sw.Tick, order.Observation{Outcome: order.Throttled})}
		e.must(e.Record(e.ctx, &order.Batch{Changes: changes, Now: e.now, Books: func() order.Sweep {
			books := sw
			for _, c := range changes {
				if c.Decision.Counts {
					books.Polled++
				}
			}
			books.Outcomes = map[order.Outcome]int64{order.Processing: 1, order.Throttled: 1}
			return books
		}}))
		e.reopen()
		list, _, err := e.Sweeps(e.ctx, "", 1)
		e.must(err)
		if len(list) != 1 || list[0].Polled != 1 || list[0].Outcomes[order.Throttled] != 1 {
			e.Errorf("%+v", list)
		}
	},
	"update/dropped, refused, deadline": func(e *env) {
		e.seller("a")
		e.submit("a", "o")
		want := e.get("o")
		got, err := e.UpdateOrder(e.ctx, "o", func(o order.Order) (order.Decision, error) {
			o.Polls = 5
			return order.Decision{Dropped: true, Order: o}, nil
		})
		if err != nil || !reflect.DeepEqual(got, want) {
			e.Errorf("dropped: %+v, %v", got, err)
		}
		no := errors.New("no")
		if _, err := e.UpdateOrder(e.ctx, "o", func(o order.Order) (order.Decision, error) { return order.Decision{Order: o}, no }); !errors.Is(err, no) {
			e.Errorf("refused: %v", err)
		}
		if _, err := e.UpdateOrder(e.ctx, "nope", nil); !errors.Is(err, order.ErrNotFound) {
			e.Errorf("unknown: %v", err)
		}
		deadline := e.now.Add(time.Hour)
		_, err = e.UpdateOrder(e.ctx, "o", func(o order.Order) (order.Decision, error) { return order.Redeadline(o, deadline, e.now), nil })
		e.must(err)
		e.reopen()
		want.Deadline = deadline
		if got := e.get("o"); !reflect.DeepEqual(got, want) {
			e.Errorf("deadline: %+v", got)
		}
		// It is still the same submission.
		if d := e.submitAll(order.Submission{OrderID: "o", SellerID: "a"})[0]; d.Err != nil || d.Created {
			e.Errorf("submitted again: %+v", d)
		}
	},
	"update/a panic comes back to its caller and harms nobody": func(e *env) {
		e.seller("a")
		e.submit("a", "o")
		func() {
			defer func() {
				if recover() == nil {
					e.Error("no panic")
				}
			}()
			_, _ = e.UpdateOrder(e.ctx, "o", func(order.Order) (order.Decision, error) { panic("bug") })
		}()
		e.submit("a", "p")
		if e.Err() != nil {
			e.Error(e.Err())
		}
	},
	"fuse/blows, holds, is released": func(e *env) {
		const sellers = order.FuseMinimum + 5
		var refs []order.Ref
		for i := range sellers {
			id := fmt.Sprintf("s%02d", i)
			e.seller(id)
			refs = append(refs, e.submit(id, id+"-1")[0].Ref)
		}
		giveUp := func(ref order.Ref) *order.Change {
			now := e.now
			return &order.Change{Ref: ref, Decide: func(o order.Order) order.Decision {
				o.State, o.EndedAt, o.Failure = order.StateFailed, now, &order.Failure{Code: order.CodeNotFound, Message: "gone"}
				return order.Decision{Order: o, GiveUp: true, Counts: true, Events: []order.Event{{Type: order.EventTrouble, Outcome: order.NotFound, At: now}, {Type: order.EventFailed, At: now}}}
			}}
		}
		var changes []*order.Change
		for _, r := range refs {
			changes = append(changes, giveUp(r))
		}
		e.record(changes...)
		check := func(failed, held int64, blown bool) {
			e.Helper()
			if f, h, b := e.Counts()[order.StateFailed], e.Held(), e.Fuse().Blown; f != failed || h != held || b != blown {
				e.Errorf("failed %d, held %d, blown %v; want %d, %d, %v", f, h, b, failed, held, blown)
			}
		}
		check(order.FuseMinimum, 5, true)
		e.reopen()
		check(order.FuseMinimum, 5, true)
		last := e.get(fmt.Sprintf("s%02d-1", sellers-1))
		if last.Ended() || last.Held == nil || last.Held.Code != order.CodeNotFound || last.Failure != nil {
			e.Errorf("held: %+v", last)
		}
		if h, err := e.History(e.ctx, last.ID); err != nil || len(h) != 2 || h[1].Type != order.EventTrouble {
			e.Errorf("history of a held order: %+v, %v", h, err)
		}
		// A day later still nobody else is given up.
		e.later(24 * time.Hour)
		e.seller("late")
		e.record(giveUp(e.submit("late", "late-1")[0].Ref))
		check(order.FuseMinimum, 6, true)
		// A poll frees one.
		e.record(&order.Change{Ref: last.Ref, Decide: func(o order.Order) order.Decision { o.Held = nil; return order.Decision{Order: o} }})
		check(order.FuseMinimum, 5, true)
		if n, more, err := e.Release(e.ctx, "late", 10, e.now); n != 1 || more || err != nil {
			e.Errorf("release of a seller: %d, %v, %v", n, more, err)
		}
		check(order.FuseMinimum+1, 4, true)
		if n, more, err := e.Release(e.ctx, "", 3, e.now); n != 3 || !more || err != nil {
			e.Errorf("release of some: %d, %v, %v", n, more, err)
		}
		check(order.FuseMinimum+4, 1, true)
		if n, more, err := e.Release(e.ctx, "", 3, e.now); n != 1 || more || err != nil {
			e.Errorf("release of the rest: %d, %v, %v", n, more, err)
		}
		e.reopen()
		check(order.FuseMinimum+5, 0, false)
		if o := e.get("late-1"); o.State != order.StateFailed || o.Failure.Code != order.CodeNotFound || o.Held != nil {
			e.Errorf("released: %+v", o)
		}
		if _, _, err := e.Release(e.ctx, "nobody", 3, e.now); !errors.Is(err, order.ErrNotFound) {
			e.Errorf("unknown seller: %v", err)
		}
	},
	"fuse/off": func(e *env) {
		for i := range order.FuseMinimum + 5 {
			id := fmt.Sprintf("s%02d", i)
			e.seller(id)
			ref := e.submit(id, id+"-1")[0].Ref
			e.must(e.Record(e.ctx, &order.Batch{Now: e.now, Changes: []*order.Change{{Ref: ref, Decide: func(o order.Order) order.Decision {
				o.State, o.EndedAt, o.Failure = order.StateFailed, e.now, &order.Failure{Code: order.CodeNotFound}
				return order.Decision{Order: o, GiveUp: true}
			}}}}))
		}
		if e.Held() != 0 || e.Fuse().Blown {
			e.Errorf("%d held", e.Held())
		}
	},
	"cancel a seller's orders, some at a time": func(e *env) {
		a, _ := e.seller("a"), e.seller("b")
		e.submit("a", "a1", "a2", "a3", "a4", "a5")
		b := e.submit("b", "b1")[0]
		_, err := e.UpdateSeller(e.ctx, "a", func(s *order.Seller) error { s.Cancelling = true; return nil })
		e.must(err)
		refs, more, err := e.CancelSeller(e.ctx, a.Number, 3, e.now)
		if len(refs) != 3 || !more || err != nil {
			e.Fatalf("%v, %v, %v", refs, more, err)
		}
		e.reopen()
		if s, err := e.Seller(e.ctx, "a"); err != nil || !s.Cancelling {
			e.Errorf("not cancelling any more: %+v, %v", s, err)
		}
		refs, more, err = e.CancelSeller(e.ctx, a.Number, 3, e.now)
		if len(refs) != 2 || more || err != nil {
			e.Fatalf("%v, %v, %v", refs, more, err)
		}
		if s, err := e.Seller(e.ctx, "a"); err != nil || s.Cancelling || s.Revision != 1 {
			e.Errorf("still cancelling: %+v, %v", s, err)
		}
		if e.get("a5").State != order.StateCancelled || e.ended(b.ID) {
			e.Error("the wrong orders were cancelled")
		}
		if _, _, err := e.CancelSeller(e.ctx, 99, 3, e.now); !errors.Is(err, order.ErrNotFound) {
			e.Errorf("unknown: %v", err)
		}
	},
}
