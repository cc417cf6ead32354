// Package outbox tells the platform of recorded events: it POSTs each one to
// the webhook, signed, until it is taken (SPEC §6, GUARANTEES G4). What is to be delivered is in the
// store, put there by the commit that recorded the event; the outbox remembers
// nothing but what it has in flight and whether the platform is down.
package outbox

import (
	"context"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"poller/order"
)

// Store keeps the deliveries.
type Store interface {
	// Deliveries returns up to limit of those that are due, the longest due first, and when the first one after them is
	// (zero: none is pending).
	Deliveries(ctx context.Context, now time.Time, limit int) (due []order.Delivery, next time.Time, err error)
	// Delivered records what became of attempts. One whose delivery is gone meanwhile is ignored.
	Delivered(ctx context.Context, attempts []order.Attempt) error
	// OutboxChanged is closed at the next commit that queues a delivery.
	OutboxChanged() <-chan struct{}
}

// Config is what a reload can change.
type Config struct {
	URL     string         // empty: nothing is sent
	Secrets []string       // whsec_…; each one signs. At least one if there is a URL
	RootCAs *x509.CertPool // that sign the platform's certificate; nil: the system's
}

// Options is what an outbox is made of. All are needed but Observe.
type Options struct {
	Store   Store
	StoreID string // of the store; part of the ids
	Version string // for User-Agent
	Config  Config
	Observe func(Result) // is told of each attempt
	Now     func() time.Time
	Log     *zap.Logger
}

// How the outbox treats the platform (SPEC §6).
const (
	parallel     = 8                // attempts at once, at most
	restAfter    = 8                // failed attempts in a row, of whatever events
	probeEvery   = time.Minute      // while it rests
	storeRetry   = 5 * time.Second  // after the store failed, doubling
	longestRetry = 60 * time.Second // ... to this
)

// Outbox delivers events. Run does the work.
type Outbox struct {
	opt Options
	log *zap.Logger

	mu       sync.Mutex
	sender   *sender       // nil: there is no URL
	reloaded chan struct{} // closed at the next Reload
	window   int           // attempts that may be in flight: one more for each that is taken
	failures int           // attempts that failed in a row
	resting  bool
	probeAt  time.Time
	inFlight map[uint64]bool // numbers of events
	unsaved  bool            // the store failed, and it was logged
}

// New makes an outbox. An error says what is wrong with the configuration.
func New(opt Options) (*Outbox, error) {
	if opt.Observe == nil {
		opt.Observe = func(Result) {}
	}
	o := &Outbox{opt: opt, log: opt.Log, reloaded: make(chan struct{}), window: 1, inFlight: make(map[uint64]bool)}
	return o, o.Reload(opt.Config)
}

// Reload brings a new configuration into effect; attempts in flight end as they began. A rest of the outbox
// ends. With an error, which says what is wrong, nothing changes.
func (o *Outbox) Reload(c Config) error {
	s, err := newSender(c, o.opt.StoreID, o.opt.Version, o.opt.Now)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sender != nil {
		o.sender.close()
	}
	o.sender, o.window, o.failures, o.resting = s, 1, 0, false
	close(o.reloaded)
	o.reloaded = make(chan struct{})
	return nil
}

// Run delivers until ctx ends (nil), or the database can't be trusted any more
// (order.ErrBroken). Attempts in flight are cut off then and count for nothing;
// of one that was taken, but could not be recorded, the platform is told again.
func (o *Outbox) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer stop()
	done := make(chan error)
	for {
		o.mu.Lock()
		reloaded := o.reloaded
		o.mu.Unlock()
		changed := o.opt.Store.OutboxChanged() // before reading, so that nothing comes between
		begin, wait, err := o.next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, order.ErrBroken):
			return err
		case err != nil:
			o.log.Warn("deliveries can't be read; put off", zap.Error(err), zap.Duration("for", storeRetry))
			changed, wait = nil, storeRetry
		}
		for _, d := range begin {
			workers.Go(func() {
				err := o.deliver(ctx, &d)
				select {
				case done <- err:
				case <-ctx.Done():
				}
			})
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case err := <-done:
			if err != nil {
				timer.Stop()
				return err
			}
		case <-changed:
		case <-reloaded:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// idle is how long the outbox waits when nothing is pending: something else wakes it.
const idle = time.Hour

// next returns the deliveries to begin now, which count as in flight from here
// on, and how long to wait if nothing happens meanwhile.
func (o *Outbox) next(ctx context.Context) (begin []order.Delivery, wait time.Duration, err error) {
	now := o.opt.Now()
	o.mu.Lock()
	free := o.window - len(o.inFlight)
	if o.resting {
		free = 1 - len(o.inFlight)
	}
	limit := len(o.inFlight) + free
	switch {
	case o.sender == nil, free <= 0: // a reload, or the end of an attempt, wakes us
		o.mu.Unlock()
		return nil, idle, nil
	case o.resting && now.Before(o.probeAt):
		wait = o.probeAt.Sub(now)
		o.mu.Unlock()
		return nil, wait, nil
	}
	o.mu.Unlock()
	// Read anew for each attempt: an erasure meanwhile must not be missed.
	due, next, err := o.opt.Store.Deliveries(ctx, now, limit)
	if err != nil {
		return nil, 0, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, d := range due {
		if !o.inFlight[d.Event.Number] && len(begin) < free {
			o.inFlight[d.Event.Number] = true
			begin = append(begin, d)
		}
	}
	if o.resting && len(begin) > 0 {
		o.probeAt = now.Add(probeEvery)
	}
	if next.IsZero() {
		return begin, idle, nil
	}
	return begin, min(idle, max(0, next.Sub(now))), nil
}

// deliver makes one attempt and records what came of it. It returns only order.ErrBroken.
func (o *Outbox) deliver(ctx context.Context, d *order.Delivery) error {
	defer func() {
		o.mu.Lock()
		delete(o.inFlight, d.Event.Number)
		o.mu.Unlock()
	}()
	o.mu.Lock()
	s := o.sender
	o.mu.Unlock()
	if s == nil { // a reload took the URL away
		return nil
	}
	answer := s.send(ctx, &d.Event)
	if ctx.Err() != nil && answer.result != Taken {
		return nil // cut off: counts for nothing
	}
	o.opt.Observe(answer.result)
	return o.record(ctx, o.judge(d, &answer))
}

// judge says what follows from an attempt.
func (o *Outbox) judge(d *order.Delivery, a *answer) order.Attempt {
	now := o.opt.Now()
	log := o.log.With(zap.String("order_id", d.Event.OrderID), zap.Uint64("number", d.Event.Number), zap.String("reason", a.reason))
	log.Debug("webhook attempt", zap.String("result", string(a.result)), zap.Int("attempts", d.Attempts))
	o.mu.Lock()
	defer o.mu.Unlock()
	if a.result == Taken {
		if o.resting {
			o.log.Info("the webhook takes events again")
			o.window = 1
		} else {
			o.window = min(o.window+1, parallel)
		}
		o.failures, o.resting = 0, false
		return order.Attempt{Number: d.Event.Number, Taken: true}
	}
	if o.resting {
		// Counts against no event; another one has its turn at the next probe.
		return order.Attempt{Number: d.Event.Number, Attempts: d.Attempts, DueAt: now.Add(probeEvery)}
	}
	if o.failures++; o.failures >= restAfter {
		o.resting, o.probeAt = true, now.Add(probeEvery)
		log.Warn("the webhook takes nothing; it is left alone but for one attempt a minute", zap.Int("failures_in_a_row", o.failures))
	}
	at := order.Attempt{Number: d.Event.Number, Attempts: d.Attempts + 1}
	after, again := retry(at.Attempts, rand.Float64())
	if at.Dead = !again; at.Dead {
		log.Warn("webhook delivery set aside", zap.Int("attempts", at.Attempts))
		return at
	}
	at.DueAt = now.Add(after)
	return at
}

// record tries until the store takes it or ctx ends: meanwhile the event is in flight, so that a full disk
// does not have the platform told again and again. It returns only order.ErrBroken.
func (o *Outbox) record(ctx context.Context, at order.Attempt) error {
	for wait := storeRetry; ; wait = min(2*wait, longestRetry) {
		err := o.opt.Store.Delivered(context.WithoutCancel(ctx), []order.Attempt{at}) // quick, and worth it at the end too
		o.mu.Lock()
		first := err != nil && !o.unsaved
		o.unsaved = err != nil
		o.mu.Unlock()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, order.ErrBroken):
			return err
		case errors.Is(err, order.ErrStopping):
			return nil
		case first:
			o.log.Error("what the webhook took can't be recorded; tried until it can", zap.Error(err))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}
