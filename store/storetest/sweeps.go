package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"poller/order"
)

var sweepTests = map[string]func(*env){
	"sweeps/the newest record says what time it was": func(e *env) {
		clock := func(newest time.Time, off time.Duration) {
			e.Helper()
			for range 2 {
				if n, o, err := e.Clock(e.ctx); !n.Equal(newest) || o != off || err != nil {
					e.Errorf("%v, off %v, %v; want %v, off %v", n, o, err, newest, off)
				}
				e.reopen()
			}
		}
		tick := func() time.Time {
			s, err := e.BeginSweep(e.ctx, order.Sweep{Trigger: order.TriggerCron, StartedAt: e.now})
			e.must(err)
			return s.StartedAt
		}
		clock(time.Time{}, 0)
		clock(tick(), 0)
		e.later(time.Minute)
		e.seller("a")
		e.submit("a", "o")
		right := e.now
		clock(right, 0) // an event
		e.now = right.Add(24 * time.Hour)
		e.must(e.SetClock(e.ctx, right, 24*time.Hour))
		clock(right, 24*time.Hour)
		e.later(time.Minute)
		tick()
		clock(right.Add(time.Minute), 24*time.Hour)
		e.later(time.Minute)
		e.submit("a", "p")
		clock(right.Add(2*time.Minute), 24*time.Hour)
		e.now = right.Add(3 * time.Minute)
		e.must(e.SetClock(e.ctx, e.now, 0))
		clock(e.now, 0) // not the records of the time before, which were dated ahead
	},
	"ticks/numbers, and the time of the last by the clock": func(e *env) {
		check := func(tick uint64, at time.Time) {
			e.Helper()
			if n, cron, err := e.LastTick(e.ctx); n != tick || !cron.Equal(at) || err != nil {
				e.Errorf("tick %d at %v, %v; want %d at %v", n, cron, err, tick, at)
			}
		}
		check(0, time.Time{})
		begin := func(sw order.Sweep) order.Sweep {
			e.Helper()
			got, err := e.BeginSweep(e.ctx, sw)
			e.must(err)
			return got
		}
		cron := e.now
		if s := begin(order.Sweep{Trigger: order.TriggerCron, StartedAt: cron}); s.ID != 1 || s.Tick != 1 || s.State != order.SweepRunning {
			e.Errorf("%+v", s)
		}
		check(1, cron)
		if s := begin(order.Sweep{Trigger: order.TriggerManual, StartedAt: e.later(time.Minute)}); s.ID != 2 || s.Tick != 2 {
			e.Errorf("%+v", s)
		}
		check(2, cron)
		e.reopen()
		// What is still due of tick 2: no new number.
		if s := begin(order.Sweep{Tick: 2, Trigger: order.TriggerManual, StartedAt: e.later(time.Minute)}); s.ID != 3 || s.Tick != 2 {
			e.Errorf("%+v", s)
		}
		check(2, cron)
		if s := begin(order.Sweep{Trigger: order.TriggerCatchUp, StartedAt: e.later(time.Minute)}); s.ID != 4 || s.Tick != 3 {
			e.Errorf("%+v", s)
		}
		check(3, e.now)
	},
	"sweeps/newest first, in pages, saved": func(e *env) {
		for range 5 {
			_, err := e.BeginSweep(e.ctx, order.Sweep{Trigger: order.TriggerCron, StartedAt: e.now})
			e.must(err)
		}
		want := order.Sweep{
			ID: 3, Tick: 3, Trigger: order.TriggerCron, State: order.SweepOverrun, StartedAt: e.now, EndedAt: e.now.Add(time.Minute),
			Due: 10, Polled: 4, Skipped: 3, LeftToSeller: 2, Remaining: 1, Outcomes: map[order.Outcome]int64{order.Processing: 3, order.Timeout: 1},
		}
		e.must(e.SaveSweep(e.ctx, want))
		e.reopen()
		var ids string
		after := ""
		for {
			list, next, err := e.Sweeps(e.ctx, after, 2)
			e.must(err)
			for _, s := range list {
				ids += fmt.Sprint(s.ID)
				if s.ID == 3 && !reflect.DeepEqual(s, want) {
					e.Errorf("got %+v", s)
				}
			}
			if after = next; next == "" {
				break
			}
		}
		if ids != "54321" {
			e.Errorf("ids %s", ids)
		}
		if _, _, err := e.Sweeps(e.ctx, "x", 2); !errors.Is(err, order.ErrCursor) {
			e.Errorf("bad cursor: %v", err)
		}
	},
	"due/by tick and not_before, in pages": func(e *env) {
		e.seller("a")
		e.seller("b")
		b := e.submit("b", "b1", "b2")
		a := e.submit("a", "a1", "a2", "a3", "a4")
		set := func(ref order.Ref, tick uint64, notBefore time.Time) *order.Change {
			return &order.Change{Ref: ref, Decide: func(o order.Order) order.Decision {
				o.Tick, o.NotBefore, o.LastUnanswered = tick, notBefore, tick == 1
				o.Message, o.Progress = "some message", ptr(1.5)
				return order.Decision{Order: o}
			}}
		}
		e.record(
			set(a[0].Ref, 1, time.Time{}),
			set(a[1].Ref, 2, time.Time{}),
			set(a[2].Ref, 0, e.now.Add(30*time.Second)), // soon: taken by a tick
			set(b[1].Ref, 0, e.now.Add(2*time.Minute)),
			e.complete(a[3].Ref),
		)
		for _, c := range []struct {
			tick   uint64
			byHand bool
			want   string
		}{
			{2, false, "a1 a3 b1"},
			{3, false, "a1 a2 a3 b1"},
			{2, true, "a1 b1"},
			{1, false, "a3 b1"},
			{0, false, ""},
		} {
			for _, limit := range []int{1, 2, 100} {
				var refs []order.Ref
				page := order.DuePage{More: true}
				for page.More {
					var err error
					page, err = e.DuePage(e.ctx, c.tick, e.now, c.byHand, page.Next, limit)
					e.must(err)
					for _, d := range page.Items {
						refs = append(refs, d.Ref)
						if d.Unanswered != (d.Tick == 1) {
							e.Errorf("%+v", d)
						}
					}
				}
				list, err := e.Load(e.ctx, refs)
				e.must(err)
				got := ""
				for i := range list {
					o := &list[i]
					if i > 0 {
						got += " "
					}
					got += o.ID
					if !o.Due(c.tick, e.now, c.byHand) {
						e.Errorf("%s is not due", o.ID)
					}
				}
				if got != c.want {
					e.Errorf("tick %d, by hand %v, limit %d: %q, want %q", c.tick, c.byHand, limit, got, c.want)
				}
			}
		}
	},
}
