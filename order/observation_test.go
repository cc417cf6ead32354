package order_test

import (
	"testing"

	"poller/order"
)

func TestDeadPolls(t *testing.T) {
	const small, large = 64 << 10, 64<<10 + 1
	for _, c := range []struct {
		name string
		obs  order.Observation
		want bool
	}{
		{"timeout", order.Observation{Outcome: order.Timeout}, true},
		{"unreachable", order.Observation{Outcome: order.Unreachable}, true},
		{"500: somebody answered", order.Observation{Outcome: order.HTTPError, HTTPStatus: 500}, false},
		{"501", order.Observation{Outcome: order.HTTPError, HTTPStatus: 501}, false},
		{"502", order.Observation{Outcome: order.HTTPError, HTTPStatus: 502}, true},
		{"503 without Retry-After", order.Observation{Outcome: order.HTTPError, HTTPStatus: 503}, true},
		{"503 with Retry-After", order.Observation{Outcome: order.Throttled, HTTPStatus: 503}, false},
		{"504", order.Observation{Outcome: order.HTTPError, HTTPStatus: 504}, true},
		{"505", order.Observation{Outcome: order.HTTPError, HTTPStatus: 505}, false},
		{"519", order.Observation{Outcome: order.HTTPError, HTTPStatus: 519}, false},
		{"520", order.Observation{Outcome: order.HTTPError, HTTPStatus: 520}, true},
		{"530", order.Observation{Outcome: order.HTTPError, HTTPStatus: 530}, true},
		{"531", order.Observation{Outcome: order.HTTPError, HTTPStatus: 531}, false},
		{"429", order.Observation{Outcome: order.Throttled, HTTPStatus: 429}, false},
		{"404", order.Observation{Outcome: order.NotFound, HTTPStatus: 404}, false},
		{"401", order.Observation{Outcome: order.Unauthorized, HTTPStatus: 401}, false},
		{"blocked", order.Observation{Outcome: order.Blocked}, false},
		{"local_fault", order.Observation{Outcome: order.LocalFault, Bytes: large}, false},
		{"processing of 64 KiB", order.Observation{Outcome: order.Processing, Bytes: small}, false},
		{"processing of more", order.Observation{Outcome: order.Processing, Bytes: large}, true},
		{"invalid_response of 64 KiB", order.Observation{Outcome: order.InvalidResponse, Bytes: small}, false},
		{"invalid_response of more", order.Observation{Outcome: order.InvalidResponse, Bytes: large}, true},
		{"rejected_result of more", order.Observation{Outcome: order.RejectedResult, Bytes: large}, true},
		{"completed of more brings a result", order.Observation{Outcome: order.Completed, Bytes: large}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.obs.Dead(); got != c.want {
				t.Errorf("Dead() = %v, want %v", got, c.want)
			}
		})
	}
}

func TestRejectAndBlame(t *testing.T) {
	obs := answers(order.Completed, t0)
	obs.Reject("object_key: belongs to another order")
	if obs.Outcome != order.RejectedResult || obs.Result != nil || obs.Detail == "" {
		t.Errorf("rejected: %+v", obs)
	}
	obs = answers(order.Unreachable, t0)
	obs.Blame("no other host answers either")
	if obs.Outcome != order.LocalFault || obs.Detail == "" {
		t.Errorf("blamed on ourselves: %+v", obs)
	}
}

func TestOutcomesWithoutEffectAndValidOnes(t *testing.T) {
	for _, o := range order.Outcomes {
		if got, want := o.HasEffect(), o != order.Throttled && o != order.LocalFault; got != want {
			t.Errorf("%s.HasEffect() = %v", o, got)
		}
		if got, want := o.Valid(), o == order.Processing || o == order.Completed || o == order.SellerFailed; got != want {
			t.Errorf("%s.Valid() = %v", o, got)
		}
	}
	if len(order.Outcomes) != 13 {
		t.Errorf("%d outcomes, SPEC §5 has 13", len(order.Outcomes))
	}
}
