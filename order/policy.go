package order

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Policy is how long poller bears with an order. It is a value: decisions are
// functions of it and their other arguments alone.
type Policy struct {
	Deadline    time.Duration // from submission, for orders that bring none of their own
	GiveUpAfter GiveUpAfter
	// MaxRetryAfter: a Retry-After that asks for more counts for nothing.
	MaxRetryAfter time.Duration
	// Interval is the usual time between two ticks; one poll adds at most two of them to a clock.
	Interval time.Duration
	// ProgressEvents: record order.progress.
	ProgressEvents bool
}

// GiveUpAfter is how long one order may be in a kind of trouble at a seller
// that is well; 0: until its deadline.
type GiveUpAfter struct{ NotFound, InvalidResponse, RejectedResult time.Duration }

func (g GiveUpAfter) of(o Outcome) time.Duration {
	switch o {
	case NotFound:
		return g.NotFound
	case InvalidResponse:
		return g.InvalidResponse
	case RejectedResult:
		return g.RejectedResult
	}
	return 0
}

// Poll is what must be known of a poll beside what it brought.
type Poll struct {
	Tick   uint64 // the poll counts for this tick
	ByHand bool   // POST …/poll: it is nobody's last chance
	// Stale: the seller's status_url or headers became other values since the poll began.
	Stale bool
	// ClockDoubted: the wall clock is not to be trusted; deadlines rest (GUARANTEES, G12).
	ClockDoubted bool
	Evidence     Evidence
}

// Evidence is what is known of everybody else when an order may be given up.
// A zero time means never.
type Evidence struct {
	SellerValidAt   time.Time // the order's seller last gave some order a valid answer
	OtherAnsweredAt time.Time // another host with active orders last answered
}

// aDay without an answer from any other host: there is nobody left to ask for evidence.
const aDay = 24 * time.Hour

// speaksAgainst reports whether silence since then may be held against a
// seller: another host answered meanwhile, or there is none to ask (SPEC §5, "Ours or theirs").
func (e Evidence) speaksAgainst(since, now time.Time) bool {
	return e.OtherAnsweredAt.After(since) || now.Sub(e.OtherAnsweredAt) > aDay
}

// silenceCounts reports whether a poll without any answer may end the order.
// The poll before it must have been silent too, with somebody else answering in between: what others said before the
// silence began shows nothing, and the first polls of an outage of ours end nobody (GUARANTEES, G28).
func (e Evidence) silenceCounts(o Order, now time.Time) bool {
	return o.LastUnanswered && e.speaksAgainst(o.LastPolledAt, now)
}

// Decision is what follows from a poll, a cancel or a release: the order as it
// will be, and the events to record with it.
type Decision struct {
	// Dropped: nothing is recorded; Order is as it was.
	Dropped bool
	Order   Order
	Events  []Event // without numbers; Ref, ids and At are set
	// Counts: the order counts as polled for the poll's tick.
	Counts bool
	// GiveUp: the end is poller's own judgement, which the fuse must admit. If it does not, Hold says what follows instead.
	GiveUp bool

	notBefore time.Time // the order's own before its end; Hold puts it back
}

// Decide says what follows from one poll (SPEC §5). now is when the poll ended.
func (p Policy) Decide(o Order, obs Observation, poll Poll, now time.Time) Decision {
	if o.Ended() || poll.Stale && !obs.Outcome.Valid() {
		return Decision{Dropped: true, Order: o}
	}
	d := Decision{Order: o}
	n := &d.Order
	n.Polls++
	n.LastOutcome, n.LastDetail, n.LastPolledAt = obs.Outcome, obs.Detail, now
	if obs.Outcome != LocalFault {
		n.LastUnanswered = !obs.Answered
	}
	if n.NotBefore.Sub(now) > p.MaxRetryAfter {
		n.NotBefore = time.Time{} // the clock went back, or the limit is lower now
	}
	if !obs.Outcome.Valid() {
		n.remember(Incident{At: obs.StartedAt, Outcome: obs.Outcome, Detail: obs.Detail, HTTPStatus: obs.HTTPStatus, Duration: obs.Duration})
	}
	d.Counts = obs.Outcome.HasEffect() || obs.Quota
	if d.Counts {
		n.Tick = max(n.Tick, poll.Tick)
	}
	if !obs.Outcome.HasEffect() {
		return d
	}
	switch obs.Outcome {
	case Completed:
		n.Result, n.Trouble = obs.Result, nil
		d.end(StateCompleted, now)
		return d
	case SellerFailed:
		if obs.Message != "" {
			n.Message = obs.Message
		}
		n.Failure, n.Trouble = &Failure{Code: CodeSellerFailed, Message: obs.whyFailed()}, nil
		d.end(StateFailed, now)
		return d
	case Processing:
		p.progress(&d, o, obs, now)
	default:
		d.trouble(o, obs, now)
	}
	p.judge(&d, o, obs, poll, now)
	return d
}

// progress applies a processing answer: what the seller says is kept, trouble ends.
func (p Policy) progress(d *Decision, o Order, obs Observation, now time.Time) {
	n := &d.Order
	if obs.Progress != nil {
		n.Progress = obs.Progress
	}
	if obs.Message != "" {
		n.Message = obs.Message
	}
	n.ETASeconds = obs.ETASeconds
	n.NotBefore = time.Time{}
	if ra := obs.RetryAfter; ra != nil && *ra <= p.MaxRetryAfter {
		n.NotBefore = now.Add(*ra)
	}
	n.Clocks = Clocks{}
	if t := o.Trouble; t != nil {
		n.Trouble = nil
		if len(t.Told) > 0 {
			d.tell(Event{Type: EventRecovered}, now)
		}
	}
	if p.ProgressEvents && (n.Message != o.Message || movedFar(o.ToldProgress, n.Progress)) {
		n.ToldProgress = n.Progress
		d.tell(Event{Type: EventProgress, Progress: n.Progress, Message: n.Message}, now)
	}
}

// movedFar reports whether progress moved by 5 points, either way, since it was last told.
func movedFar(told, is *float64) bool {
	if is == nil {
		return false
	}
	return told == nil || math.Abs(*is-*told) >= 5
}

// troublePairGap: at most one pair of order.trouble and order.recovered in this time (SPEC §6).
const troublePairGap = time.Hour

// trouble notes trouble on the order, and tells of the first of each kind.
func (d *Decision) trouble(o Order, obs Observation, now time.Time) {
	n := &d.Order
	t := Trouble{Since: now}
	if o.Trouble != nil {
		t = *o.Trouble
	}
	t.Outcome = obs.Outcome
	opens := len(t.Told) == 0
	// A clock that went back must not silence an order for ever.
	since := now.Sub(o.TroubleToldAt)
	if !slices.Contains(t.Told, obs.Outcome) && (!opens || since >= troublePairGap || since < 0) {
		t.Told = append(slices.Clone(t.Told), obs.Outcome)
		if opens {
			n.TroubleToldAt = now
		}
		d.tell(Event{Type: EventTrouble, Outcome: obs.Outcome, Detail: obs.Detail}, now)
	}
	n.Trouble = &t
}

// judge runs the clocks and the deadline, which end an order by poller's own judgement.
func (p Policy) judge(d *Decision, o Order, obs Observation, poll Poll, now time.Time) {
	n := &d.Order
	var why *Failure
	if c := n.Clocks.Of(obs.Outcome); c != nil {
		c.Polls++
		c.Elapsed += p.clockStep(o, obs.Outcome, poll.Evidence, now)
		if limit := p.GiveUpAfter.of(obs.Outcome); limit > 0 && c.Elapsed >= limit && c.Polls >= 3 {
			why = &Failure{Code: string(obs.Outcome), Message: Clip(fmt.Sprintf("%s for %s over %d polls; last: %s",
				obs.Outcome, c.Elapsed.Round(time.Second), c.Polls, obs.Detail), MaxMessage)}
		}
	}
	deadlineJudged := !poll.ByHand && !poll.ClockDoubted
	// Begun and ended after the deadline: a clock that was ahead when the poll began may be right again (GUARANTEES, G12).
	if why == nil && deadlineJudged && !obs.StartedAt.Before(n.Deadline) && !now.Before(n.Deadline) {
		why = n.deadlineExceeded()
	}
	if !obs.Answered && !poll.Evidence.silenceCounts(o, now) {
		why = nil
	}
	switch {
	case why != nil:
		n.Failure = why
		d.GiveUp = true
		d.end(StateFailed, now)
	case n.Held != nil && (deadlineJudged || n.Held.Code != CodeDeadlineExceeded):
		n.Held = nil // what held it was judged again, and does not give it up now
	}
}

// clockStep is how much one poll adds to its clock (SPEC §5, "Clocks").
func (p Policy) clockStep(o Order, kind Outcome, e Evidence, now time.Time) time.Duration {
	if o.LastPolledAt.IsZero() {
		return 0
	}
	// Times are kept in milliseconds: a valid answer in the same one as the order's last poll was another order's, unless it was its own.
	meanwhile := e.SellerValidAt.After(o.LastPolledAt) || e.SellerValidAt.Equal(o.LastPolledAt) && !o.LastOutcome.Valid()
	if kind != RejectedResult && !meanwhile {
		return 0
	}
	return min(max(now.Sub(o.LastPolledAt), 0), 2*p.Interval)
}

// DecideSkipped says what follows for an order that a whole cron sweep, begun
// at sweepAt, skipped or left resting, all polls of its seller in it being dead
// or throttled: past its deadline it ends like one that had its last chance (SPEC §5, "The deadline").
func (p Policy) DecideSkipped(o Order, sweepAt time.Time, poll Poll, now time.Time) Decision {
	d := Decision{Order: o}
	// Past it by both times, as in judge: the clock may have been ahead when the sweep began.
	if o.Ended() || poll.ClockDoubted || !o.Deadline.Before(sweepAt) || now.Before(o.Deadline) || !poll.Evidence.speaksAgainst(sweepAt, now) {
		d.Dropped = true
		return d
	}
	d.Order.Failure = d.Order.deadlineExceeded()
	d.GiveUp = true
	d.end(StateFailed, now)
	return d
}

// Hold turns a decision to give up into one to hold: the fuse has blown. The
// order stays in processing with the failure last decided, until a poll, a new deadline or an operator says otherwise.
// All else that the poll brought is kept.
func (d Decision) Hold() Decision {
	n := d.Order
	n.Held = n.Failure
	n.State, n.Failure, n.EndedAt, n.NotBefore = StateProcessing, nil, time.Time{}, d.notBefore
	events := slices.DeleteFunc(slices.Clone(d.Events), func(e Event) bool { return e.Type == EventFailed })
	return Decision{Order: n, Events: events, Counts: d.Counts}
}

// Release ends a held order with the failure last decided. An order that is not held is left as it is.
func Release(o Order, now time.Time) Decision {
	d := Decision{Order: o}
	if o.Ended() || o.Held == nil {
		d.Dropped = true
		return d
	}
	d.Order.Failure = o.Held
	d.end(StateFailed, now)
	return d
}

// Cancel ends an order at the platform's wish; one that has ended is left as it is.
func Cancel(o Order, now time.Time) Decision {
	d := Decision{Order: o}
	if o.Ended() {
		d.Dropped = true
		return d
	}
	d.end(StateCancelled, now)
	return d
}

// Redeadline moves the deadline of an order in processing. An order held for
// its deadline is free again if the new one is still to come.
func Redeadline(o Order, deadline, now time.Time) Decision {
	d := Decision{Order: o}
	if o.Ended() {
		d.Dropped = true
		return d
	}
	d.Order.Deadline = deadline
	if h := o.Held; h != nil && h.Code == CodeDeadlineExceeded && deadline.After(now) {
		d.Order.Held = nil
	}
	return d
}

// end makes the transition and tells of it.
func (d *Decision) end(s State, now time.Time) {
	n := &d.Order
	d.notBefore = n.NotBefore
	n.State, n.EndedAt, n.Held, n.NotBefore = s, now, nil, time.Time{}
	d.tell(Event{Type: endEvent(s)}, now)
}

// tell adds an event of the decision's order.
func (d *Decision) tell(e Event, now time.Time) {
	e.Ref, e.OrderID, e.SellerID, e.At = d.Order.Ref, d.Order.ID, d.Order.SellerID, now
	d.Events = append(d.Events, e)
}

// remember keeps the incident among the last MaxRecentTrouble.
func (o *Order) remember(i Incident) {
	keep := o.RecentTrouble
	if len(keep) >= MaxRecentTrouble {
		keep = keep[len(keep)-MaxRecentTrouble+1:]
	}
	o.RecentTrouble = append(slices.Clone(keep), i)
}

// deadlineExceeded words the failure of an order whose time is over.
func (o *Order) deadlineExceeded() *Failure {
	msg := "no end by " + o.Deadline.UTC().Format(time.RFC3339) + "; "
	switch {
	case o.Trouble != nil:
		msg += "last trouble: " + string(o.Trouble.Outcome)
		// A throttled poll or a local_fault since then is not what the order is in trouble with.
		for _, i := range slices.Backward(o.RecentTrouble) {
			if i.Outcome == o.Trouble.Outcome {
				msg += ": " + i.Detail
				break
			}
		}
	case o.LastOutcome == "":
		msg += "it was never polled"
	case o.LastOutcome == Processing:
		msg += "the seller still said processing"
	default:
		msg += "last poll: " + string(o.LastOutcome) + ": " + o.LastDetail
	}
	return &Failure{Code: CodeDeadlineExceeded, Message: Clip(msg, MaxMessage)}
}

// whyFailed words a seller's failed as a failure's message.
func (o *Observation) whyFailed() string {
	e := o.SellerError
	switch {
	case e.Code != "" && e.Message != "":
		return Clip(e.Code+": "+e.Message, MaxMessage)
	case e.Message != "":
		return e.Message
	case e.Code != "":
		return e.Code
	case o.Message != "":
		return o.Message
	}
	return "the seller gave no reason"
}
