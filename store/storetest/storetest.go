// Package storetest is the contract that every store of poller passes. It says
// what callers may rely on: decided once, durable when it returns, numbers
// dense. How a store does that is its own business.
package storetest

import (
	"context"
	"testing"
	"time"

	"poller/order"
)

// Store is a store with all its methods, as package store documents them.
type Store interface {
	ID() string
	Close() error
	Failed() <-chan struct{}
	Err() error

	PutSeller(ctx context.Context, s order.Seller) (order.Seller, bool, error)
	UpdateSeller(ctx context.Context, id string, fn func(*order.Seller) error) (order.Seller, error)
	Seller(ctx context.Context, id string) (order.Seller, error)
	SellerByNumber(ctx context.Context, number uint32) (order.Seller, error)
	Sellers(ctx context.Context, after string, limit int) ([]order.Seller, string, error)
	DeleteSeller(ctx context.Context, id string) error
	SellerUsage(number uint32) (activeOrders, resultBytes int64)
	Healths(ctx context.Context) (map[uint32]order.Health, error)

	Submit(ctx context.Context, subs []order.Submission, defaultDeadline time.Duration, now time.Time) ([]order.Submitted, error)
	Order(ctx context.Context, id string) (order.Order, error)
	Load(ctx context.Context, refs []order.Ref) ([]order.Order, error)
	Orders(ctx context.Context, f order.Filter, after string, limit int) ([]order.Order, string, error)
	UpdateOrder(ctx context.Context, id string, fn func(order.Order) (order.Decision, error)) (order.Order, error)
	History(ctx context.Context, id string) ([]order.Event, error)
	Events(ctx context.Context, after uint64, limit int) ([]order.Event, error)
	EventRange() (first, last uint64)
	EventsChanged() <-chan struct{}

	DuePage(ctx context.Context, tick uint64, at time.Time, byHand bool, after order.Ref, limit int) (order.DuePage, error)
	BeginSweep(ctx context.Context, s order.Sweep) (order.Sweep, error)
	SaveSweep(ctx context.Context, s order.Sweep) error
	Sweeps(ctx context.Context, after string, limit int) ([]order.Sweep, string, error)
	LastTick(ctx context.Context) (tick uint64, cronAt time.Time, err error)
	Clock(ctx context.Context) (newest time.Time, off time.Duration, err error)
	SetClock(ctx context.Context, at time.Time, off time.Duration) error
	Record(ctx context.Context, b *order.Batch) error
	Release(ctx context.Context, sellerID string, limit int, now time.Time) (n int, more bool, err error)
	CancelSeller(ctx context.Context, number uint32, limit int, now time.Time) (refs []order.Ref, more bool, err error)
	Counts() map[order.State]int64
	Held() int64
	Fuse() order.Fuse
	SellersWithActive() int

	SetWebhookEvents(types []order.EventType)
	Deliveries(ctx context.Context, now time.Time, limit int) (due []order.Delivery, next time.Time, err error)
	Delivered(ctx context.Context, attempts []order.Attempt) error
	ReplayOrder(ctx context.Context, id string, now time.Time) (int, error)
	ReplayAfter(ctx context.Context, after uint64, now time.Time, limit int) (n int, last uint64, more bool, err error)
	OutboxChanged() <-chan struct{}
	OutboxCounts() (pending, dead int64)
	OutboxOldest() time.Time

	AddUpload(ctx context.Context, orderID, key string, size, limit int64) (order.Order, error)
	Upload(ctx context.Context, key string) (order.Order, int64, error)
	Erase(ctx context.Context, id string) error

	Expire(ctx context.Context, before time.Time, limit int) (keys []string, n int, err error)
	PendingDeletes(ctx context.Context, limit int) ([]string, error)
	Deleted(ctx context.Context, keys []string) error
	TrimEvents(ctx context.Context, before time.Time, max int64, limit int) (int, error)
	Named(ctx context.Context, key string) (bool, error)
	Size() int64
	Damaged() int64
}

// Opener opens one and the same store again and again: what was committed
// before Close must be there after it. The store's clock is Now.
type Opener func() Store

// Now is when the tests happen: what Options.Now must answer.
var Now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// Run runs the contract. fresh makes a new, empty store for each test, whose webhook is told of every end.
func Run(t *testing.T, fresh func(t *testing.T) Opener) {
	for _, g := range []map[string]func(*env){sellerTests, submitTests, recordTests, eventTests, sweepTests, retentionTests, outboxTests, uploadTests, eraseTests} {
		for name, test := range g {
			t.Run(name, func(t *testing.T) {
				e := &env{T: t, open: fresh(t), ctx: t.Context(), now: Now}
				e.Store = e.open()
				defer func() {
					if d := e.Damaged(); d != 0 {
						t.Errorf("%d damaged records", d)
					}
					e.must(e.Close())
				}()
				test(e)
			})
		}
	}
}

// env is one test's store and what helps to talk to it.
type env struct {
	*testing.T
	Store
	open Opener
	ctx  context.Context
	now  time.Time
}

// reopen closes the store and opens it again.
func (e *env) reopen() {
	e.Helper()
	e.must(e.Close())
	e.Store = e.open()
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// later moves the clock of the test on.
func (e *env) later(d time.Duration) time.Time {
	e.now = e.now.Add(d)
	return e.now
}

// seller puts a seller.
func (e *env) seller(id string) order.Seller {
	e.Helper()
	s, _, err := e.PutSeller(e.ctx, order.Seller{
		ID: id, StatusURL: "https://" + id + ".example/status/{order_id}",
		Headers: []order.Header{{Name: "Authorization", Value: "Bearer " + id}},
	})
	e.must(err)
	return s
}

// submitAll submits and returns what became of each.
func (e *env) submitAll(subs ...order.Submission) []order.Submitted {
	e.Helper()
	done, err := e.Submit(e.ctx, subs, 72*time.Hour, e.now)
	e.must(err)
	if len(done) != len(subs) {
		e.Fatalf("%d answers to %d submissions", len(done), len(subs))
	}
	return done
}

// submit submits orders of one seller and returns them.
func (e *env) submit(seller string, ids ...string) []order.Order {
	e.Helper()
	var subs []order.Submission
	for _, id := range ids {
		subs = append(subs, order.Submission{OrderID: id, SellerID: seller})
	}
	var list []order.Order
	for _, d := range e.submitAll(subs...) {
		e.must(d.Err)
		list = append(list, d.Order)
	}
	return list
}

// get returns an order.
func (e *env) get(id string) order.Order {
	e.Helper()
	o, err := e.Order(e.ctx, id)
	e.must(err)
	return o
}

// ended reports whether an order has ended.
func (e *env) ended(id string) bool {
	e.Helper()
	o := e.get(id)
	return o.Ended()
}

// policy is the policy of the tests.
var policy = order.Policy{
	Deadline: 72 * time.Hour, GiveUpAfter: order.GiveUpAfter{NotFound: 2 * time.Hour, InvalidResponse: 6 * time.Hour, RejectedResult: 24 * time.Hour},
	MaxRetryAfter: time.Hour, Interval: 15 * time.Minute, ProgressEvents: true,
}

// poll makes the change that a poll with this observation asks for.
func (e *env) poll(ref order.Ref, tick uint64, obs order.Observation) *order.Change {
	now := e.now
	obs.StartedAt = now
	obs.Answered = obs.Outcome != order.Timeout && obs.Outcome != order.Unreachable
	return &order.Change{Ref: ref, Decide: func(o order.Order) order.Decision {
		return policy.Decide(o, obs, order.Poll{Tick: tick, Evidence: order.Evidence{SellerValidAt: now, OtherAnsweredAt: now}}, now)
	}}
}

// record commits changes and fails the test if one was refused.
func (e *env) record(changes ...*order.Change) {
	e.Helper()
	e.must(e.Record(e.ctx, &order.Batch{Changes: changes, FuseShare: 0.1, Now: e.now}))
	for _, c := range changes {
		e.must(c.Err)
	}
}

// complete ends an order with a text and these files.
func (e *env) complete(ref order.Ref, keys ...string) *order.Change {
	text := "done"
	r := &order.Result{OutputType: order.OutputText, Text: &text}
	for _, k := range keys {
		r.Files = append(r.Files, order.File{Filename: "f", MIMEType: "text/plain", Size: 100, SHA256: "00", ObjectKey: k})
	}
	return e.poll(ref, 1, order.Observation{Outcome: order.Completed, HTTPStatus: 200, Result: r})
}

func ptr[T any](v T) *T { return &v }
