package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

var testNow = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// testOptions are for a store in dir.
func testOptions(dir string) Options {
	return Options{
		Path: filepath.Join(dir, "poller.db"), KeyFile: filepath.Join(dir, "secrets.key"),
		WebhookEvents: order.EndEvents, MapSize: 1 << 20, Now: func() time.Time { return testNow },
	}
}

func mustOpen(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// openTest opens a store that is closed when the test ends.
func openTest(t testing.TB, dir string) *Store {
	t.Helper()
	s := mustOpen(t, testOptions(dir))
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func putSeller(t testing.TB, s *Store, id string) order.Seller {
	t.Helper()
	x, _, err := s.PutSeller(t.Context(), order.Seller{
		ID: id, StatusURL: "https://x.example/{order_id}", Headers: []order.Header{{Name: "Authorization", Value: "sentinel-" + id}},
	})
	must(t, err)
	return x
}

func submit(t testing.TB, s *Store, seller string, ids ...string) []order.Order {
	t.Helper()
	subs := make([]order.Submission, len(ids))
	for i, id := range ids {
		subs[i] = order.Submission{OrderID: id, SellerID: seller}
	}
	done, err := s.Submit(t.Context(), subs, time.Hour, testNow)
	must(t, err)
	list := make([]order.Order, len(ids))
	for i, d := range done {
		must(t, d.Err)
		list[i] = d.Order
	}
	return list
}

// change makes a change that sets the order to what edit makes of it, with the event of an end.
func change(ref order.Ref, edit func(*order.Order)) *order.Change {
	return &order.Change{Ref: ref, Decide: func(o order.Order) order.Decision {
		if o.Ended() {
			return order.Decision{Dropped: true, Order: o}
		}
		d := order.Decision{Order: o, Counts: true}
		edit(&d.Order)
		if d.Order.Ended() {
			d.Order.EndedAt = testNow
			d.Events = []order.Event{{Type: endEvent(d.Order.State), At: testNow}}
		}
		return d
	}}
}

func complete(ref order.Ref, keys ...string) *order.Change {
	return change(ref, func(o *order.Order) {
		o.State, o.Result = order.StateCompleted, &order.Result{OutputType: order.OutputFile}
		for _, k := range keys {
			o.Result.Files = append(o.Result.Files, order.File{Filename: "f", Size: 10, ObjectKey: k})
		}
	})
}

func record(t testing.TB, s *Store, changes ...*order.Change) {
	t.Helper()
	must(t, s.Record(t.Context(), &order.Batch{Changes: changes, Now: testNow}))
}

// corrupt lets edit change the raw file of a closed store.
func corrupt(t testing.TB, dir string, edit func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(testOptions(dir).Path, 0o600, &bolt.Options{NoFreelistSync: true, Timeout: time.Second})
	must(t, err)
	must(t, db.Update(edit))
	must(t, db.Close())
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, b, 0o600))
}

func ids(prefix string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%s%06d", prefix, i)
	}
	return list
}
