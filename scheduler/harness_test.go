package scheduler

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"poller/metrics"
	"poller/order"
	"poller/store"
)

// poll is one poll as the fake sellers saw it.
type seenPoll struct {
	seller, order string
	began, ended  time.Time
	outcome       order.Outcome
}

// world is a scheduler over a real store, with sellers that follow a script, in virtual time.
type world struct {
	t     *testing.T
	store *store.Store
	s     *Scheduler
	m     *metrics.Metrics
	cfg   Config

	mu      sync.Mutex
	answer  func(seller, id string, n int) (order.Observation, time.Duration) // n: the order's polls so far
	counts  map[string]int
	at      map[string]int // polls in flight now, by order
	most    int            // polls in flight at once
	now     int
	polls   []seenPoll
	twice   int // polls of an order while another was in flight
	enough  bool
	wrap    func(Store) Store // puts faults between the scheduler and the store; nil: none
	wallOff time.Duration
	removed []string

	cancel context.CancelFunc
	done   chan error
	closed bool
}

func processing() order.Observation {
	return order.Observation{Outcome: order.Processing, Answered: true, HTTPStatus: 200, Bytes: 20}
}

func completed(text string) order.Observation {
	return order.Observation{Outcome: order.Completed, Answered: true, HTTPStatus: 200, Bytes: 20, Result: &order.Result{OutputType: order.OutputText, Text: &text}}
}

func notFound() order.Observation {
	return order.Observation{Outcome: order.NotFound, Detail: "HTTP 404", Answered: true, HTTPStatus: 404}
}

func unreachable() order.Observation {
	return order.Observation{Outcome: order.Unreachable, Detail: "connect: connection refused", NoConnection: true}
}

func timedOut() order.Observation {
	return order.Observation{Outcome: order.Timeout, Detail: "no answer within 8s"}
}

func throttled(after time.Duration) order.Observation {
	o := order.Observation{Outcome: order.Throttled, Detail: "HTTP 429", Answered: true, HTTPStatus: 429}
	if after > 0 {
		o.RetryAfter = &after
	}
	return o
}

// Fetch is a poll of a scripted seller.
func (w *world) Fetch(ctx context.Context, a order.Ask) order.Observation {
	began := time.Now()
	w.mu.Lock()
	key := a.Seller.ID + "/" + a.RemoteID
	n := w.counts[key]
	w.counts[key]++
	if w.at[key]++; w.at[key] > 1 {
		w.twice++
	}
	if w.now++; w.now > w.most {
		w.most = w.now
	}
	obs, takes := w.answer(a.Seller.ID, a.RemoteID, n)
	w.mu.Unlock()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			obs = order.Observation{Outcome: order.LocalFault, Detail: "shutting down"}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at[key]--
	w.now--
	obs.StartedAt, obs.Duration = w.wallTime().Add(time.Until(began)), time.Since(began)
	w.polls = append(w.polls, seenPoll{a.Seller.ID, a.RemoteID, began, time.Now(), obs.Outcome})
	return obs
}

// Remove is the result store's.
func (w *world) Remove(_ context.Context, keys ...string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.removed = append(w.removed, keys...)
	return nil
}

func (w *world) wallTime() time.Time { return time.Now().Add(w.wallOff) }

// newWorld makes a store and a stopped scheduler; every 15 minutes, by default.
func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, counts: map[string]int{}, at: map[string]int{}, enough: true,
		answer: func(string, string, int) (order.Observation, time.Duration) { return processing(), 0 },
		cfg: Config{
			Cron: "*/15 * * * *", Timezone: "UTC", CatchUp: true, Workers: 512, PerHost: 16, PerSeller: 4,
			BreakerFailures: 3, BreakerProbes: []time.Duration{time.Minute, 5 * time.Minute},
			Policy: order.Policy{Deadline: 72 * time.Hour, MaxRetryAfter: time.Hour, ProgressEvents: true,
				GiveUpAfter: order.GiveUpAfter{NotFound: 2 * time.Hour, InvalidResponse: 6 * time.Hour, RejectedResult: 24 * time.Hour}},
			FuseShare: 0.1, ShutdownTimeout: 15 * time.Second,
		}}
	st, err := store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "poller.db"), KeyFile: filepath.Join(dir, "secrets.key"), MapSize: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	w.store = st
	return w
}

// start runs the scheduler.
func (w *world) start() {
	w.t.Helper()
	w.m = metrics.New(prometheus.NewRegistry())
	var st Store = w.store
	if w.wrap != nil {
		st = w.wrap(st)
	}
	s, err := New(Options{
		Store: st, Fetcher: w, Files: w, Metrics: w.m, Log: zaptest.NewLogger(w.t, zaptest.Level(zap.WarnLevel)), Config: w.cfg,
		Wall:   func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.wallTime() },
		Enough: func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.enough },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.s = s
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.done = cancel, make(chan error, 1)
	go func() { w.done <- s.Run(ctx) }()
	synctest.Wait()
}

// stop ends the scheduler gracefully.
func (w *world) stop() {
	w.t.Helper()
	w.cancel()
	if err := <-w.done; err != nil {
		w.t.Errorf("Run: %v", err)
	}
	if w.twice > 0 {
		w.t.Errorf("%d polls of an order that was being polled", w.twice)
	}
}

func (w *world) close() {
	w.stop()
	w.closed = true
	if err := w.store.Close(); err != nil {
		w.t.Error(err)
	}
}

// seller registers a seller at a host of its own (or at the named one).
func (w *world) seller(id string, change ...func(*order.Seller)) order.Seller {
	w.t.Helper()
	x := order.Seller{ID: id, StatusURL: "https://" + id + ".example/{order_id}", Headers: []order.Header{{Name: "Authorization", Value: "k"}}}
	for _, f := range change {
		f(&x)
	}
	put, _, err := w.store.PutSeller(w.t.Context(), x)
	if err != nil {
		w.t.Fatal(err)
	}
	return put
}

// submit submits n orders of the seller, named <seller>-<i>.
func (w *world) submit(seller string, n int, change ...func(*order.Submission)) {
	w.t.Helper()
	subs := make([]order.Submission, n)
	for i := range subs {
		subs[i] = order.Submission{OrderID: fmt.Sprintf("%s-%d", seller, i), SellerID: seller}
		for _, f := range change {
			f(&subs[i])
		}
	}
	out, err := w.store.Submit(w.t.Context(), subs, w.cfg.Policy.Deadline, w.wallTime().Truncate(time.Millisecond))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range out {
		if out[i].Err != nil {
			w.t.Fatal(out[i].Err)
		}
	}
}

// script sets the sellers' behaviour.
func (w *world) script(f func(seller, id string, n int) (order.Observation, time.Duration)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
}

// pollsOf returns the seller's polls since the given time.
func (w *world) pollsOf(seller string, since time.Time) (out []seenPoll) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.polls {
		if p.seller == seller && !p.began.Before(since) {
			out = append(out, p)
		}
	}
	return out
}

func (w *world) order(id string) order.Order {
	w.t.Helper()
	o, err := w.store.Order(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// sweeps returns the books of the latest sweeps, newest first.
func (w *world) sweeps() []order.Sweep {
	w.t.Helper()
	list, _, err := w.store.Sweeps(w.t.Context(), "", 100)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, s := range list {
		if s.State != order.SweepRunning && s.Due != s.Polled+s.Skipped+s.LeftToSeller+s.Remaining {
			w.t.Errorf("sweep %d: due %d is not polled %d + skipped %d + left %d + remaining %d", s.ID, s.Due, s.Polled, s.Skipped, s.LeftToSeller, s.Remaining)
		}
	}
	return list
}

// toTick sleeps until just after the next quarter of an hour, and returns when it was.
func (w *world) toTick() time.Time {
	now := time.Now()
	tick := now.Truncate(15 * time.Minute).Add(15 * time.Minute)
	time.Sleep(tick.Sub(now))
	synctest.Wait()
	return tick
}

func (w *world) states() map[order.State]int64 { return w.store.Counts() }

// virtual runs f in a bubble of virtual time.
func virtual(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { // a test that gave up still ends its goroutines
			if t.Failed() && w.done != nil && !w.closed {
				w.close()
			}
		}()
		f(t, w)
	})
}

// total is how many polls there were.
func (w *world) total() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.polls)
}
