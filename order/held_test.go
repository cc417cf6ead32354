package order_test

import (
	"slices"
	"testing"
	"time"

	"poller/order"
)

// heldFor is an order that a blown fuse holds with this code.
func heldFor(code string) order.Order {
	o := processing()
	o.Tick, o.LastPolledAt = 3, t0
	o.Held = &order.Failure{Code: code, Message: "m"}
	if code == order.CodeNotFound {
		o.Clocks.NotFound = order.Clock{Elapsed: 3 * time.Hour, Polls: 12}
		o.Trouble = &order.Trouble{Outcome: order.NotFound, Since: t0, Told: []order.Outcome{order.NotFound}}
	} else {
		o.Deadline = t0.Add(-time.Hour)
	}
	return o
}

func TestABlownFuseHoldsInsteadOfGivingUp(t *testing.T) {
	before := processing()
	before.Deadline = t0
	obs := answers(order.Processing, t0)
	obs.Progress, obs.Message, obs.RetryAfter = ptr(40.0), "page 2", ptr(30*minute)
	d := policy().Decide(before, obs, order.Poll{Tick: 1, Evidence: well(t0)}, t0)
	if !d.GiveUp || !slices.Contains(types(d.Events), order.EventFailed) {
		t.Fatalf("give up %v, events %v", d.GiveUp, types(d.Events))
	}
	h := d.Hold()
	wantState(t, h.Order, order.StateProcessing, "")
	if heldCode(h.Order) != order.CodeDeadlineExceeded || !h.Order.EndedAt.IsZero() || h.GiveUp {
		t.Errorf("held %q, ended %v, give up %v", heldCode(h.Order), h.Order.EndedAt, h.GiveUp)
	}
	if !h.Counts || h.Order.Tick != 1 || h.Order.Polls != 1 {
		t.Error("the poll counts nevertheless")
	}
	if *h.Order.Progress != 40 || h.Order.Message != "page 2" || !h.Order.NotBefore.Equal(t0.Add(30*minute)) {
		t.Errorf("what the poll brought is lost: %v %q %v", *h.Order.Progress, h.Order.Message, h.Order.NotBefore)
	}
	if got := types(h.Events); !slices.Equal(got, []order.EventType{order.EventProgress}) {
		t.Errorf("events %v", got)
	}
	if !h.Order.Due(2, t0.Add(interval+30*minute), false) {
		t.Error("a held order is still polled")
	}
	if d.Order.State != order.StateFailed || !slices.Contains(types(d.Events), order.EventFailed) {
		t.Error("Hold changed the decision that it was asked of")
	}
}

func TestHeldKeepsTheFailureLastDecided(t *testing.T) {
	o := heldFor(order.CodeNotFound)
	at := o.Deadline
	d := decide(o, order.HTTPError, at)
	if !d.GiveUp || d.Order.Held != nil {
		t.Fatalf("give up %v, held %v", d.GiveUp, d.Order.Held)
	}
	if got := heldCode(d.Hold().Order); got != order.CodeDeadlineExceeded {
		t.Errorf("held for %q", got)
	}
}

func TestAPollAfterWhichTheOrderWouldNotBeGivenUpFreesIt(t *testing.T) {
	at := t0.Add(interval)
	for _, c := range []struct {
		name    string
		code    string
		outcome order.Outcome
		poll    order.Poll
		held    string // code, "" = freed, unless it is given up again
		again   bool
	}{
		{name: "not_found, then processing", code: order.CodeNotFound, outcome: order.Processing},
		{name: "not_found, then processing by hand", code: order.CodeNotFound, outcome: order.Processing, poll: order.Poll{ByHand: true}},
		{name: "not_found, then another trouble", code: order.CodeNotFound, outcome: order.HTTPError},
		{name: "not_found again", code: order.CodeNotFound, outcome: order.NotFound, again: true},
		{name: "not_found, then throttled", code: order.CodeNotFound, outcome: order.Throttled, held: order.CodeNotFound},
		{name: "not_found, then local_fault", code: order.CodeNotFound, outcome: order.LocalFault, held: order.CodeNotFound},
		{name: "deadline, then processing", code: order.CodeDeadlineExceeded, outcome: order.Processing, again: true},
		{name: "deadline, then processing by hand: its time is still over", code: order.CodeDeadlineExceeded, outcome: order.Processing, poll: order.Poll{ByHand: true}, held: order.CodeDeadlineExceeded},
		{name: "deadline, then processing in doubt", code: order.CodeDeadlineExceeded, outcome: order.Processing, poll: order.Poll{ClockDoubted: true}, held: order.CodeDeadlineExceeded},
		{name: "deadline, then throttled", code: order.CodeDeadlineExceeded, outcome: order.Throttled, held: order.CodeDeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.poll.Tick, c.poll.Evidence = 4, well(at)
			d := policy().Decide(heldFor(c.code), answers(c.outcome, at), c.poll, at)
			if d.GiveUp != c.again || heldCode(d.Order) != c.held {
				t.Errorf("given up again %v, held %q; want %v, %q", d.GiveUp, heldCode(d.Order), c.again, c.held)
			}
		})
	}
	for _, outcome := range []order.Outcome{order.Completed, order.SellerFailed} {
		d := decide(heldFor(order.CodeNotFound), outcome, at)
		if d.Order.Held != nil || !d.Order.Ended() || d.GiveUp {
			t.Errorf("%s ends a held order like any other: %+v", outcome, d.Order)
		}
	}
}

func TestANewDeadline(t *testing.T) {
	now := t0.Add(minute)
	for _, c := range []struct {
		name     string
		held     string
		deadline time.Time
		want     string
	}{
		{"to come, held for the deadline: freed", order.CodeDeadlineExceeded, now.Add(time.Hour), ""},
		{"past, held for the deadline", order.CodeDeadlineExceeded, now, order.CodeDeadlineExceeded},
		{"to come, held for a clock", order.CodeNotFound, now.Add(time.Hour), order.CodeNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := order.Redeadline(heldFor(c.held), c.deadline, now)
			if heldCode(d.Order) != c.want || !d.Order.Deadline.Equal(c.deadline) || d.Dropped || d.Order.Ended() {
				t.Errorf("held %q, deadline %v, dropped %v", heldCode(d.Order), d.Order.Deadline, d.Dropped)
			}
		})
	}
}

func TestReleaseEndsHeldOrdersWithTheFailureLastDecided(t *testing.T) {
	o := heldFor(order.CodeNotFound)
	d := order.Release(o, t0)
	wantState(t, d.Order, order.StateFailed, order.CodeNotFound)
	if d.Order.Held != nil || !slices.Equal(types(d.Events), []order.EventType{order.EventFailed}) {
		t.Errorf("held %v, events %v", d.Order.Held, types(d.Events))
	}
	if d.GiveUp {
		t.Error("an operator's word needs no fuse")
	}
	if d := order.Release(processing(), t0); !d.Dropped || d.Order.Ended() {
		t.Error("an order that is not held is released")
	}
}

func TestASkippedOrderCanBeHeld(t *testing.T) {
	o := processing()
	at := o.Deadline.Add(time.Hour)
	h := policy().DecideSkipped(o, at, order.Poll{Evidence: well(at.Add(1))}, at.Add(1)).Hold()
	wantState(t, h.Order, order.StateProcessing, "")
	if heldCode(h.Order) != order.CodeDeadlineExceeded || h.Counts || len(h.Events) != 0 {
		t.Errorf("held %q, counts %v, events %v", heldCode(h.Order), h.Counts, types(h.Events))
	}
}
