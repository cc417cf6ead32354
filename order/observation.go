package order

import (
	"net/http"
	"time"
)

// Observation is what a poll brought, as facts. An unreachable seller is an
// observation like any other, never an error.
type Observation struct {
	Outcome Outcome
	// Detail tells a human why, in at most MaxDetail characters: no header
	// value, no query of a URL, no address that is not public, no control characters.
	Detail string

	StartedAt  time.Time     // wall clock, when the poll began
	Duration   time.Duration // from dial to last byte; time spent waiting for our own memory is not in it
	HTTPStatus int           // of the last hop; 0: none
	Bytes      int64         // of the body, after decompression

	// Answered: some hop sent the head of an HTTP answer (a status line with its headers).
	Answered bool
	// NoConnection: the first hop got no connection (DNS, connect, TLS): what a host's breaker counts.
	NoConnection bool
	// Quota: a local_fault because the seller is over results.max_per_seller.
	Quota bool

	// RetryAfter is how long from the answer the seller asked us to wait, in
	// Retry-After: nil if it said nothing readable or nothing in the future.
	RetryAfter *time.Duration

	// Of processing (Message also of failed):
	Progress   *float64 // 0…100
	Message    string   // at most MaxMessage characters
	ETASeconds *float64 // >= 0

	// Of failed: what the seller says. Code is its own, at most MaxCode characters, may be empty.
	SellerError SellerError

	// Of completed: its files are in the result store already, owned by nobody until the commit.
	Result *Result
}

// SellerError is what a seller says of a failed job.
type SellerError struct{ Code, Message string }

// Bounds on what is kept of a stranger's text, in characters unless said otherwise (SPEC §2).
const (
	MaxMessage       = 500
	MaxCode          = 64
	MaxDetail        = 300
	MaxFilenameBytes = 255
	MaxMIMEBytes     = 127
)

// deadSize is the size of an answer, in bytes, above which one that brings no result is dead (SPEC §4).
const deadSize = 64 << 10

// Dead reports whether the poll found nobody behind the door (SPEC §4,
// "Breaker"): a timeout, no connection, a gateway's error, or an answer of more
// than 64 KiB that brings no result.
func (o *Observation) Dead() bool {
	switch o.Outcome {
	case Timeout, Unreachable:
		return true
	case Completed, Blocked, LocalFault:
		return false
	case HTTPError:
		s := o.HTTPStatus
		if s == http.StatusBadGateway || s == http.StatusServiceUnavailable || s == http.StatusGatewayTimeout || 520 <= s && s <= 530 {
			return true
		}
	}
	return o.Bytes > deadSize
}

// Reject turns a completed observation into a rejected_result. The files of
// its result belong to nobody any more; the caller removes them.
func (o *Observation) Reject(detail string) {
	o.Outcome, o.Detail, o.Result = RejectedResult, detail, nil
}

// Blame turns an observation without any HTTP answer into a local_fault: the
// evidence is that it was not the seller's doing (SPEC §5, "Ours or theirs").
func (o *Observation) Blame(detail string) {
	o.Outcome, o.Detail = LocalFault, detail
}
