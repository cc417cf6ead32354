package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// recordsWith returns the live records that hold the sentinel, in key or value.
func recordsWith(t *testing.T, s *Store, sentinel string) (found []string) {
	t.Helper()
	must(t, s.db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				if bytes.Contains(k, []byte(sentinel)) || bytes.Contains(v, []byte(sentinel)) {
					found = append(found, fmt.Sprintf("%s %x", name, k))
				}
				return nil
			})
		})
	}))
	return found
}

// GUARANTEES, G29: no live record holds anything of an erased buyer's, and all else stays as it was.
func TestErasedIsGone(t *testing.T) {
	const sentinel = "SENTINEL"
	text, fraction := sentinel+" text", 0.5
	policy := order.Policy{Interval: time.Minute, ProgressEvents: true, MaxRetryAfter: time.Hour}
	for _, c := range []struct {
		name string
		end  order.Observation
	}{
		{"completed", order.Observation{Outcome: order.Completed, Result: &order.Result{
			OutputType: order.OutputText, Text: &text, URL: "https://x.example/" + sentinel,
			Files: []order.File{{Filename: sentinel + ".txt", Size: 5, SHA256: "ab", ObjectKey: "orders/o/1"}, {Filename: sentinel, URL: "https://x.example/" + sentinel}},
		}}},
		{"failed", order.Observation{Outcome: order.SellerFailed, Message: sentinel, SellerError: order.SellerError{Code: sentinel, Message: sentinel}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpen(t, testOptions(dir))
			putSeller(t, s, "a")
			done, err := s.Submit(t.Context(), []order.Submission{
				{OrderID: "o", SellerID: "a", Metadata: map[string]string{sentinel + "-key": sentinel + "-value"}}, {OrderID: "other", SellerID: "a"},
			}, 72*time.Hour, testNow)
			must(t, err)
			now := testNow
			poll := func(ref order.Ref, obs order.Observation) {
				now = now.Add(time.Hour)
				obs.StartedAt, obs.Answered = now, true
				must(t, s.Record(t.Context(), &order.Batch{Now: now, Changes: []*order.Change{{Ref: ref, Decide: func(o order.Order) order.Decision {
					return policy.Decide(o, obs, order.Poll{Tick: o.Tick + 1}, now)
				}}}}))
			}
			o, other := done[0].Order.Ref, done[1].Order.Ref
			for i := range 30 { // more than the order's history shows
				poll(o, order.Observation{Outcome: order.Processing, Progress: &fraction, ETASeconds: &fraction, Message: fmt.Sprint(sentinel, i)})
				poll(other, order.Observation{Outcome: order.Processing, Message: fmt.Sprint("other", i)})
			}
			for _, kind := range []order.Outcome{order.HTTPError, order.InvalidResponse, order.HTTPError} {
				poll(o, order.Observation{Outcome: kind, Detail: sentinel + " detail", HTTPStatus: 500})
			}
			poll(o, c.end)
			if found := recordsWith(t, s, sentinel); len(found) < 30 {
				t.Fatalf("planted in %d records only: %v", len(found), found)
			}
			_, last := s.EventRange()
			otherEvents, err := s.History(t.Context(), "other")
			must(t, err)
			must(t, s.Erase(t.Context(), "o"))
			if found := recordsWith(t, s, sentinel); len(found) > 0 {
				t.Errorf("still in %v", found)
			}
			if _, l := s.EventRange(); l != last {
				t.Errorf("the newest event is %d, was %d", l, last)
			}
			if h, err := s.History(t.Context(), "other"); err != nil || len(h) != len(otherEvents) || !slices.ContainsFunc(h, func(ev order.Event) bool { return ev.Message == "other29" }) {
				t.Errorf("another order's history: %+v, %v", h, err)
			}
			checkConsistent(t, s)
			must(t, s.Close())
			s = openTest(t, dir)
			if x, err := s.Order(t.Context(), "o"); err != nil || !x.Erased || x.EndedAt.IsZero() {
				t.Errorf("%+v, %v", x, err)
			}
			checkConsistent(t, s)
		})
	}
}

// A feed of more events than one read looks at is searched to its end.
func TestEraseSearchesALongFeed(t *testing.T) {
	s := openTest(t, t.TempDir())
	putSeller(t, s, "a")
	o := submit(t, s, "a", "o")[0]
	progress := func(message string) *order.Change {
		c := change(o.Ref, func(*order.Order) {})
		decide := c.Decide
		c.Decide = func(o order.Order) order.Decision {
			d := decide(o)
			d.Events = []order.Event{{Type: order.EventProgress, Message: message, At: testNow}}
			return d
		}
		return c
	}
	record(t, s, progress("SENTINEL first"))
	submit(t, s, "a", ids("x", erasePart+100)...)
	record(t, s, progress("SENTINEL last"), complete(o.Ref))
	must(t, s.Erase(t.Context(), "o"))
	if found := recordsWith(t, s, "SENTINEL"); len(found) > 0 {
		t.Errorf("still in %v", found)
	}
}

// Between the search of the feed and the commit anything may happen to the order.
func TestErasedTwiceAtTheSameMoment(t *testing.T) {
	s := openTest(t, t.TempDir())
	putSeller(t, s, "a")
	record(t, s, complete(submit(t, s, "a", "o")[0].Ref, "orders/o/1"))
	results := make(chan error, 4)
	for range cap(results) {
		go func() { results <- s.Erase(t.Context(), "o") }()
	}
	erased := 0
	for range cap(results) {
		if err := <-results; err == nil {
			erased++
		} else if !errors.Is(err, order.ErrErased) {
			t.Error(err)
		}
	}
	if erased != 1 {
		t.Errorf("erased %d times", erased)
	}
	if _, bytes := s.SellerUsage(1); bytes != 0 {
		t.Errorf("%d bytes", bytes)
	}
	checkConsistent(t, s)
}
