package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"poller/order"
)

// fullStore fills a store with a record of every kind and closes it.
func fullStore(t *testing.T, dir string) {
	t.Helper()
	s := mustOpen(t, testOptions(dir))
	putSeller(t, s, "a")
	putSeller(t, s, "b")
	o := submit(t, s, "a", "a1", "a2", "a3", "a4")
	submit(t, s, "b", "b1")
	done, err := s.Submit(t.Context(), []order.Submission{{OrderID: "b2", SellerID: "b", RemoteID: "job"}}, 0, testNow)
	must(t, err)
	must(t, done[0].Err)
	held := change(o[1].Ref, func(o *order.Order) { o.Held = &order.Failure{Code: "c", Message: "m"} })
	trouble := change(o[3].Ref, func(o *order.Order) { o.Message = "m" })
	decide := trouble.Decide
	trouble.Decide = func(o order.Order) order.Decision {
		d := decide(o)
		d.Events = []order.Event{{Type: order.EventTrouble, Outcome: order.Timeout, At: testNow}, {Type: order.EventProgress, Message: "m", At: testNow}}
		return d
	}
	_, err = s.AddUpload(t.Context(), "b1", "orders/b1/up", 10, 1000)
	must(t, err)
	sw, err := s.BeginSweep(t.Context(), order.Sweep{Trigger: order.TriggerCron, StartedAt: testNow})
	must(t, err)
	must(t, s.Record(t.Context(), &order.Batch{
		Changes: []*order.Change{complete(o[0].Ref, "orders/a1/k"), held, trouble}, Now: testNow,
		Books:  func() order.Sweep { return sw },
		Health: map[uint32]order.Health{1: {LastPolledAt: testNow}},
	}))
	// One delivery is tried again, one is set aside, one is new.
	c := submit(t, s, "b", "c1", "c2")
	record(t, s, complete(c[0].Ref), complete(c[1].Ref))
	due, _, err := s.Deliveries(t.Context(), testNow, 3)
	must(t, err)
	must(t, s.Delivered(t.Context(), []order.Attempt{
		{Number: due[0].Event.Number, Attempts: 1, DueAt: testNow.Add(time.Hour)}, {Number: due[1].Event.Number, Attempts: 1, Dead: true},
	}))
	must(t, s.Close())
}

// useAll calls everything that reads or writes. Its error: the store broke.
func useAll(t *testing.T, s *Store) error {
	t.Helper()
	ctx := t.Context()
	for _, id := range []string{"a1", "a2", "a3", "a4", "b1", "b2", "nope"} {
		_, _ = s.Order(ctx, id)
		_, _ = s.History(ctx, id)
		_, _ = s.Submit(ctx, []order.Submission{{OrderID: id, SellerID: "a"}}, 0, testNow)
		_, _ = s.UpdateOrder(ctx, id, func(o order.Order) (order.Decision, error) {
			o.Polls++
			return order.Decision{Order: o, Dropped: o.Ended()}, nil
		})
	}
	due, _, _ := s.Deliveries(ctx, testNow.Add(2*time.Hour), 100)
	for _, d := range due {
		_ = s.Delivered(ctx, []order.Attempt{{Number: d.Event.Number, Taken: true}})
	}
	_, _, _ = s.Upload(ctx, "orders/b1/up")
	_, _ = s.AddUpload(ctx, "b1", "orders/b1/more", 10, 1000)
	_, _, _, _ = s.ReplayAfter(ctx, 0, testNow, 100)
	for _, id := range []string{"a1", "c1", "c2"} {
		_, _ = s.ReplayOrder(ctx, id, testNow)
		_ = s.Erase(ctx, id)
	}
	page, _ := s.DuePage(ctx, 99, testNow, false, order.Ref{}, 100)
	var changes []*order.Change
	for _, d := range page.Items {
		changes = append(changes, change(d.Ref, func(o *order.Order) { o.Polls++ }))
	}
	_ = s.Record(ctx, &order.Batch{Changes: changes, Now: testNow})
	_, _, _ = s.Orders(ctx, order.Filter{}, "", 100)
	_, _, _ = s.Orders(ctx, order.Filter{Held: true}, "", 100)
	_, _, _ = s.Sellers(ctx, "", 100)
	_, _ = s.SellerByNumber(ctx, 1)
	_, _ = s.Healths(ctx)
	_, _ = s.Events(ctx, 0, 100)
	_, _, _ = s.Sweeps(ctx, "", 100)
	_, _, _ = s.Release(ctx, "", 100, testNow)
	for _, n := range []uint32{1, 2} {
		_, _, _ = s.CancelSeller(ctx, n, 100, testNow)
	}
	for range 2 { // the first time those go into overtime of which the webhook has not told
		_, _, _ = s.Expire(ctx, testNow.AddDate(0, 0, 1), 100)
	}
	_, _ = s.TrimEvents(ctx, testNow.AddDate(0, 0, 1), 0, 100)
	return s.Err()
}

// GUARANTEES, G9: whatever single record has a flipped bit or a cut end, nothing
// panics, it is counted, it is left in place, and orders that have nothing to do with it go on.
func TestDamagedRecords(t *testing.T) {
	dir := t.TempDir()
	fullStore(t, dir)
	type place struct {
		b   *bucket
		key []byte
	}
	var places []place
	corrupt(t, dir, func(tx *bolt.Tx) error {
		for _, b := range buckets {
			c := tx.Bucket(b.name).Cursor()
			for k, v := c.First(); k != nil; k, v = c.Next() {
				if len(v) > 0 {
					places = append(places, place{b, slices.Clone(k)})
				}
			}
		}
		return nil
	})
	if len(places) < 30 {
		t.Fatalf("only %d records", len(places))
	}
	spoils := map[string]func([]byte) []byte{
		"bit":   func(v []byte) []byte { v[len(v)/2] ^= 4; return v },
		"cut":   func(v []byte) []byte { return v[:len(v)-1] },
		"empty": func([]byte) []byte { return []byte{} },
	}
	for _, p := range places {
		if p.b == bMeta && string(p.key) == string(keyFormat) {
			continue // TestOpenRefuses has it
		}
		for how, spoil := range spoils {
			t.Run(fmt.Sprintf("%s/%x/%s", p.b.name, p.key, how), func(t *testing.T) {
				here := t.TempDir()
				copyFile(t, testOptions(dir).Path, testOptions(here).Path)
				copyFile(t, testOptions(dir).KeyFile, testOptions(here).KeyFile)
				var bad []byte
				corrupt(t, here, func(tx *bolt.Tx) error {
					b := tx.Bucket(p.b.name)
					bad = spoil(slices.Clone(b.Get(p.key)))
					return b.Put(p.key, bad)
				})
				s := mustOpen(t, testOptions(here))
				must(t, useAll(t, s))
				counted := s.Damaged()
				must(t, s.Close())
				if counted == 0 && p.b != bDead && p.b != bMeta { // nobody reads what is set aside
					t.Error("not counted")
				}
				if p.b == bCold || p.b == bHot || p.b == bEnded || p.b == bNames || p.b == bSellers {
					corrupt(t, here, func(tx *bolt.Tx) error {
						if got := tx.Bucket(p.b.name).Get(p.key); string(got) != string(bad) {
							t.Errorf("not left in place: %x, was %x", got, bad)
						}
						return nil
					})
				}
			})
		}
	}
}

// One damaged order: the others of its seller are found due, loaded, decided, ended.
func TestDamagedOrderHarmsNoOther(t *testing.T) {
	for _, b := range []*bucket{bHot, bCold} {
		t.Run(string(b.name), func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpen(t, testOptions(dir))
			putSeller(t, s, "a")
			list := submit(t, s, "a", "o1", "o2", "o3")
			must(t, s.Close())
			corrupt(t, dir, func(tx *bolt.Tx) error {
				v := slices.Clone(tx.Bucket(b.name).Get(refKey(list[1].Ref)))
				v[3] ^= 0x10
				return tx.Bucket(b.name).Put(refKey(list[1].Ref), v)
			})
			core, logs := observer.New(zap.ErrorLevel)
			o := testOptions(dir)
			o.Log = zap.New(core)
			s = mustOpen(t, o)
			defer s.Close()
			for range 3 {
				loaded, err := s.Load(t.Context(), []order.Ref{list[0].Ref, list[1].Ref, list[2].Ref})
				must(t, err)
				if len(loaded) != 2 || loaded[0].ID != "o1" || loaded[1].ID != "o3" {
					t.Fatalf("%+v", loaded)
				}
			}
			var changes []*order.Change
			for _, x := range list {
				changes = append(changes, complete(x.Ref))
			}
			must(t, s.Record(t.Context(), &order.Batch{Changes: changes, Now: testNow}))
			if changes[0].Err != nil || !errors.Is(changes[1].Err, order.ErrDamaged) || changes[2].Err != nil {
				t.Errorf("%v, %v, %v", changes[0].Err, changes[1].Err, changes[2].Err)
			}
			if _, err := s.Order(t.Context(), "o2"); !errors.Is(err, order.ErrDamaged) {
				t.Error(err)
			}
			if c := s.Counts(); c[order.StateCompleted] != 2 || c[order.StateProcessing] != 1 {
				t.Error(c)
			}
			if s.Damaged() != 1 || logs.Len() != 1 {
				t.Errorf("%d damaged, %d logged", s.Damaged(), logs.Len())
			}
		})
	}
}

// A damaged fuse gives nobody up.
func TestDamagedFuseIsBlown(t *testing.T) {
	dir := t.TempDir()
	fullStore(t, dir)
	corrupt(t, dir, func(tx *bolt.Tx) error { return tx.Bucket(bMeta.name).Put(keyFuse, []byte("x")) })
	s := openTest(t, dir)
	if !s.Fuse().Blown {
		t.Error("not blown")
	}
	_, _, err := s.Release(t.Context(), "", 100, testNow)
	must(t, err)
	if s.Fuse().Blown {
		t.Error("still blown after a release")
	}
}

// Both copies of the counters: no number may be given twice, so nothing starts.
func TestDamagedCounters(t *testing.T) {
	dir := t.TempDir()
	fullStore(t, dir)
	spoil := func(key []byte) {
		corrupt(t, dir, func(tx *bolt.Tx) error { return tx.Bucket(bMeta.name).Put(key, []byte("x")) })
	}
	spoil(keyCounters)
	s := mustOpen(t, testOptions(dir))
	if _, last := s.EventRange(); last == 0 {
		t.Error("counters lost")
	}
	must(t, s.Close())
	spoil(keyCounters2)
	if _, err := Open(t.Context(), testOptions(dir)); !errors.Is(err, order.ErrDamaged) {
		t.Fatal(err)
	}
}
