package outbox_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/zap/zaptest"

	"poller/order"
	"poller/outbox"
	"poller/store"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// realStore opens the store in dir. All that it knows of the time is what the outbox tells it.
func realStore(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{
		Path: filepath.Join(dir, "poller.db"), KeyFile: filepath.Join(dir, "secrets.key"),
		WebhookEvents: order.EndEvents, MapSize: 1 << 20, Log: zaptest.NewLogger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// endOrders has so many orders submitted and completed.
func endOrders(t *testing.T, s *store.Store, n int) {
	t.Helper()
	ctx, now := t.Context(), time.Now()
	_, _, err := s.PutSeller(ctx, order.Seller{ID: "acme", StatusURL: "https://acme.example/{order_id}"})
	if err != nil {
		t.Fatal(err)
	}
	subs := make([]order.Submission, n)
	for i := range subs {
		subs[i] = order.Submission{OrderID: fmt.Sprint("o-", i), SellerID: "acme", Metadata: map[string]string{"b": "2", "a": "1"}}
	}
	made, err := s.Submit(ctx, subs, time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	b := &order.Batch{Now: now}
	for _, m := range made {
		b.Changes = append(b.Changes, &order.Change{Ref: m.Order.Ref, Decide: func(o order.Order) order.Decision {
			text := "Größe 42 <b>"
			o.State, o.EndedAt, o.Result = order.StateCompleted, now, &order.Result{OutputType: order.OutputText, Text: &text}
			return order.Decision{Order: o, Counts: true, Events: []order.Event{{Type: order.EventCompleted, At: now}}}
		}})
	}
	if err := s.Record(ctx, b); err != nil {
		t.Fatal(err)
	}
}

// A hook takes webhooks that verify, refusing some, and notes what it was sent.
type hook struct {
	*httptest.Server
	changed chan struct{} // has room for one

	mu       sync.Mutex
	refuse   func(id string) bool
	taken    map[string]int
	attempts map[string]int
	bodies   map[string]string
}

func newHook(t *testing.T) *hook {
	t.Helper()
	v, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	h := &hook{
		changed: make(chan struct{}, 1), refuse: func(string) bool { return false },
		taken: map[string]int{}, attempts: map[string]int{}, bodies: map[string]string{},
	}
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // cut off by a stop
		}
		if err := v.Verify(body, r.Header); err != nil {
			t.Error(err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		id := r.Header.Get("webhook-id")
		if was, again := h.bodies[id]; again && was != string(body) {
			t.Errorf("%s: another body:\n%s\n%s", id, was, body)
		}
		h.bodies[id] = string(body)
		h.attempts[id]++
		if h.refuse(id) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		h.taken[id]++
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) counts() (taken, attempts int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.attempts {
		attempts += n
	}
	return len(h.taken), attempts
}

// run has an outbox deliver until the store holds so many deliveries that are pending, and so many attempts were made.
func (h *hook) run(t *testing.T, s *store.Store, pending int64, attempts int, now func() time.Time) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(h.Certificate())
	o, err := outbox.New(outbox.Options{
		Store: observed{s, h.changed}, StoreID: s.ID(), Version: "test", Now: now, Log: zaptest.NewLogger(t),
		Config: outbox.Config{URL: h.URL, Secrets: []string{secret}, RootCAs: roots},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	for {
		left, dead := s.OutboxCounts()
		if _, n := h.counts(); left == pending && n >= attempts {
			break
		}
		select {
		case <-h.changed:
		case <-ctx.Done():
			t.Fatalf("%d pending, %d set aside, want %d pending", left, dead, pending)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// observed says when something was recorded.
type observed struct {
	*store.Store
	recorded chan struct{}
}

func (o observed) Delivered(ctx context.Context, attempts []order.Attempt) error {
	err := o.Store.Delivered(ctx, attempts)
	select {
	case o.recorded <- struct{}{}:
	default:
	}
	return err
}

// GUARANTEES, G4: ends in the real store are delivered, what was taken is known to be after a restart, what was
// not comes again then with the same id and body, and a replay comes once more.
func TestEndsInTheRealStoreAreDeliveredOverRestarts(t *testing.T) {
	const all, refused = 60, 5
	dir, h := t.TempDir(), newHook(t)
	s := realStore(t, dir)
	endOrders(t, s, all)
	_, last := s.EventRange()
	bad := make(map[string]bool)
	for i := range refused { // spread, so that the failures are not eight in a row
		bad[fmt.Sprint(s.ID(), "-", last-uint64(i*11))] = true
	}
	h.refuse = func(id string) bool { return bad[id] }
	now := time.Now()
	h.run(t, s, refused, all, func() time.Time { return now }) // it stands still: no pause ends
	if taken, attempts := h.counts(); taken != all-refused || attempts != all {
		t.Errorf("%d taken in %d attempts", taken, attempts)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = realStore(t, dir)
	if pending, dead := s.OutboxCounts(); pending != refused || dead != 0 {
		t.Errorf("after a restart: %d pending, %d set aside", pending, dead)
	}
	h.mu.Lock()
	h.refuse = func(string) bool { return false }
	h.mu.Unlock()
	h.run(t, s, 0, all+refused, func() time.Time { return now.Add(10 * time.Second) }) // the pauses are over
	if taken, attempts := h.counts(); taken != all || attempts != all+refused {
		t.Errorf("%d taken in %d attempts", taken, attempts)
	}

	if n, err := s.ReplayOrder(t.Context(), "o-7", time.Now()); n != 1 || err != nil {
		t.Fatalf("replayed %d, %v", n, err)
	}
	h.run(t, s, 0, all+refused+1, time.Now)
	twice := 0
	for _, n := range h.taken {
		twice += n - 1
	}
	if twice != 1 {
		t.Errorf("%d taken twice after the replay of one", twice)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = realStore(t, dir)
	defer s.Close()
	if pending, dead := s.OutboxCounts(); pending != 0 || dead != 0 {
		t.Errorf("at the end: %d pending, %d set aside", pending, dead)
	}
}

// A replay that is asked for while an attempt is being made, or waits for its
// commit, is owed one more attempt, whether that one was taken or not.
func TestAReplayBesideAnAttempt(t *testing.T) {
	for name, taken := range map[string]bool{"taken": true, "refused": false} {
		t.Run(name, func(t *testing.T) {
			h, s := newHook(t), realStore(t, t.TempDir())
			defer s.Close()
			endOrders(t, s, 1)
			asked := 0
			h.refuse = func(string) bool {
				if asked++; asked > 3 {
					return false
				}
				if n, err := s.ReplayOrder(t.Context(), "o-0", time.Now()); n != 1 || err != nil {
					t.Errorf("replayed %d, %v", n, err)
				}
				return !taken
			}
			h.run(t, s, 0, 4, time.Now)
			if _, attempts := h.counts(); attempts != 4 {
				t.Errorf("%d attempts, want the first and one for each of three replays", attempts)
			}
		})
	}
}
