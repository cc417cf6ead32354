package order

import "time"

// State is where an order stands. Nothing like "being polled" is ever stored.
type State string

// The states. An order leaves StateProcessing once, and never moves again (SPEC §1).
const (
	// StateProcessing: entered at submission; left by the one transition below. A human need not do anything:
	// the deadline ends it at the latest, unless its seller is paused or it is held.
	StateProcessing State = "processing"
	// StateCompleted: entered by a poll with outcome completed. The result is stored. Never left.
	StateCompleted State = "completed"
	// StateFailed: entered by a poll with outcome failed, by a clock, by the deadline, or by the release of a
	// held order. Failure says which. Never left; a second attempt is a new order with the same remote_id.
	StateFailed State = "failed"
	// StateCancelled: entered by the platform's cancel. Never left.
	StateCancelled State = "cancelled"
)

// States lists every state.
var States = []State{StateProcessing, StateCompleted, StateFailed, StateCancelled}

// The codes of a Failure.
const (
	CodeSellerFailed     = "seller_failed"     // the seller says so
	CodeNotFound         = "not_found"         // clock
	CodeInvalidResponse  = "invalid_response"  // clock
	CodeRejectedResult   = "rejected_result"   // clock
	CodeDeadlineExceeded = "deadline_exceeded" // no end by the deadline, nor at the last chance after it
)

// Codes lists every code of a Failure.
var Codes = []string{CodeSellerFailed, CodeNotFound, CodeInvalidResponse, CodeRejectedResult, CodeDeadlineExceeded}

// Failure says why an order failed.
type Failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Order is one job that a seller is working on for a buyer.
type Order struct {
	Ref      Ref
	ID       string
	RemoteID string
	SellerID string

	SubmittedAt time.Time
	Deadline    time.Time
	Metadata    map[string]string

	State State

	Tick      uint64    // the tick that it was last polled for, with effect (SPEC §4)
	NotBefore time.Time // set by Retry-After on processing; zero: none
	Held      *Failure  // what it would have failed with, had the fuse not blown; nil: not held

	Progress     *float64
	ToldProgress *float64 // of the last order.progress event
	Message      string
	ETASeconds   *float64

	Polls        uint64 // every recorded poll
	LastOutcome  Outcome
	LastDetail   string
	LastPolledAt time.Time
	// LastUnanswered: the last poll got no HTTP answer; such orders have one turn in ten (SPEC §4, "Turns").
	LastUnanswered bool

	Trouble *Trouble
	Clocks  Clocks
	// RecentTrouble holds the last MaxRecentTrouble polls that were not processing, oldest first.
	RecentTrouble []Incident
	// TroubleToldAt is when the last order.trouble that opened a pair was recorded: at most one pair an hour.
	TroubleToldAt time.Time

	// Since the transition:
	EndedAt time.Time
	Result  *Result
	Failure *Failure
	Erased  bool // the buyer's data is gone
}

// Ended reports whether the order had its transition.
func (o *Order) Ended() bool { return o.State != StateProcessing }

// Due reports whether a sweep with this tick, begun at, takes the order (SPEC
// §4, "Ticks"), its seller not being paused. byHand: taken unless its NotBefore is still to come.
func (o *Order) Due(tick uint64, at time.Time, byHand bool) bool {
	if o.Ended() || o.Tick >= tick {
		return false
	}
	if o.LastPolledAt.Sub(at) > clockWentBack {
		return true // the wall clock went back: a not_before of the time before says nothing, and leaves no order out (G11)
	}
	if byHand {
		return !o.NotBefore.After(at)
	}
	return !o.NotBefore.After(at.Add(notBeforeSlack))
}

// notBeforeSlack: a not_before that ends within a minute of the tick does not cost the order a whole interval.
const notBeforeSlack = time.Minute

// clockWentBack: by so much the wall clock must go back before a NotBefore is doubted; a
// poll in flight when the tick came may have ended a little later than the tick.
const clockWentBack = time.Hour

// Trouble is what an order is in while its polls bring neither progress nor an end.
type Trouble struct {
	Outcome Outcome   // of the last poll that counted
	Since   time.Time // of the first poll of this trouble
	// Told lists the outcomes that an order.trouble was recorded for in this trouble.
	Told []Outcome
}

// MaxRecentTrouble is how many incidents an order remembers.
const MaxRecentTrouble = 5

// Incident is one poll that was not processing.
type Incident struct {
	At         time.Time     `json:"at"`
	Outcome    Outcome       `json:"outcome"`
	Detail     string        `json:"detail"`
	HTTPStatus int           `json:"http_status"`
	Duration   time.Duration `json:"-"`
}

// Clock sums how long one order has been in one kind of trouble at a seller
// that is well (SPEC §5, "Clocks").
type Clock struct {
	Elapsed time.Duration
	Polls   int // of its kind since the last processing
}

// Clocks are an order's three clocks.
type Clocks struct{ NotFound, InvalidResponse, RejectedResult Clock }

// Of returns the clock that polls with this outcome run, or nil.
func (c *Clocks) Of(o Outcome) *Clock {
	switch o {
	case NotFound:
		return &c.NotFound
	case InvalidResponse:
		return &c.InvalidResponse
	case RejectedResult:
		return &c.RejectedResult
	}
	return nil
}
