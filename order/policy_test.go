package order_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"poller/order"
)

// TestEffectOfEveryOutcome is the table of SPEC §5, for an order that is in
// trouble (http_error) already.
func TestEffectOfEveryOutcome(t *testing.T) {
	const (
		ends    = "ends"
		well    = "trouble ends"
		trouble = "trouble"
		none    = "none"
	)
	effects := map[order.Outcome]string{
		order.Processing: well, order.Completed: ends, order.SellerFailed: ends,
		order.NotFound: trouble, order.Unauthorized: trouble, order.Throttled: none, order.HTTPError: trouble,
		order.Timeout: trouble, order.Unreachable: trouble, order.Blocked: trouble,
		order.InvalidResponse: trouble, order.RejectedResult: trouble, order.LocalFault: none,
	}
	for _, outcome := range order.Outcomes {
		t.Run(string(outcome), func(t *testing.T) {
			before := decide(processing(), order.HTTPError, t0).Order
			at := t0.Add(interval)
			d := decide(before, outcome, at)
			o := d.Order

			if o.Polls != 2 || o.LastOutcome != outcome || !o.LastPolledAt.Equal(at) {
				t.Errorf("polls %d, last_outcome %s, last_polled_at %v: every poll counts", o.Polls, o.LastOutcome, o.LastPolledAt)
			}
			incident := len(o.RecentTrouble) == 2
			if valid := outcome.Valid(); incident == valid {
				t.Errorf("recent_trouble holds %d incidents", len(o.RecentTrouble))
			}
			if d.GiveUp || d.Dropped || o.Held != nil {
				t.Errorf("give up %v, dropped %v, held %v", d.GiveUp, d.Dropped, o.Held)
			}
			switch effects[outcome] {
			case ends:
				if o.State == order.StateProcessing || !o.EndedAt.Equal(at) || o.Trouble != nil {
					t.Errorf("state %s, ended %v, trouble %v", o.State, o.EndedAt, o.Trouble)
				}
			case well:
				if o.State != order.StateProcessing || o.Trouble != nil {
					t.Errorf("state %s, trouble %+v", o.State, o.Trouble)
				}
			case trouble:
				if o.State != order.StateProcessing || o.Trouble == nil || o.Trouble.Outcome != outcome || !o.Trouble.Since.Equal(t0) {
					t.Errorf("state %s, trouble %+v", o.State, o.Trouble)
				}
			case none:
				if o.State != before.State || !reflect.DeepEqual(o.Trouble, before.Trouble) || o.Clocks != before.Clocks || o.Tick != before.Tick {
					t.Errorf("effect on state, trouble, clocks or tick: %+v", o)
				}
				if d.Counts || len(d.Events) != 0 {
					t.Errorf("counts %v, events %v", d.Counts, types(d.Events))
				}
				return
			}
			if !d.Counts || o.Tick != before.Tick+1 {
				t.Errorf("counts %v, tick %d: it is polled for this tick", d.Counts, o.Tick)
			}
		})
	}
}

func TestCompletedKeepsTheResult(t *testing.T) {
	d := decide(processing(), order.Completed, t0)
	wantState(t, d.Order, order.StateCompleted, "")
	if d.Order.Result == nil || !slices.Equal(types(d.Events), []order.EventType{order.EventCompleted}) {
		t.Errorf("result %v, events %v", d.Order.Result, types(d.Events))
	}
}

func TestFailedSaysWhatTheSellerSays(t *testing.T) {
	long := strings.Repeat("x", order.MaxMessage)
	for _, c := range []struct {
		name    string
		err     order.SellerError
		message string
		want    string
	}{
		{"code and message", order.SellerError{Code: "E7", Message: "out of paper"}, "", "E7: out of paper"},
		{"message", order.SellerError{Message: "out of paper"}, "", "out of paper"},
		{"code", order.SellerError{Code: "E7"}, "", "E7"},
		{"only message beside status", order.SellerError{}, "card declined", "card declined"},
		{"error before message", order.SellerError{Message: "out of paper"}, "so sorry", "out of paper"},
		{"nothing", order.SellerError{}, "", "the seller gave no reason"},
		{"bounded", order.SellerError{Code: "E7", Message: long}, "", "E7: " + long[:order.MaxMessage-4]},
	} {
		t.Run(c.name, func(t *testing.T) {
			obs := order.Observation{Outcome: order.SellerFailed, StartedAt: t0, Answered: true, SellerError: c.err, Message: c.message}
			d := policy().Decide(processing(), obs, order.Poll{Tick: 1}, t0)
			wantState(t, d.Order, order.StateFailed, order.CodeSellerFailed)
			if d.Order.Failure.Message != c.want || d.Order.Message != c.message {
				t.Errorf("failure message %q, message %q", d.Order.Failure.Message, d.Order.Message)
			}
			if d.GiveUp {
				t.Error("the seller's own word needs no fuse")
			}
		})
	}
}

func TestProcessingKeepsProgressMessageAndETA(t *testing.T) {
	p := policy()
	obs := answers(order.Processing, t0)
	obs.Progress, obs.Message, obs.ETASeconds = ptr(12.5), "page 1", ptr(60.0)
	o := p.Decide(processing(), obs, order.Poll{Tick: 1}, t0).Order
	if *o.Progress != 12.5 || o.Message != "page 1" || *o.ETASeconds != 60 {
		t.Errorf("%v %q %v", o.Progress, o.Message, o.ETASeconds)
	}
	o = p.Decide(o, answers(order.Processing, t0), order.Poll{Tick: 2}, t0.Add(interval)).Order
	if o.Progress == nil || *o.Progress != 12.5 || o.Message != "page 1" {
		t.Errorf("an answer that says less takes back what was said: %v %q", o.Progress, o.Message)
	}
	if o.ETASeconds != nil {
		t.Errorf("eta_seconds of an old answer: %v", *o.ETASeconds)
	}
}

func TestOnlyRetryAfterOnProcessingSetsNotBefore(t *testing.T) {
	for _, c := range []struct {
		name    string
		outcome order.Outcome
		after   *time.Duration
		want    time.Time
	}{
		{"processing", order.Processing, ptr(30 * minute), t0.Add(30 * minute)},
		{"processing, max_retry_after", order.Processing, ptr(time.Hour), t0.Add(time.Hour)},
		{"processing, more than max_retry_after", order.Processing, ptr(time.Hour + 1), time.Time{}},
		{"processing without", order.Processing, nil, time.Time{}},
		{"http_error", order.HTTPError, ptr(30 * minute), time.Time{}},
		{"not_found", order.NotFound, ptr(30 * minute), time.Time{}},
		{"throttled: the lane rests, not the order", order.Throttled, ptr(30 * minute), time.Time{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			obs := answers(c.outcome, t0)
			obs.RetryAfter = c.after
			if got := policy().Decide(processing(), obs, order.Poll{Tick: 1}, t0).Order.NotBefore; !got.Equal(c.want) {
				t.Errorf("not_before %v, want %v", got, c.want)
			}
		})
	}

	o := processing()
	o.NotBefore = t0.Add(30 * minute)
	if got := decide(o, order.Processing, t0).Order.NotBefore; !got.IsZero() {
		t.Errorf("a processing without Retry-After leaves not_before at %v", got)
	}
	o.NotBefore = t0.Add(365 * 24 * time.Hour) // set before the clock went back
	if got := decide(o, order.Throttled, t0).Order.NotBefore; !got.IsZero() {
		t.Errorf("not_before %v, further ahead than max_retry_after", got)
	}
}

func TestAQuotaCountsAsPolled(t *testing.T) {
	before := polled(processing(), t0, order.NotFound)
	obs := answers(order.LocalFault, t0.Add(interval))
	obs.Quota = true
	d := policy().Decide(before, obs, order.Poll{Tick: 5, Evidence: well(t0.Add(interval))}, t0.Add(interval))
	if !d.Counts || d.Order.Tick != 5 {
		t.Errorf("counts %v, tick %d", d.Counts, d.Order.Tick)
	}
	if d.Order.Clocks != before.Clocks || d.Order.Trouble.Outcome != order.NotFound {
		t.Error("but it has no other effect")
	}
}

func TestATickNumberNeverGoesBack(t *testing.T) {
	o := processing()
	o.Tick = 9
	if got := policy().Decide(o, answers(order.Processing, t0), order.Poll{Tick: 8}, t0).Order.Tick; got != 9 {
		t.Errorf("tick %d", got)
	}
}

func TestTheLastFivePollsThatWereNotProcessingAreKept(t *testing.T) {
	o := polled(processing(), t0, order.HTTPError, order.Timeout, order.Processing, order.LocalFault, order.NotFound, order.Throttled, order.Blocked)
	var got []order.Outcome
	for _, i := range o.RecentTrouble {
		got = append(got, i.Outcome)
	}
	if want := []order.Outcome{order.Timeout, order.LocalFault, order.NotFound, order.Throttled, order.Blocked}; !slices.Equal(got, want) {
		t.Errorf("recent_trouble %v, want %v", got, want)
	}
}

func TestDecideLeavesTheOrderItWasGivenAlone(t *testing.T) {
	o := polled(processing(), t0, order.HTTPError, order.Timeout, order.NotFound, order.Blocked, order.HTTPError)
	incidents, told := slices.Clone(o.RecentTrouble), slices.Clone(o.Trouble.Told)
	since := *o.Trouble
	decide(o, order.Unauthorized, t0.Add(5*interval))
	if !slices.Equal(o.RecentTrouble, incidents) || !slices.Equal(o.Trouble.Told, told) || o.Trouble.Outcome != since.Outcome {
		t.Error("a slice or a pointer of the order before was written to")
	}
}

func TestLastUnanswered(t *testing.T) {
	o := decide(processing(), order.Timeout, t0).Order
	if !o.LastUnanswered {
		t.Error("a timeout without an answer")
	}
	if o = decide(o, order.LocalFault, t0).Order; !o.LastUnanswered {
		t.Error("our own fault says nothing about the order")
	}
	if o = decide(o, order.HTTPError, t0).Order; o.LastUnanswered {
		t.Error("a 500 is an answer")
	}
	if o = decide(o, order.LocalFault, t0).Order; o.LastUnanswered {
		t.Error("our own fault says nothing about the order")
	}
}

func TestABadOutcomeOfAPollBegunBeforeTheSellerChangedIsDropped(t *testing.T) {
	for _, outcome := range order.Outcomes {
		before := processing()
		d := policy().Decide(before, answers(outcome, t0), order.Poll{Tick: 1, Stale: true, Evidence: well(t0)}, t0)
		if d.Dropped == outcome.Valid() {
			t.Errorf("%s: dropped %v", outcome, d.Dropped)
		}
		if d.Dropped && (d.Counts || len(d.Events) != 0 || !reflect.DeepEqual(d.Order, before)) {
			t.Errorf("%s: dropped, but %+v", outcome, d)
		}
	}
}

func TestAnEndedOrderNeverMovesAgain(t *testing.T) {
	for _, state := range order.States[1:] {
		o := processing()
		o.State, o.EndedAt, o.Held = state, t0, &order.Failure{Code: order.CodeNotFound}
		late := o.Deadline.Add(time.Hour)
		decisions := map[string]order.Decision{
			"cancel":   order.Cancel(o, late),
			"release":  order.Release(o, late),
			"deadline": order.Redeadline(o, late.Add(time.Hour), late),
			"skipped":  policy().DecideSkipped(o, late, order.Poll{Tick: 9, Evidence: well(late.Add(1))}, late.Add(1)),
		}
		for _, outcome := range order.Outcomes {
			decisions[string(outcome)] = decide(o, outcome, late)
		}
		for name, d := range decisions {
			if !d.Dropped || d.Counts || d.GiveUp || len(d.Events) != 0 || !reflect.DeepEqual(d.Order, o) {
				t.Errorf("%s, then %s: %+v", state, name, d)
			}
		}
	}
}

func TestCancel(t *testing.T) {
	o := processing()
	o.Held, o.NotBefore = &order.Failure{Code: order.CodeNotFound}, t0.Add(minute)
	d := order.Cancel(o, t0)
	wantState(t, d.Order, order.StateCancelled, "")
	if d.Order.Held != nil || !d.Order.NotBefore.IsZero() || !d.Order.EndedAt.Equal(t0) {
		t.Errorf("held %v, not_before %v, ended %v", d.Order.Held, d.Order.NotBefore, d.Order.EndedAt)
	}
	want := order.Event{Type: order.EventCancelled, Ref: o.Ref, OrderID: o.ID, SellerID: o.SellerID, At: t0}
	if len(d.Events) != 1 || !reflect.DeepEqual(d.Events[0], want) {
		t.Errorf("events %+v, want %+v", d.Events, want)
	}
}
