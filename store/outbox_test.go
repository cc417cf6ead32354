package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"poller/order"
)

// GUARANTEES, G9: a delivery that can't be made is set aside, counted and logged once; the others go out.
func TestADamagedDeliveryIsSetAside(t *testing.T) {
	for _, c := range []struct {
		name   string
		bucket *bucket
		lost   bool // the row is gone: there is nothing to set aside
	}{{"order", bEnded, false}, {"submission", bCold, false}, {"row", bOutbox, false}, {"no row", bOutbox, true}} {
		for _, retry := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/tried before %v", c.name, retry), func(t *testing.T) {
				dir := t.TempDir()
				s := mustOpen(t, testOptions(dir))
				putSeller(t, s, "a")
				list := submit(t, s, "a", "o1", "o2", "o3")
				record(t, s, complete(list[0].Ref), complete(list[1].Ref), complete(list[2].Ref)) // events 4…6
				if retry {
					must(t, s.Delivered(t.Context(), []order.Attempt{{Number: 5, Attempts: 1, DueAt: testNow.Add(time.Second)}}))
				}
				must(t, s.Close())
				key := numberKey(5)
				in := c.bucket
				switch {
				case c.bucket != bOutbox:
					key = refKey(list[1].Ref)
				case retry:
					in = bTried
				}
				corrupt(t, dir, func(tx *bolt.Tx) error {
					b := tx.Bucket(in.name)
					if c.lost {
						return b.Delete(key)
					}
					v := slices.Clone(b.Get(key))
					v[len(v)/2] ^= 8
					return b.Put(key, v)
				})
				core, logs := observer.New(zap.ErrorLevel)
				o := testOptions(dir)
				o.Log = zap.New(core)
				s = mustOpen(t, o)
				want := []uint64{4, 6}
				for range 3 {
					due, next, err := s.Deliveries(t.Context(), testNow.Add(time.Minute), 9)
					must(t, err)
					if len(due) != 2 || due[0].Event.Number != want[0] || due[1].Event.Number != want[1] || !next.IsZero() {
						t.Errorf("%+v, %v", due, next)
					}
				}
				wantDead, wantLogged := int64(1), 2 // the record, and what follows
				if c.lost {
					wantDead, wantLogged = 0, 0
				}
				if pending, dead := s.OutboxCounts(); pending != 2 || dead != wantDead {
					t.Errorf("%d pending, %d dead", pending, dead)
				}
				if logs.Len() != wantLogged {
					t.Errorf("logged %v", logs.All())
				}
				must(t, s.Delivered(t.Context(), []order.Attempt{{Number: 4, Taken: true}, {Number: 5, Taken: true}, {Number: 6, Taken: true}}))
				if !s.OutboxOldest().IsZero() {
					t.Errorf("the oldest of %v", s.OutboxOldest())
				}
				if c.bucket == bOutbox {
					// Its order is whole: it can be told again.
					if n, err := s.ReplayOrder(t.Context(), "o2", testNow); n != 1 || err != nil {
						t.Errorf("replay: %d, %v", n, err)
					}
					if pending, dead := s.OutboxCounts(); pending != 1 || dead != 0 {
						t.Errorf("replayed: %d pending, %d dead", pending, dead)
					}
				}
				must(t, s.Close())
				s = mustOpen(t, testOptions(dir))
				if due, _, err := s.Deliveries(t.Context(), testNow.Add(time.Minute), 9); err != nil || (len(due) == 1) != (c.bucket == bOutbox) {
					t.Errorf("after a restart: %+v, %v", due, err)
				}
				must(t, s.Close())
			})
		}
	}
}

// What is due is found by its key: however many wait, a call reads about as many records as it returns.
func TestDeliveriesReadsNoMoreThanItReturns(t *testing.T) {
	s := openTest(t, t.TempDir())
	putSeller(t, s, "a")
	const n = 5000
	list := submit(t, s, "a", ids("o", n)...)
	changes := make([]*order.Change, n)
	for i := range list {
		changes[i] = complete(list[i].Ref)
	}
	record(t, s, changes...)
	attempts := make([]order.Attempt, 0, n)
	for i := range n / 2 {
		attempts = append(attempts, order.Attempt{Number: n + 1 + uint64(i), Attempts: 1, DueAt: testNow.Add(time.Duration(i+1) * time.Hour)})
	}
	must(t, s.Delivered(t.Context(), attempts))
	for _, at := range []time.Time{testNow, testNow.Add(30 * time.Hour)} {
		allocs := testing.AllocsPerRun(20, func() {
			if due, next, err := s.Deliveries(t.Context(), at, 8); err != nil || len(due) != 8 || next.IsZero() {
				t.Errorf("%d due, then %v, %v", len(due), next, err)
			}
		})
		if allocs > 500 {
			t.Errorf("%v allocations for 8 of %d deliveries", allocs, n)
		}
	}
	checkConsistent(t, s)
}

// BenchmarkEnd is the end of an order in batches of 10,000, with and without a webhook that is to be told.
func BenchmarkEnd(b *testing.B) {
	for name, events := range map[string][]order.EventType{"webhook": order.EndEvents, "none": nil} {
		b.Run(name, func(b *testing.B) {
			s := benchStore(b)
			s.SetWebhookEvents(events)
			const n = 10_000
			for b.Loop() {
				b.StopTimer()
				id := fmt.Sprint("s", s.mem.orders)
				putSeller(b, s, id)
				changes := make([]*order.Change, n)
				for i, o := range submit(b, s, id, ids(id, n)...) {
					changes[i] = complete(o.Ref)
				}
				before := s.Size()
				b.StartTimer()
				record(b, s, changes...)
				b.ReportMetric(float64(s.Size()-before)/n, "B/end")
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/end")
		})
	}
}
