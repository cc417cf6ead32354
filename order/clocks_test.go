package order_test

import (
	"strings"
	"testing"
	"time"

	"poller/order"
)

func TestAClockAddsTheTimeSinceTheOrdersPollBefore(t *testing.T) {
	last := t0
	for _, c := range []struct {
		name     string
		outcome  order.Outcome
		since    time.Duration
		evidence order.Evidence
		want     time.Duration
	}{
		{"not_found", order.NotFound, interval, well(last.Add(minute)), interval},
		{"two intervals", order.NotFound, 2 * interval, well(last.Add(minute)), 2 * interval},
		{"at most two intervals", order.NotFound, 9 * time.Hour, well(last.Add(minute)), 2 * interval},
		{"a clock that went back takes nothing off", order.NotFound, -time.Hour, well(last.Add(minute)), 0},
		{"not_found, the seller gave nobody a valid answer meanwhile", order.NotFound, interval, order.Evidence{SellerValidAt: last, OtherAnsweredAt: last.Add(minute)}, 0},
		{"not_found, the seller never gave a valid answer", order.NotFound, interval, order.Evidence{OtherAnsweredAt: last.Add(minute)}, 0},
		{"invalid_response", order.InvalidResponse, interval, well(last.Add(minute)), interval},
		{"invalid_response, no valid answer meanwhile", order.InvalidResponse, interval, order.Evidence{SellerValidAt: last}, 0},
		{"rejected_result", order.RejectedResult, interval, well(last.Add(minute)), interval},
		{"rejected_result needs no evidence", order.RejectedResult, interval, order.Evidence{}, interval},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := polled(processing(), last, order.Processing)
			at := last.Add(c.since)
			d := policy().Decide(o, answers(c.outcome, at), order.Poll{Tick: 2, Evidence: c.evidence}, at)
			if got := *d.Order.Clocks.Of(c.outcome); got != (order.Clock{Elapsed: c.want, Polls: 1}) {
				t.Errorf("the clock stands at %v after %d polls, want %v after 1", got.Elapsed, got.Polls, c.want)
			}
		})
	}
}

func TestAnOrdersFirstPollAddsNothingToAClock(t *testing.T) {
	at := t0.Add(9 * time.Hour)
	d := decide(processing(), order.NotFound, at)
	if got := d.Order.Clocks.NotFound; got != (order.Clock{Polls: 1}) {
		t.Errorf("%+v", got)
	}
}

func TestClocksOfOtherKindsStand(t *testing.T) {
	o := polled(processing(), t0, order.NotFound, order.NotFound, order.InvalidResponse, order.RejectedResult, order.HTTPError, order.Timeout, order.Throttled, order.LocalFault)
	want := order.Clocks{
		NotFound:        order.Clock{Elapsed: interval, Polls: 2},
		InvalidResponse: order.Clock{Elapsed: interval, Polls: 1},
		RejectedResult:  order.Clock{Elapsed: interval, Polls: 1},
	}
	if o.Clocks != want {
		t.Errorf("clocks %+v, want %+v", o.Clocks, want)
	}
}

func TestProcessingSetsAllClocksToZero(t *testing.T) {
	o := polled(processing(), t0, order.NotFound, order.InvalidResponse, order.RejectedResult, order.Processing)
	if o.Clocks != (order.Clocks{}) {
		t.Errorf("%+v", o.Clocks)
	}
}

func TestAnOrderWhoseClockHasRunOutFails(t *testing.T) {
	for outcome, limit := range map[order.Outcome]time.Duration{order.NotFound: 2 * time.Hour, order.InvalidResponse: 6 * time.Hour, order.RejectedResult: 24 * time.Hour} {
		t.Run(string(outcome), func(t *testing.T) {
			o, at := processing(), t0
			for {
				d := decide(o, outcome, at)
				elapsed := at.Sub(t0)
				if elapsed < limit {
					if d.Order.Ended() {
						t.Fatalf("failed after %v, its limit is %v", elapsed, limit)
					}
					o, at = d.Order, at.Add(interval)
					continue
				}
				wantState(t, d.Order, order.StateFailed, string(outcome))
				if !d.GiveUp || !d.Counts || !strings.Contains(d.Order.Failure.Message, "detail of") {
					t.Errorf("give up %v, counts %v, %+v", d.GiveUp, d.Counts, d.Order.Failure)
				}
				return
			}
		})
	}
}

func TestAClockEndsAnOrderAtItsThirdPollAtTheEarliest(t *testing.T) {
	p := policy()
	p.GiveUpAfter.NotFound = minute
	o, at := polled(processing(), t0, order.Processing), t0
	for n := 1; n <= 3; n++ {
		at = at.Add(interval)
		d := p.Decide(o, answers(order.NotFound, at), order.Poll{Tick: o.Tick + 1, Evidence: well(at)}, at)
		if d.GiveUp != (n == 3) {
			t.Errorf("poll %d of its kind: give up %v", n, d.GiveUp)
		}
		o = d.Order
	}
}

func TestAClockThatHasRunOutEndsNothingAtAPollOfAnotherKind(t *testing.T) {
	o := processing()
	o.LastPolledAt = t0
	o.Clocks.NotFound = order.Clock{Elapsed: 10 * time.Hour, Polls: 10}
	at := t0.Add(interval)
	for _, outcome := range order.Outcomes {
		if d := decide(o, outcome, at); d.GiveUp != (outcome == order.NotFound) {
			t.Errorf("%s: give up %v", outcome, d.GiveUp)
		}
	}
}

func TestZeroGiveUpAfterMeansUntilTheDeadline(t *testing.T) {
	p := policy()
	p.GiveUpAfter = order.GiveUpAfter{}
	for _, outcome := range []order.Outcome{order.NotFound, order.InvalidResponse, order.RejectedResult} {
		o := processing()
		o.LastPolledAt = t0
		*o.Clocks.Of(outcome) = order.Clock{Elapsed: 1000 * time.Hour, Polls: 1000}
		at := t0.Add(interval)
		if d := p.Decide(o, answers(outcome, at), order.Poll{Tick: 1, Evidence: well(at)}, at); d.GiveUp {
			t.Errorf("%s: given up", outcome)
		}
		at = o.Deadline
		d := p.Decide(o, answers(outcome, at), order.Poll{Tick: 1, Evidence: well(at)}, at)
		wantState(t, d.Order, order.StateFailed, order.CodeDeadlineExceeded)
	}
}

func TestASickSellerIsJudgedByTheDeadlineNotByClocks(t *testing.T) {
	o, at := processing(), t0
	for at.Before(o.Deadline) {
		d := policy().Decide(o, answers(order.NotFound, at), order.Poll{Tick: o.Tick + 1, Evidence: order.Evidence{OtherAnsweredAt: at}}, at)
		if d.Order.Ended() {
			t.Fatalf("failed at %v with %q though its seller answers nobody", at, failureCode(d.Order))
		}
		o, at = d.Order, at.Add(interval)
	}
	wantState(t, decide(o, order.HTTPError, at).Order, order.StateFailed, order.CodeDeadlineExceeded)
}

func TestClocksGoOnByHandAndWhileTheWallClockIsDoubted(t *testing.T) {
	for _, poll := range []order.Poll{{ByHand: true}, {ClockDoubted: true}} {
		o := processing()
		o.LastPolledAt = t0
		o.Clocks.NotFound = order.Clock{Elapsed: 2 * time.Hour, Polls: 2}
		at := t0.Add(interval)
		poll.Evidence = well(at)
		d := policy().Decide(o, answers(order.NotFound, at), poll, at)
		wantState(t, d.Order, order.StateFailed, order.CodeNotFound)
	}
}

func TestNoOrderIsGivenUpByAClockOnSilenceWithoutEvidence(t *testing.T) {
	o := processing()
	o.LastPolledAt = t0
	o.Clocks.InvalidResponse = order.Clock{Elapsed: 7 * time.Hour, Polls: 9}
	at := t0.Add(interval)
	obs := answers(order.InvalidResponse, at)
	obs.Answered = false
	d := policy().Decide(o, obs, order.Poll{Tick: 1, Evidence: order.Evidence{SellerValidAt: at, OtherAnsweredAt: t0.Add(-minute)}}, at)
	wantState(t, d.Order, order.StateProcessing, "")
}
