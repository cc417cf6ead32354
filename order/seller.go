package order

import (
	"log/slog"
	"slices"
	"time"
)

// Seller is one connected AI tool: where to ask for the status of its orders,
// with which headers, and how hard it may be asked (SPEC §2, §6).
type Seller struct {
	ID     string
	Number uint32 // given by the store at creation, from 1, never used again

	StatusURL            string // template with {order_id}, checked by the fetcher
	Headers              []Header
	AllowUnauthenticated bool
	MaxConcurrency       int // polls at once, 1 to the host's cap; 0: fetch.per_seller
	MaxPerMinute         int // polls begun in any 60 s; 0: no limit
	Note                 string

	Paused     bool
	Cancelling bool // POST …/cancel was accepted: all its processing orders are being cancelled

	// Version rises with every change of the record. Revision rises only when
	// StatusURL or Headers become other values: the bad outcome of a poll begun
	// under an older one says nothing about the seller as it is now (SPEC §4).
	Version  uint64
	Revision uint64
}

// SameEndpoint reports whether both sellers are asked at the same URL with the same headers.
func (s *Seller) SameEndpoint(o *Seller) bool {
	return s.StatusURL == o.StatusURL && slices.Equal(s.Headers, o.Headers)
}

// Header is one request header of a seller. Value is a credential: it is
// sealed at rest, sent to the seller's own origin, and shown nowhere.
type Header struct {
	Name  string // as registered; canonical when sent
	Value string
}

// String shows the name only, so that a header printed by mistake gives nothing away.
func (h Header) String() string { return h.Name + ": ***" }

// GoString is String, for %#v.
func (h Header) GoString() string { return h.String() }

// LogValue is String, for structured logs.
func (h Header) LogValue() slog.Value { return slog.StringValue(h.String()) }

// Health is what poller knows of how a seller answers. It is kept in the
// store, so that a breaker is still open and evidence still there after a restart.
type Health struct {
	LastOutcome    Outcome
	LastPolledAt   time.Time
	LastAnsweredAt time.Time // the last poll that got any HTTP answer
	LastValidAt    time.Time // the last poll that got a valid answer: processing, completed or failed
	FailuresInARow int       // dead polls (SPEC §4) since the last that was not
}

// Breaker says whether a seller or a host is left alone (SPEC §4).
type Breaker string

// The states of a breaker.
const (
	BreakerClosed   Breaker = "closed"    // polled as usual; opened by fetch.breaker_failures dead polls in a row
	BreakerOpen     Breaker = "open"      // left alone until the next probe or sweep; look at last_outcome and tell the seller
	BreakerHalfOpen Breaker = "half_open" // one probe is under way and decides
)
