package order_test

import (
	"testing"
	"time"

	"poller/order"
)

func TestDue(t *testing.T) {
	for _, c := range []struct {
		name   string
		order  func(*order.Order)
		byHand bool
		want   bool
	}{
		{name: "a new order", want: true},
		{name: "polled for an older tick", order: func(o *order.Order) { o.Tick = 9 }, want: true},
		{name: "polled for this tick", order: func(o *order.Order) { o.Tick = 10 }},
		{name: "polled for this tick, by hand", order: func(o *order.Order) { o.Tick = 10 }, byHand: true},
		{name: "polled for a later tick", order: func(o *order.Order) { o.Tick = 11 }},
		{name: "completed", order: func(o *order.Order) { o.State = order.StateCompleted }},
		{name: "failed", order: func(o *order.Order) { o.State = order.StateFailed }},
		{name: "cancelled", order: func(o *order.Order) { o.State = order.StateCancelled }, byHand: true},
		{name: "held orders are still polled", order: func(o *order.Order) { o.Held = &order.Failure{} }, want: true},
		{name: "past its deadline: the last chance", order: func(o *order.Order) { o.Deadline = t0.Add(-time.Hour) }, want: true},
		{name: "not_before is over", order: func(o *order.Order) { o.NotBefore = t0 }, want: true},
		{name: "not_before a minute away", order: func(o *order.Order) { o.NotBefore = t0.Add(minute) }, want: true},
		{name: "not_before more than a minute away", order: func(o *order.Order) { o.NotBefore = t0.Add(minute + 1) }},
		{name: "by hand, not_before is over", order: func(o *order.Order) { o.NotBefore = t0 }, byHand: true, want: true},
		{name: "by hand, not_before to come", order: func(o *order.Order) { o.NotBefore = t0.Add(1) }, byHand: true},
		{name: "not_before of a poll that ended after the tick", order: func(o *order.Order) {
			o.LastPolledAt, o.NotBefore = t0.Add(8*time.Second), t0.Add(30*minute)
		}},
		{name: "the clock went back by a year after not_before was set", order: func(o *order.Order) {
			o.LastPolledAt, o.NotBefore = t0.Add(365*24*time.Hour), t0.Add(365*24*time.Hour+30*minute)
		}, want: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := processing()
			if c.order != nil {
				c.order(&o)
			}
			if got := o.Due(10, t0, c.byHand); got != c.want {
				t.Errorf("Due = %v, want %v", got, c.want)
			}
		})
	}
}

func TestSweepStates(t *testing.T) {
	for _, c := range []struct {
		name      string
		trigger   order.Trigger
		by        order.Trigger
		remaining int64
		want      order.SweepState
	}{
		{"ended by itself, nothing remains", order.TriggerCron, "", 0, order.SweepDone},
		{"closed by a tick, nothing remains", order.TriggerCron, order.TriggerCron, 0, order.SweepDone},
		{"cron closed by cron", order.TriggerCron, order.TriggerCron, 1, order.SweepOverrun},
		{"cron closed by hand", order.TriggerCron, order.TriggerManual, 1, order.SweepInterrupted},
		{"by hand closed by cron", order.TriggerManual, order.TriggerCron, 1, order.SweepInterrupted},
		{"catch-up closed by cron", order.TriggerCatchUp, order.TriggerCron, 1, order.SweepInterrupted},
		{"cron closed by a stop", order.TriggerCron, "", 1, order.SweepInterrupted},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := order.Sweep{Trigger: c.trigger, State: order.SweepRunning, Remaining: c.remaining}
			s.Close(c.by, t0)
			if s.State != c.want || !s.EndedAt.Equal(t0) {
				t.Errorf("closed as %s at %v, want %s", s.State, s.EndedAt, c.want)
			}
		})
	}
}
