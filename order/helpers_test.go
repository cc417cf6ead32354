package order_test

import (
	"testing"
	"time"

	"poller/order"
)

// t0 is the time of submission in these tests.
var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	minute   = time.Minute
	interval = 15 * time.Minute
)

func policy() order.Policy {
	return order.Policy{
		Deadline:       72 * time.Hour,
		GiveUpAfter:    order.GiveUpAfter{NotFound: 2 * time.Hour, InvalidResponse: 6 * time.Hour, RejectedResult: 24 * time.Hour},
		MaxRetryAfter:  time.Hour,
		Interval:       interval,
		ProgressEvents: true,
	}
}

func processing() order.Order {
	return order.Order{
		Ref: order.Ref{Seller: 7, Order: 42}, ID: "o-1", RemoteID: "o-1", SellerID: "acme",
		SubmittedAt: t0, Deadline: t0.Add(72 * time.Hour), State: order.StateProcessing,
	}
}

// answers makes an observation with this outcome as the fetcher would; the poll begins and ends at the time given.
func answers(outcome order.Outcome, at time.Time) order.Observation {
	obs := order.Observation{Outcome: outcome, StartedAt: at, Detail: "detail of " + string(outcome), Answered: true, HTTPStatus: 200}
	switch outcome {
	case order.Processing:
		obs.Detail = ""
	case order.Completed:
		text := "done"
		obs.Detail, obs.Result = "", &order.Result{OutputType: order.OutputText, Text: &text}
	case order.SellerFailed:
		obs.Detail, obs.SellerError = "", order.SellerError{Code: "E7", Message: "out of paper"}
	case order.NotFound:
		obs.HTTPStatus = 404
	case order.Unauthorized:
		obs.HTTPStatus = 401
	case order.Throttled:
		obs.HTTPStatus = 429
	case order.HTTPError:
		obs.HTTPStatus = 500
	case order.Timeout, order.Unreachable, order.Blocked, order.LocalFault:
		obs.Answered, obs.HTTPStatus = false, 0
	}
	return obs
}

// well is the evidence that speaks against the seller: everybody, it too, has answered just now.
func well(at time.Time) order.Evidence {
	return order.Evidence{SellerValidAt: at, OtherAnsweredAt: at}
}

// decide polls o at this time, with everybody else well.
func decide(o order.Order, outcome order.Outcome, at time.Time) order.Decision {
	return policy().Decide(o, answers(outcome, at), order.Poll{Tick: o.Tick + 1, Evidence: well(at)}, at)
}

// polled is decide for its order, with everything that the fuse does not admit ended.
func polled(o order.Order, at time.Time, outcomes ...order.Outcome) order.Order {
	for _, outcome := range outcomes {
		o = decide(o, outcome, at).Order
		at = at.Add(interval)
	}
	return o
}

func types(events []order.Event) []order.EventType {
	var list []order.EventType
	for _, e := range events {
		list = append(list, e.Type)
	}
	return list
}

func failureCode(o order.Order) string {
	if o.Failure == nil {
		return ""
	}
	return o.Failure.Code
}

func heldCode(o order.Order) string {
	if o.Held == nil {
		return ""
	}
	return o.Held.Code
}

func wantState(t *testing.T, o order.Order, state order.State, code string) {
	t.Helper()
	if o.State != state || failureCode(o) != code {
		t.Errorf("the order is %s %q, want %s %q", o.State, failureCode(o), state, code)
	}
}

func ptr[T any](v T) *T { return &v }
