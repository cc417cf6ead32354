package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"poller/order"
	"poller/outbox"
)

const (
	oldSecret   = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	newSecret   = "whsec_bmV3LXNlY3JldC1vZi10aGlydHktdHdvLWJ5dGVzIQ=="
	wrongSecret = "whsec_d3Jvbmctc2VjcmV0LW9mLXRoaXJ0eS10d28tYnl0ZXM="
)

// queue is a store with one delivery. It says when that is taken.
type queue struct {
	mu    sync.Mutex
	left  []order.Delivery
	taken chan struct{}
}

func (q *queue) Deliveries(context.Context, time.Time, int) ([]order.Delivery, time.Time, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.left), time.Time{}, nil
}

func (q *queue) Delivered(_ context.Context, a []order.Attempt) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if a[0].Taken && len(q.left) > 0 {
		q.left = nil
		close(q.taken)
	}
	return nil
}

func (*queue) OutboxChanged() <-chan struct{} { return nil }

// deliver has poller's own outbox deliver the end of an order, as if its clock were so far off.
func deliver(t *testing.T, url string, number uint64, off time.Duration, secrets ...string) {
	t.Helper()
	at := time.Now().Add(-time.Hour)
	text := "Größe \u2028 <b>&"
	q := &queue{taken: make(chan struct{}), left: []order.Delivery{{Event: order.Event{
		Number: number, Type: order.EventCompleted, OrderID: "o-1", SellerID: "acme", At: at,
		Order: &order.Order{ID: "o-1", RemoteID: "o-1", SellerID: "acme", State: order.StateCompleted, EndedAt: at, Result: &order.Result{OutputType: order.OutputText, Text: &text}},
	}}}}
	o, err := outbox.New(outbox.Options{
		Store: q, StoreID: "st", Version: "test", Config: outbox.Config{URL: url, Secrets: secrets},
		Now: func() time.Time { return time.Now().Add(off) }, Log: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	select {
	case <-q.taken:
	case <-ctx.Done():
		t.Fatal("not taken within a minute")
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// webhook is a request as poller makes it.
type webhook struct {
	header http.Header
	body   []byte
}

// overheard is a webhook on its way.
func overheard(t *testing.T, number uint64, off time.Duration, secrets ...string) webhook {
	t.Helper()
	var got webhook
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = webhook{r.Header.Clone(), b}
	}))
	defer server.Close()
	deliver(t, server.URL, number, off, secrets...)
	return got
}

func (w webhook) with(name, value string) webhook {
	w.header = w.header.Clone()
	w.header.Set(name, value)
	return w
}

func (w webhook) sent(t *testing.T, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(w.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = w.header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// examine checks a receiver that has newSecret; lines is what it has kept, one a line.
func examine(t *testing.T, url string, lines func(n int) []string) {
	t.Helper()
	// GUARANTEES, G24: during a rotation both secrets sign, and either verifies.
	deliver(t, url, 1, 0, newSecret)
	deliver(t, url, 2, 0, oldSecret, newSecret)
	deliver(t, url, 3, 0, newSecret, oldSecret)

	w := overheard(t, 4, 0, newSecret)
	later := overheard(t, 4, 2*time.Minute, newSecret)
	fifth := overheard(t, 5, 0, newSecret)
	second := func(off time.Duration) string { return strconv.FormatInt(time.Now().Add(off).Unix(), 10) }
	signature := w.header.Get("webhook-signature")
	changed := "v1," + string(signature[3]^1) + signature[4:]
	for _, c := range []struct {
		name string
		webhook
		want int
	}{
		{"changed body", webhook{w.header, bytes.Replace(w.body, []byte("acme"), []byte("acne"), 1)}, 401},
		{"no body", webhook{w.header, nil}, 401},
		{"changed id", w.with("webhook-id", "st-5"), 401},
		{"no id", w.with("webhook-id", ""), 401},
		{"changed timestamp", w.with("webhook-timestamp", second(2*time.Second)), 401},
		{"no timestamp", w.with("webhook-timestamp", ""), 401},
		{"timestamp that is no number", w.with("webhook-timestamp", "1e9"), 401},
		{"changed signature", w.with("webhook-signature", changed), 401},
		{"another attempt's signature", w.with("webhook-signature", later.header.Get("webhook-signature")), 401},
		{"no signature", w.with("webhook-signature", ""), 401},
		{"half a signature", w.with("webhook-signature", signature[:len(signature)/2]), 401},
		{"signature of no version", w.with("webhook-signature", strings.TrimPrefix(signature, "v1,")), 401},
		{"another secret", overheard(t, 4, 0, wrongSecret), 401},
		{"the old secret alone", overheard(t, 4, 0, oldSecret), 401},
		{"older than five minutes", overheard(t, 4, -5*time.Minute-2*time.Second, newSecret), 401},
		{"far ahead", overheard(t, 4, 6*time.Minute, newSecret), 401},
		{"as sent", w, 204},
		{"again", w, 204},
		{"a later attempt", later, 204},
		{"among unknown signatures", fifth.with("webhook-signature", "v2,xyz v1,AAAA "+fifth.header.Get("webhook-signature")), 204},
	} {
		if got := c.sent(t, url); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	var ids []string
	for _, l := range lines(5) {
		kind, rest, _ := strings.Cut(l, " ")
		id, data, _ := strings.Cut(rest, " ")
		ids = append(ids, id)
		var v order.View
		if err := json.Unmarshal([]byte(data), &v); err != nil || kind != "order.completed" || v.OrderID != "o-1" || *v.Result.Text != "Größe \u2028 <b>&" {
			t.Errorf("kept %s", l)
		}
	}
	if got := strings.Join(ids, " "); got != "st-1 st-2 st-3 st-4 st-5" {
		t.Errorf("kept %s, want each once", got)
	}
}

func TestTheReceiverInGo(t *testing.T) {
	var kept []string
	r, err := NewReceiver([]string{newSecret}, func(m Message) error {
		kept = append(kept, m.Type+" "+m.Store+"-"+strconv.FormatUint(m.Number, 10)+" "+string(m.Data))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(r)
	defer server.Close()
	examine(t, server.URL, func(int) []string { return kept })

	if resp, err := server.Client().Get(server.URL); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %v, %v", resp, err)
	}
	for _, secrets := range [][]string{nil, {""}, {"whsec_"}, {newSecret, "whsec_?"}} {
		if _, err := NewReceiver(secrets, nil); err == nil {
			t.Errorf("secrets %q are taken", secrets)
		}
	}
}

// What could not be kept is not said to be.
func TestWhatIsNotKeptIsRefused(t *testing.T) {
	full := true
	r, err := NewReceiver([]string{oldSecret, newSecret}, func(Message) error {
		if full {
			return errors.New("full")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(r)
	defer server.Close()
	w := overheard(t, 1, 0, oldSecret)
	if got := w.sent(t, server.URL); got != http.StatusServiceUnavailable {
		t.Errorf("%d", got)
	}
	full = false
	if got := w.sent(t, server.URL); got != http.StatusNoContent {
		t.Errorf("%d", got)
	}
}
