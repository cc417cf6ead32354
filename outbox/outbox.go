// Package outbox tells the platform of recorded events: each one is POSTed to
// the webhook, signed, until it is taken (SPEC §6, GUARANTEES G4 and G24). What
// is to be delivered is in the store, put there by the commit that recorded the event; the outbox remembers
// only what it has in flight and how the platform does.
package outbox

import (
	"context"
	"crypto/x509"
	"net"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"poller/order"
)

// Store keeps the deliveries. Every method that returns an error may answer
// order.ErrBroken, after which nothing more is written.
type Store interface {
	// Deliveries returns up to limit of those due by now, the longest due first, those in flight too; and when
	// the first one after them is due: zero if there is none.
	Deliveries(ctx context.Context, now time.Time, limit int) (due []order.Delivery, next time.Time, err error)
	// Delivered records what came of attempts, in one commit. One whose delivery is gone is passed over.
	// order.ErrNoSpace: refused, nothing changed.
	Delivered(ctx context.Context, attempts []order.Attempt) error
	// OutboxChanged is closed at the next commit that queues or replays a delivery.
	OutboxChanged() <-chan struct{}
}

// Config is what may change while the outbox runs (SPEC §3: webhook, fetch.ca_file).
type Config struct {
	URL     string         // http or https; empty: nothing is sent, what is queued stays
	Secrets []string       // as CheckSecret wants them; each one signs. With a URL at least one
	RootCAs *x509.CertPool // who may sign the platform's certificate; nil: the system's
}

func (c *Config) equal(d *Config) bool {
	return c.URL == d.URL && slices.Equal(c.Secrets, d.Secrets) && c.RootCAs.Equal(d.RootCAs)
}

// Options are an outbox's parts.
type Options struct {
	Store   Store
	StoreID string // the first part of every webhook-id
	Version string // for User-Agent
	Config  Config
	// Observe is told the result of each attempt; nil: nobody is. Those that a stop cut off have none.
	Observe func(Result)
	// Now is the wall clock, by which deliveries are due and attempts are dated; nil: time.Now. Rests and limits go by
	// the monotonic clock, which is always time.Now.
	Now func() time.Time
	// Dial leads to the platform; nil: the network.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	Log  *zap.Logger
}

// How the platform is treated (SPEC §6).
const (
	maxInFlight = 8           // attempts at once
	restAfter   = 8           // failed attempts in a row, of whatever events
	probeEvery  = time.Minute // while the outbox rests

	// maxOpen: attempts in flight, and those that wait for their commit. A commit may take its time while a sweep is recorded; the
	// platform need not wait for it.
	maxOpen = 40
)

// Outbox delivers events. Make one with New and run it once with Run; Reload may be called at any time.
type Outbox struct {
	store   Store
	storeID string
	version string
	observe func(Result)
	wall    func() time.Time
	log     *zap.Logger
	dial    dialFunc // nil: the network

	nudge   chan struct{}  // the loop should look again
	workers sync.WaitGroup // one for each open attempt

	mu       sync.Mutex
	cfg      Config
	sender   *sender             // to where and how; nil: there is no URL
	open     map[uint64]struct{} // numbers of events whose attempt is not recorded yet
	inFlight int                 // how many of them are still being made
	width    int                 // how many may be
	failures int                 // failed attempts in a row
	resting  bool                // the platform is down: only probes
	probeAt  time.Time           // monotonic: no probe before
	takenAt  time.Time           // monotonic: when something was last taken; zero: never
	trouble  bool                // the store refuses, which was logged
}

// New makes an outbox. The error says what is wrong with the configuration, without showing it.
func New(opt Options) (*Outbox, error) {
	o := &Outbox{
		store: opt.Store, storeID: opt.StoreID, version: opt.Version,
		observe: opt.Observe, wall: opt.Now, dial: opt.Dial, log: opt.Log,
		nudge: make(chan struct{}, 1), open: make(map[uint64]struct{}), width: maxInFlight,
	}
	if o.observe == nil {
		o.observe = func(Result) {}
	}
	if o.wall == nil {
		o.wall = time.Now
	}
	if err := o.Reload(opt.Config); err != nil {
		return nil, err
	}
	return o, nil
}

// Reload takes a new configuration while running. Attempts in flight end as they began. If anything is different a
// rest ends: it may be what was wrong. On an error, which says what is wrong without showing it, nothing changes.
func (o *Outbox) Reload(c Config) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sender != nil && o.cfg.equal(&c) {
		return nil
	}
	s, err := newSender(&c, o.storeID, o.version, o.dial)
	if err != nil {
		return err
	}
	if o.sender != nil {
		o.sender.close()
	}
	o.cfg, o.sender = c, s
	o.failures, o.resting, o.width, o.takenAt = 0, false, maxInFlight, time.Time{}
	o.poke()
	return nil
}

// poke makes the loop look again soon.
func (o *Outbox) poke() {
	select {
	case o.nudge <- struct{}{}:
	default:
	}
}
