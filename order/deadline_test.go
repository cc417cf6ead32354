package order_test

import (
	"strings"
	"testing"
	"time"

	"poller/order"
)

func TestTheDeadlineEndsAnOrderAtAPollMadeAtOrAfterIt(t *testing.T) {
	deadline := processing().Deadline
	for _, c := range []struct {
		name    string
		outcome order.Outcome
		began   time.Time
		ended   time.Time
		poll    order.Poll
		want    order.State
		code    string
	}{
		{"processing, begun before, ended after", order.Processing, deadline.Add(-1), deadline.Add(8 * time.Second), order.Poll{}, order.StateProcessing, ""},
		{"processing, begun at it", order.Processing, deadline, deadline, order.Poll{}, order.StateFailed, order.CodeDeadlineExceeded},
		{"timeout, begun before", order.Timeout, deadline.Add(-1), deadline.Add(8 * time.Second), order.Poll{}, order.StateProcessing, ""},
		{"timeout", order.Timeout, deadline, deadline.Add(8 * time.Second), order.Poll{}, order.StateFailed, order.CodeDeadlineExceeded},
		{"unauthorized", order.Unauthorized, deadline, deadline, order.Poll{}, order.StateFailed, order.CodeDeadlineExceeded},
		{"blocked", order.Blocked, deadline, deadline, order.Poll{}, order.StateFailed, order.CodeDeadlineExceeded},
		{"a clock that has not run out", order.NotFound, deadline, deadline, order.Poll{}, order.StateFailed, order.CodeDeadlineExceeded},
		{"completed at the last chance", order.Completed, deadline.Add(time.Hour), deadline.Add(time.Hour), order.Poll{}, order.StateCompleted, ""},
		{"failed at the last chance", order.SellerFailed, deadline.Add(time.Hour), deadline.Add(time.Hour), order.Poll{}, order.StateFailed, order.CodeSellerFailed},
		{"throttled is none", order.Throttled, deadline.Add(time.Hour), deadline.Add(time.Hour), order.Poll{}, order.StateProcessing, ""},
		{"local_fault is none", order.LocalFault, deadline.Add(time.Hour), deadline.Add(time.Hour), order.Poll{}, order.StateProcessing, ""},
		{"by hand is none", order.Timeout, deadline.Add(time.Hour), deadline.Add(time.Hour), order.Poll{ByHand: true}, order.StateProcessing, ""},
		{"by hand, completed", order.Completed, deadline.Add(time.Hour), deadline.Add(time.Hour), order.Poll{ByHand: true}, order.StateCompleted, ""},
		{"the clock was ahead when it began", order.Processing, deadline.Add(8760 * time.Hour), deadline.Add(-time.Hour), order.Poll{}, order.StateProcessing, ""},
		{"the wall clock is doubted", order.Processing, deadline.Add(time.Hour), deadline.Add(time.Hour), order.Poll{ClockDoubted: true}, order.StateProcessing, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := processing()
			o.LastPolledAt, o.LastUnanswered = deadline.Add(-interval), true
			c.poll.Tick, c.poll.Evidence = 1, well(c.ended)
			d := policy().Decide(o, answers(c.outcome, c.began), c.poll, c.ended)
			wantState(t, d.Order, c.want, c.code)
			if d.GiveUp != (c.code == order.CodeDeadlineExceeded) {
				t.Errorf("give up %v", d.GiveUp)
			}
		})
	}
}

func TestNoOrderIsGivenUpOnSilenceWithoutEvidence(t *testing.T) {
	last := t0.Add(80 * time.Hour)
	now := last.Add(interval)
	never := time.Time{}
	for _, c := range []struct {
		name     string
		outcome  order.Outcome
		last     time.Time
		other    time.Time
		answered bool
		want     bool
	}{
		{"another host answered since", order.Timeout, last, last.Add(minute), false, true},
		{"no other host answered since", order.Timeout, last, last, false, false},
		{"unreachable, no other host answered since", order.Unreachable, last, last.Add(-minute), false, false},
		{"blocked, no other host answered since", order.Blocked, last, last.Add(-minute), false, false},
		{"no other host for nearly a day", order.Timeout, last, now.Add(-24 * time.Hour), false, false},
		{"no other host for a day", order.Timeout, last, now.Add(-24*time.Hour - 1), false, true},
		{"there is no other host", order.Timeout, last, never, false, true},
		{"never polled: one silent poll is not enough", order.Timeout, never, now.Add(-time.Hour), false, false},
		{"a 500 is an answer", order.HTTPError, last, last.Add(-minute), true, true},
		{"a timeout after a first hop's answer", order.Timeout, last, last.Add(-minute), true, true},
		{"processing", order.Processing, last, last.Add(-minute), true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := processing()
			o.LastPolledAt, o.LastUnanswered = c.last, !c.last.IsZero()
			obs := answers(c.outcome, now)
			obs.Answered = c.answered
			d := policy().Decide(o, obs, order.Poll{Tick: 1, Evidence: order.Evidence{OtherAnsweredAt: c.other}}, now)
			if d.GiveUp != c.want {
				t.Errorf("give up %v, want %v", d.GiveUp, c.want)
			}
		})
	}

	// GUARANTEES G28: the first polls of an outage end nobody.
	t.Run("the poll before was answered, and so was another host after it", func(t *testing.T) {
		o := processing()
		o.LastPolledAt = last
		d := policy().Decide(o, answers(order.Unreachable, now), order.Poll{Tick: 1, Evidence: order.Evidence{OtherAnsweredAt: last.Add(time.Second)}}, now)
		if d.GiveUp {
			t.Error("given up at the first silent poll: what others said before shows nothing")
		}
		again := now.Add(interval)
		d = policy().Decide(d.Order, answers(order.Unreachable, again), order.Poll{Tick: 2, Evidence: order.Evidence{OtherAnsweredAt: now.Add(time.Second)}}, again)
		if !d.GiveUp {
			t.Error("silent twice, and another host answered in between: not given up")
		}
	})

	t.Run("never polled, all others fell silent before its submission", func(t *testing.T) {
		o := processing()
		o.Deadline = t0.Add(minute)
		at := t0.Add(interval)
		d := policy().Decide(o, answers(order.Timeout, at), order.Poll{Tick: 1, Evidence: order.Evidence{OtherAnsweredAt: t0.Add(-minute)}}, at)
		if d.GiveUp {
			t.Error("given up at its first poll, on our own outage")
		}
	})
}

func TestTheDeadlinesMessageNamesTheLastTrouble(t *testing.T) {
	for _, c := range []struct {
		name     string
		outcomes []order.Outcome
		want     string
	}{
		{"the trouble of the last chance", []order.Outcome{order.Timeout, order.Timeout}, "last trouble: timeout: detail of timeout"},
		{"processing to the end", []order.Outcome{order.HTTPError, order.Processing}, "the seller still said processing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := processing()
			o.Deadline = t0.Add(time.Duration(len(c.outcomes)-1) * interval)
			o = polled(o, t0, c.outcomes...)
			wantState(t, o, order.StateFailed, order.CodeDeadlineExceeded)
			if !strings.Contains(o.Failure.Message, c.want) || !strings.HasPrefix(o.Failure.Message, "no end by 2026-03-01T12:15:00Z; ") {
				t.Errorf("%q, want …%q", o.Failure.Message, c.want)
			}
		})
	}
	for _, c := range []struct {
		name     string
		outcomes []order.Outcome
		want     string
	}{
		{"never polled", nil, "it was never polled"},
		{"throttled is not the trouble", []order.Outcome{order.Timeout, order.Throttled}, "last trouble: timeout: detail of timeout"},
		{"trouble out of sight", []order.Outcome{order.Timeout, order.Throttled, order.Throttled, order.Throttled, order.Throttled, order.Throttled}, "last trouble: timeout"},
		{"only ever throttled", []order.Outcome{order.Throttled}, "last poll: throttled: detail of throttled"},
		{"a local_fault after processing", []order.Outcome{order.Processing, order.LocalFault}, "last poll: local_fault: detail of local_fault"},
	} {
		t.Run("skipped, "+c.name, func(t *testing.T) {
			o := polled(processing(), t0, c.outcomes...)
			at := o.Deadline.Add(time.Hour)
			d := policy().DecideSkipped(o, at, order.Poll{Tick: 9, Evidence: well(at.Add(interval))}, at.Add(interval))
			if d.Order.Failure == nil || !strings.HasSuffix(d.Order.Failure.Message, "; "+c.want) {
				t.Errorf("%+v, want …%q", d.Order.Failure, c.want)
			}
		})
	}
	o := processing()
	o.Trouble = &order.Trouble{Outcome: order.Timeout}
	o.RecentTrouble = []order.Incident{{Outcome: order.Timeout, Detail: strings.Repeat("ä", order.MaxMessage)}}
	at := o.Deadline.Add(time.Hour)
	if d := policy().DecideSkipped(o, at, order.Poll{Evidence: well(at.Add(1))}, at.Add(1)); len([]rune(d.Order.Failure.Message)) != order.MaxMessage {
		t.Errorf("%d characters", len([]rune(d.Order.Failure.Message)))
	}
}

func TestAnOrderThatAWholeSweepSkippedEndsAtItsDeadline(t *testing.T) {
	deadline := processing().Deadline
	sweep := deadline.Add(minute)
	now := sweep.Add(interval)
	for _, c := range []struct {
		name  string
		sweep time.Time
		poll  order.Poll
		want  bool
	}{
		{name: "begun after its deadline", sweep: sweep, want: true},
		{name: "begun at its deadline", sweep: deadline},
		{name: "begun before its deadline", sweep: deadline.Add(-1)},
		{name: "the wall clock is doubted", sweep: sweep, poll: order.Poll{ClockDoubted: true}},
		{name: "no other host answered in the sweep", sweep: now},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := processing()
			o.LastPolledAt = deadline.Add(-interval)
			c.poll.Evidence = order.Evidence{OtherAnsweredAt: now.Add(-minute)}
			d := policy().DecideSkipped(o, c.sweep, c.poll, now)
			if d.GiveUp != c.want || d.Dropped == c.want || d.Order.Ended() != c.want {
				t.Fatalf("give up %v, dropped %v, state %s; want given up %v", d.GiveUp, d.Dropped, d.Order.State, c.want)
			}
			if c.want {
				wantState(t, d.Order, order.StateFailed, order.CodeDeadlineExceeded)
			}
			if d.Order.Polls != 0 || d.Counts {
				t.Error("a skipped order was not polled")
			}
		})
	}
}
