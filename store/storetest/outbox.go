package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"poller/order"
)

// due returns the numbers of the deliveries that are due now.
func (e *env) due(limit int) (numbers []uint64, next time.Time) {
	e.Helper()
	list, next, err := e.Deliveries(e.ctx, e.now, limit)
	e.must(err)
	for _, d := range list {
		numbers = append(numbers, d.Event.Number)
	}
	return numbers, next
}

func (e *env) delivered(attempts ...order.Attempt) {
	e.Helper()
	e.must(e.Delivered(e.ctx, attempts))
}

// outbox checks what is known of the outbox without reading, now and after reopening.
func (e *env) outbox(pending, dead int64, oldest time.Time) {
	e.Helper()
	for range 2 {
		if p, d := e.OutboxCounts(); p != pending || d != dead || !e.OutboxOldest().Equal(oldest) {
			e.Errorf("%d pending, %d dead, the oldest of %v; want %d, %d, %v", p, d, e.OutboxOldest(), pending, dead, oldest)
		}
		e.reopen()
	}
}

// endedOrders ends n orders of seller a, a minute apart; o0 with event n+1.
func (e *env) endedOrders(n int) []order.Order {
	e.Helper()
	e.seller("a")
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprint("o", i))
	}
	list := e.submit("a", ids...)
	for i := range list {
		e.record(e.complete(list[i].Ref, fmt.Sprintf("orders/%s/f", list[i].ID)))
		list[i] = e.get(list[i].ID)
		e.later(time.Minute)
	}
	return list
}

var outboxTests = map[string]func(*env){
	"outbox/a retry put off while the clock was ahead does not wait until it is there again": func(e *env) {
		list := e.endedOrders(3)
		right := e.now
		e.now = e.now.Add(365 * 24 * time.Hour)
		e.delivered(order.Attempt{Number: 4, Attempts: 1, DueAt: e.now.Add(5 * time.Second)}, order.Attempt{Number: 5, Attempts: 1, DueAt: e.now})
		e.now = right
		e.delivered(order.Attempt{Number: 6, Attempts: 1, DueAt: e.now.Add(11 * time.Hour)})
		if got, _ := e.due(10); fmt.Sprint(got) != "[4 5]" {
			e.Errorf("due after the clock went back: %v, want 4 and 5", got)
		}
		if got, _ := e.due(1); fmt.Sprint(got) != "[4]" {
			e.Errorf("one that is due: %v, want 4", got)
		}
		e.delivered(order.Attempt{Number: 4, Taken: true}, order.Attempt{Number: 5, Taken: true})
		if got, next := e.due(10); got != nil || !next.Equal(right.Add(11*time.Hour)) {
			e.Errorf("%d orders: %v due, next %v; want none, in 11 hours", len(list), got, next)
		}
	},
	"outbox/an end is queued with its commit, nothing else is": func(e *env) {
		e.seller("a")
		o := e.submit("a", "o", "p")
		e.record(e.poll(o[0].Ref, 1, order.Observation{Outcome: order.Processing, Message: "m"}))
		e.record(e.poll(o[1].Ref, 1, order.Observation{Outcome: order.HTTPError}))
		e.outbox(0, 0, time.Time{})
		if got, next := e.due(10); got != nil || !next.IsZero() {
			e.Errorf("%v, %v", got, next)
		}
		e.record(e.complete(o[0].Ref))
		_, err := e.UpdateOrder(e.ctx, "p", func(o order.Order) (order.Decision, error) { return order.Cancel(o, e.now), nil })
		e.must(err)
		e.outbox(2, 0, e.now)
		// What the feed tells, the outbox tells, though the feed is trimmed.
		feed, err := e.Events(e.ctx, 4, 10)
		e.must(err)
		_, err = e.TrimEvents(e.ctx, e.now.Add(time.Second), 0, 100)
		e.must(err)
		e.reopen()
		list, next, err := e.Deliveries(e.ctx, e.now, 10)
		if err != nil || len(list) != 2 || !next.IsZero() {
			e.Fatalf("%+v, %v, %v", list, next, err)
		}
		for i, d := range list {
			if !reflect.DeepEqual(d.Event, feed[i]) || d.Attempts != 0 || !d.QueuedAt.Equal(e.now) || !d.DueAt.Equal(e.now) {
				e.Errorf("%+v\nwant %+v", d, feed[i])
			}
		}
	},
	"outbox/an end of a type that nobody asked for is not queued": func(e *env) {
		e.SetWebhookEvents([]order.EventType{order.EventFailed})
		o := e.endedOrders(1)[0]
		e.outbox(0, 0, time.Time{})
		if n, err := e.ReplayOrder(e.ctx, "o0", e.now); n != 1 || err != nil {
			e.Errorf("replayed %d, %v", n, err)
		}
		e.outbox(1, 0, e.now)
		if list, _, err := e.Deliveries(e.ctx, e.now, 10); err != nil || len(list) != 1 || !reflect.DeepEqual(*list[0].Event.Order, o) {
			e.Errorf("%+v, %v", list, err)
		}
	},
	"outbox/the longest due first, so many at a time, and when the next is": func(e *env) {
		e.endedOrders(4) // events 5…8
		start := Now
		if got, next := e.due(2); !slices.Equal(got, []uint64{5, 6}) || !next.Equal(start.Add(2*time.Minute)) {
			e.Errorf("%v, %v", got, next)
		}
		if got, next := e.due(0); got != nil || !next.Equal(start) {
			e.Errorf("none asked for: %v, %v", got, next)
		}
		again := e.now.Add(5 * time.Second)
		e.delivered(order.Attempt{Number: 5, Attempts: 1, DueAt: again}, order.Attempt{Number: 7, Attempts: 0, DueAt: start.Add(time.Second)})
		e.reopen()
		if got, next := e.due(10); !slices.Equal(got, []uint64{7, 6, 8}) || !next.Equal(again) {
			e.Errorf("%v, %v", got, next)
		}
		e.outbox(4, 0, start) // 5 waits still, though it is not due
		e.delivered(order.Attempt{Number: 6, Taken: true}, order.Attempt{Number: 7, Taken: true}, order.Attempt{Number: 8, Taken: true})
		if got, next := e.due(10); got != nil || !next.Equal(again) {
			e.Errorf("%v, %v", got, next)
		}
		e.now = again
		list, next, err := e.Deliveries(e.ctx, e.now, 10)
		if err != nil || len(list) != 1 || !next.IsZero() || list[0].Attempts != 1 || !list[0].DueAt.Equal(again) || !list[0].QueuedAt.Equal(start) {
			e.Errorf("%+v, %v, %v", list, next, err)
		}
		e.delivered(order.Attempt{Number: 5, Taken: true}, order.Attempt{Number: 5, Attempts: 1, DueAt: e.now}, order.Attempt{Number: 99, Taken: true})
		e.outbox(0, 0, time.Time{})
	},
	"outbox/one never tried is due though the clock went back": func(e *env) {
		e.endedOrders(2)
		e.now = Now.Add(-24 * time.Hour)
		if got, next := e.due(1); !slices.Equal(got, []uint64{3}) || !next.Equal(e.now) {
			e.Errorf("%v, %v", got, next)
		}
	},
	"outbox/set aside until replayed": func(e *env) {
		e.endedOrders(2) // events 3 and 4
		e.delivered(order.Attempt{Number: 3, Attempts: 1, Dead: true})
		e.outbox(1, 1, Now.Add(time.Minute))
		if got, _ := e.due(10); !slices.Equal(got, []uint64{4}) {
			e.Errorf("%v", got)
		}
		e.delivered(order.Attempt{Number: 3, Taken: true}) // there is none pending
		e.outbox(1, 1, Now.Add(time.Minute))
		changed := e.OutboxChanged()
		if n, err := e.ReplayOrder(e.ctx, "o0", e.now); n != 1 || err != nil {
			e.Errorf("%d, %v", n, err)
		}
		<-changed
		e.outbox(2, 0, Now.Add(time.Minute))
		if got, _ := e.due(10); !slices.Equal(got, []uint64{4, 3}) {
			e.Errorf("%v", got)
		}
	},
	"outbox/replay of an order, delivered or pending or not ended": func(e *env) {
		e.endedOrders(2) // events 3 and 4
		e.submit("a", "young")
		e.delivered(order.Attempt{Number: 3, Taken: true}, order.Attempt{Number: 4, Attempts: 1, DueAt: e.now.Add(time.Hour)})
		for _, id := range []string{"o0", "o1"} {
			if n, err := e.ReplayOrder(e.ctx, id, e.now); n != 1 || err != nil {
				e.Errorf("%s: %d, %v", id, n, err)
			}
		}
		if n, err := e.ReplayOrder(e.ctx, "young", e.now); n != 0 || err != nil {
			e.Errorf("not ended: %d, %v", n, err)
		}
		if _, err := e.ReplayOrder(e.ctx, "nope", e.now); !errors.Is(err, order.ErrNotFound) {
			e.Errorf("unknown: %v", err)
		}
		e.outbox(2, 0, e.now)
		list, next, err := e.Deliveries(e.ctx, e.now, 10)
		if err != nil || len(list) != 2 || !next.IsZero() {
			e.Fatalf("%+v, %v, %v", list, next, err)
		}
		for i, d := range list {
			if d.Event.Number != uint64(i+3) || d.Attempts != 0 || !d.QueuedAt.Equal(e.now) || !d.DueAt.Equal(e.now) || d.Event.Order == nil {
				e.Errorf("%+v", d)
			}
		}
	},
	"outbox/what an attempt from before a replay says does not undo it": func(e *env) {
		e.endedOrders(1)
		for i, replayedAt := range []time.Time{e.now, e.now, e.now, e.now.Add(time.Hour), e.now.Add(-time.Hour), e.now.Add(-time.Hour)} { // also in the same moment, and by a clock set back
			list, _, err := e.Deliveries(e.ctx, e.now.Add(2*time.Hour), 10)
			e.must(err)
			if len(list) != 1 {
				e.Fatalf("%d: %+v", i, list)
			}
			_, err = e.ReplayOrder(e.ctx, "o0", replayedAt)
			e.must(err)
			before := list[0].QueuedAt
			e.delivered(order.Attempt{Number: 2, QueuedAt: before, Attempts: 3, Dead: true})
			e.delivered(order.Attempt{Number: 2, QueuedAt: before, Attempts: 2, DueAt: e.now.Add(100 * time.Hour)})
			e.delivered(order.Attempt{Number: 2, QueuedAt: before, Taken: true})
			list, _, err = e.Deliveries(e.ctx, replayedAt, 10)
			e.must(err)
			if len(list) != 1 || list[0].Attempts != 0 || !list[0].DueAt.Equal(replayedAt) || list[0].QueuedAt.Equal(before) {
				e.Fatalf("%d: %+v", i, list)
			}
		}
		list, _, err := e.Deliveries(e.ctx, e.now, 10)
		e.must(err)
		e.delivered(order.Attempt{Number: 2, QueuedAt: list[0].QueuedAt, Taken: true})
		e.outbox(0, 0, time.Time{})
	},
	"outbox/replay after a number, in steps": func(e *env) {
		o := e.endedOrders(5)   // submitted 1…5, ended 6…10
		e.submit("a", "p", "q") // 11, 12
		e.SetWebhookEvents([]order.EventType{order.EventCompleted})
		for n := uint64(6); n <= 10; n++ {
			e.delivered(order.Attempt{Number: n, Taken: true})
		}
		_, err := e.UpdateOrder(e.ctx, "q", func(o order.Order) (order.Decision, error) { return order.Cancel(o, e.now), nil }) // 13: nobody asked for it
		e.must(err)
		replay := func(after uint64, limit, n int, last uint64, more bool) {
			e.Helper()
			gotN, gotLast, gotMore, err := e.ReplayAfter(e.ctx, after, e.now, limit)
			if gotN != n || gotLast != last || gotMore != more || err != nil {
				e.Errorf("after %d: %d, %d, %v, %v; want %d, %d, %v", after, gotN, gotLast, gotMore, err, n, last, more)
			}
		}
		changed := e.OutboxChanged()
		replay(13, 10, 0, 13, false)
		replay(10, 10, 0, 13, false)
		select {
		case <-changed:
			e.Error("woken for nothing")
		default:
		}
		replay(7, 2, 2, 9, true)
		<-changed
		replay(9, 2, 1, 13, false)
		e.outbox(3, 0, e.now)
		if got, _ := e.due(10); !slices.Equal(got, []uint64{8, 9, 10}) {
			e.Errorf("%v", got)
		}
		e.SetWebhookEvents(order.EndEvents)
		replay(7, 10, 4, 13, false) // those that are pending are not queued twice
		e.outbox(4, 0, e.now)
		// Orders that are gone are left out; so is what the feed has lost.
		e.must(e.Erase(e.ctx, o[4].ID))
		_, err = e.TrimEvents(e.ctx, e.now, 0, 6)
		e.must(err)
		replay(6, 1, 1, 7, true)
		var gone interface{ FirstEvent() uint64 }
		for _, after := range []uint64{0, 5, 14, 1<<64 - 1} {
			if _, _, _, err := e.ReplayAfter(e.ctx, after, e.now, 10); !errors.Is(err, order.ErrGone) || !errors.As(err, &gone) || gone.FirstEvent() != 7 {
				e.Errorf("after %d: %v", after, err)
			}
		}
	},
	"outbox/those who deliver are woken by what is queued alone": func(e *env) {
		e.seller("a")
		changed := e.OutboxChanged()
		o := e.submit("a", "o")[0]
		select {
		case <-changed:
			e.Error("woken by a submission")
		default:
		}
		e.record(e.complete(o.Ref))
		<-changed
		changed = e.OutboxChanged()
		e.delivered(order.Attempt{Number: 2, Attempts: 1, DueAt: e.now})
		select {
		case <-changed:
			e.Error("woken by its own doing")
		default:
		}
	},
	"outbox/attempts come from many at the same time": func(e *env) {
		e.endedOrders(40)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for n := uint64(41 + i); n <= 80; n += 8 {
					if err := e.Delivered(e.ctx, []order.Attempt{{Number: n, Taken: n%2 == 0, Attempts: 1, Dead: true}}); err != nil {
						e.Error(err)
					}
				}
			})
		}
		wg.Wait()
		e.outbox(0, 20, time.Time{})
	},
	"outbox/an order lives twice as long while it is pending or set aside, and its delivery goes with it": func(e *env) {
		e.now = Now.Add(-retention - time.Hour)
		e.endedOrders(3) // events 4…6
		e.delivered(order.Attempt{Number: 4, Taken: true}, order.Attempt{Number: 5, Attempts: 1, Dead: true})
		for _, want := range []int{1, 0} {
			if _, n, err := e.Expire(e.ctx, Now.Add(-retention), 10); n != want || err != nil {
				e.Errorf("expired %d, %v, want %d", n, err, want)
			}
		}
		e.outbox(1, 1, Now.Add(-retention-time.Hour+2*time.Minute))
		e.get("o1")
		e.get("o2")
		// As if the retention were nothing: twice of it is over, however they stand.
		if _, n, err := e.Expire(e.ctx, Now, 10); n != 2 || err != nil {
			e.Errorf("expired %d, %v", n, err)
		}
		e.outbox(0, 0, time.Time{})
		if n, last, _, err := e.ReplayAfter(e.ctx, 0, e.now, 10); n != 0 || last != 6 || err != nil {
			e.Errorf("replayed %d orders that are gone, %v", n, err)
		}
	},
}
