package order_test

import (
	"flag"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"poller/order"
)

var seed = flag.Uint64("seed", 0, "of the random sequences; 0: by the clock")

// TestWhateverHappensToAnOrder puts orders through random polls, cancels,
// releases, deadlines and clock steps, and checks what must hold at every step.
func TestWhateverHappensToAnOrder(t *testing.T) {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("to see it again: -run %s -seed %d", t.Name(), s)
	r := rand.New(rand.NewPCG(s, 1))
	sequences := 500
	if testing.Short() {
		sequences = 300
	}
	for n := range sequences {
		var fuse order.Fuse
		o, at := processing(), t0
		o.Deadline = t0.Add(time.Duration(r.IntN(100)) * time.Hour)
		transitions := 0
		for step := range 100 {
			at = at.Add(randomStep(r))
			before := o
			o = happen(t, r, &fuse, o, at)
			if o.State != before.State {
				transitions++
			}
			checkStep(t, before, o, transitions)
			if t.Failed() {
				t.Fatalf("sequence %d, step %d, at %v:\nbefore %+v\nafter  %+v", n, step, at, before, o)
			}
		}
	}
}

// randomStep is usually an interval, sometimes nothing, long, or backwards.
func randomStep(r *rand.Rand) time.Duration {
	switch r.IntN(10) {
	case 0:
		return 0
	case 1:
		return time.Duration(r.IntN(48)) * time.Hour
	case 2:
		return -time.Duration(r.IntN(48)) * time.Hour
	}
	return interval
}

// happen lets one random thing happen to o, and returns it as a store would keep it.
func happen(t *testing.T, r *rand.Rand, fuse *order.Fuse, o order.Order, at time.Time) order.Order {
	evidence := order.Evidence{}
	if r.IntN(3) > 0 {
		evidence = well(at.Add(-time.Duration(r.IntN(60)) * minute))
	}
	poll := order.Poll{
		Tick: o.Tick + uint64(r.IntN(3)), ByHand: r.IntN(8) == 0, Stale: r.IntN(20) == 0,
		ClockDoubted: r.IntN(10) == 0, Evidence: evidence,
	}
	var d order.Decision
	switch r.IntN(100) {
	case 0:
		d = order.Cancel(o, at)
	case 1, 2:
		d = order.Release(o, at)
	case 3, 4:
		d = order.Redeadline(o, at.Add(time.Duration(r.IntN(50))*time.Hour), at)
	case 5, 6, 7:
		d = policy().DecideSkipped(o, at.Add(-interval), poll, at)
	default:
		outcome := order.Outcomes[r.IntN(len(order.Outcomes))]
		if outcome.Valid() && r.IntN(4) > 0 {
			outcome = order.NotFound // else few orders live to see much
		}
		obs := answers(outcome, at.Add(-time.Duration(r.IntN(8))*time.Second))
		obs.Answered = obs.Answered || r.IntN(4) == 0
		if outcome == order.Processing && r.IntN(2) == 0 {
			obs.RetryAfter = ptr(time.Duration(r.IntN(120)) * minute)
		}
		obs.Quota = outcome == order.LocalFault && r.IntN(2) == 0
		d = policy().Decide(o, obs, poll, at)
	}
	if d.GiveUp && (r.IntN(2) == 0 || !fuse.Admit(o.Ref.Seller, 20, at)) {
		d = d.Hold()
	}
	told := 0
	for _, e := range d.Events {
		switch e.Type {
		case order.EventCompleted, order.EventFailed, order.EventCancelled:
			told++
		}
	}
	if moved := d.Order.State != o.State; (told == 1) != moved || told > 1 {
		t.Errorf("%d events of an end, the state moved: %v", told, moved)
	}
	if d.Dropped && (!reflect.DeepEqual(d.Order, o) || len(d.Events) > 0 || d.Counts) {
		t.Errorf("dropped, but %+v", d)
	}
	return d.Order
}

func checkStep(t *testing.T, before, after order.Order, transitions int) {
	if transitions > 1 {
		t.Errorf("%d transitions", transitions)
	}
	if before.Ended() && !reflect.DeepEqual(before, after) {
		t.Error("an ended order changed")
	}
	if after.Held != nil && after.State != order.StateProcessing {
		t.Error("held, but not in processing")
	}
	if (after.State == order.StateFailed) != (after.Failure != nil) || (after.State == order.StateCompleted) != (after.Result != nil) {
		t.Errorf("%s with failure %v and result %v", after.State, after.Failure, after.Result)
	}
	if after.Ended() == after.EndedAt.IsZero() {
		t.Errorf("%s, ended at %v", after.State, after.EndedAt)
	}
	if after.Tick < before.Tick || after.Polls < before.Polls || after.Polls > before.Polls+1 {
		t.Errorf("tick %d to %d, polls %d to %d", before.Tick, after.Tick, before.Polls, after.Polls)
	}
	zeroed := after.Polls > before.Polls && after.LastOutcome == order.Processing
	for _, kind := range []order.Outcome{order.NotFound, order.InvalidResponse, order.RejectedResult} {
		was, is := before.Clocks.Of(kind), after.Clocks.Of(kind)
		switch {
		case zeroed:
			if *is != (order.Clock{}) {
				t.Errorf("%s stands at %+v after processing", kind, *is)
			}
		case is.Elapsed < was.Elapsed || is.Polls < was.Polls:
			t.Errorf("%s went from %+v to %+v without processing", kind, *was, *is)
		case is.Elapsed-was.Elapsed > 2*interval:
			t.Errorf("%s went from %v to %v in one poll", kind, was.Elapsed, is.Elapsed)
		}
	}
	if len(after.RecentTrouble) > order.MaxRecentTrouble {
		t.Errorf("%d incidents", len(after.RecentTrouble))
	}
	if !after.NotBefore.IsZero() && after.NotBefore.Sub(after.LastPolledAt) > time.Hour {
		t.Errorf("not_before %v after a poll at %v", after.NotBefore, after.LastPolledAt)
	}
}
