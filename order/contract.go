package order

import (
	"crypto/sha256"
	"encoding/json"
	"time"
)

// Submission is an order as the platform sends it (POST /v1/orders).
type Submission struct {
	OrderID  string            `json:"order_id"`
	SellerID string            `json:"seller_id"`
	RemoteID string            `json:"remote_id,omitempty"` // empty: the OrderID
	Deadline *time.Time        `json:"deadline,omitempty"`  // nil: Policy.Deadline from now
	Metadata map[string]string `json:"metadata,omitempty"`

	// Fault is what is wrong with the values. It counts only if the order does
	// not exist yet: the same submission again is compared before anything else is checked.
	Fault error `json:"-"`
}

// Digest identifies the content as it was sent, so that the same again can be told from another.
func (s *Submission) Digest() [sha256.Size]byte {
	c := *s
	if c.Deadline != nil {
		t := c.Deadline.UTC()
		c.Deadline = &t
	}
	b, err := json.Marshal(c) // map keys are sorted
	if err != nil {
		// Strings, a time and a map of strings: a year beyond 9999 is all that can fail.
		b = []byte(s.OrderID + "\x00" + s.SellerID + "\x00" + s.RemoteID + "\x00" + c.Deadline.String())
	}
	return sha256.Sum256(b)
}

// Submitted is what became of one Submission.
type Submitted struct {
	Created bool // else it existed with the same content
	Order   Order
	// Err: ErrConflict, ErrUnknownSeller, ErrErased, ErrNoSpace, or the submission's Fault; nil: the order is on disk.
	Err error
}

// Due is an order waiting for its turn: as much as a queue needs to know.
type Due struct {
	Ref        Ref
	Tick       uint64
	Unanswered bool
}

// Target is as much of an order as a poll of it needs to know.
type Target struct {
	Ref          Ref
	ID, RemoteID string
}

// DuePage is one page of what is due.
type DuePage struct {
	Items []Due
	// Next is where the following page begins; More is false at the end of the store.
	Next Ref
	More bool
}

// Change asks the store to decide about one order. Decide gets the order as it
// is at the commit, so that nothing can come between; it must be quick and must not call the store.
type Change struct {
	Ref    Ref
	Decide func(Order) Decision
	// Uploaded: keys of objects that the seller uploaded beforehand and now
	// names as its result. If one belongs to another order, Rejected is called instead of Decide.
	Uploaded []string
	Rejected func(Order, string) Decision // with the key

	// Set by the store. WasHeld: the order that Decide got was held.
	WasHeld  bool
	Decision Decision // after the fuse has spoken
	Err      error    // ErrNotFound, ErrDamaged: Decide was not called; ErrConflict: a file of the result is another order's, nothing changed
}

// Batch is what is committed together: all of it, or nothing.
type Batch struct {
	Changes []*Change
	// Books, if not nil, is asked for the sweep's books once every change is decided, and they are
	// committed with them. If the commit fails, what it counted did not happen.
	Books  func() Sweep
	Health map[uint32]Health // of the sellers polled, by number
	// FuseShare is orders.give_up_fuse, 0…1; 0: off.
	FuseShare float64
	Now       time.Time
}

// Ask is one poll to be made: of which seller, for which order.
type Ask struct {
	Seller   *Seller // not to be changed
	RemoteID string
	// Reserve is called before a file of the answer is kept or grows: may so
	// many bytes more be kept for this seller? false: over quota (results.max_per_seller).
	Reserve func(bytes int64) bool
}

// Delivery is a recorded event that the webhook is to be told of. There is at most one for each event.
type Delivery struct {
	Event    Event     // as the feed gives it out, with its order, or Erased
	Attempts int       // attempts that failed and counted
	QueuedAt time.Time // when it came into the outbox: with its event, or by the newest replay
	DueAt    time.Time // of the next attempt
}

// Attempt is what follows from one attempt to deliver an event.
type Attempt struct {
	Number   uint64    // of the event
	QueuedAt time.Time // of the Delivery that it was an attempt at: another one means a replay since. Zero: of whichever there is
	Taken    bool      // the platform took it: the delivery is gone
	Attempts int       // otherwise: attempts that failed and counted, this one included if it counts
	DueAt    time.Time // ... when to try again
	Dead     bool      // ... set aside until replayed
}
