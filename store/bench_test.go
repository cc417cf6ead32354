package store

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"poller/order"
)

// benchStore opens an empty store with the options of a daemon.
func benchStore(b *testing.B) *Store {
	b.Helper()
	dir := b.TempDir()
	s := mustOpen(b, Options{Path: filepath.Join(dir, "poller.db"), KeyFile: filepath.Join(dir, "k"), WebhookEvents: order.EndEvents})
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// fill submits n orders of 1,000 sellers, in calls of 1,000.
func fill(b *testing.B, s *Store, n int) {
	b.Helper()
	const sellers = 1000
	for i := range sellers {
		putSeller(b, s, fmt.Sprintf("seller-%04d", i))
	}
	subs := make([]order.Submission, 0, 1000)
	for i := range n {
		subs = append(subs, order.Submission{OrderID: fmt.Sprintf("%08x-order-%08d", uint32(i)*2654435761, i), SellerID: fmt.Sprintf("seller-%04d", i*7919%sellers)})
		if len(subs) == cap(subs) || i == n-1 {
			if _, err := s.Submit(b.Context(), subs, time.Hour, testNow); err != nil {
				b.Fatal(err)
			}
			subs = subs[:0]
		}
	}
}

// BenchmarkSubmit100k takes 100,000 orders of 1,000 sellers in, 1,000 a call.
func BenchmarkSubmit100k(b *testing.B) {
	for b.Loop() {
		s := benchStore(b)
		fill(b, s, 100_000)
		b.ReportMetric(float64(s.Size())/100_000, "B/order")
	}
}

// pollAll records one poll of every due order, 10,000 a commit, in key order.
func pollAll(b *testing.B, s *Store, tick uint64, obs order.Observation) (polls int) {
	b.Helper()
	policy := order.Policy{Interval: 15 * time.Minute, ProgressEvents: true}
	page := order.DuePage{More: true}
	for page.More {
		var err error
		if page, err = s.DuePage(b.Context(), tick, testNow, false, page.Next, 10_000); err != nil {
			b.Fatal(err)
		}
		changes := make([]*order.Change, len(page.Items))
		for i, d := range page.Items {
			changes[i] = &order.Change{Ref: d.Ref, Decide: func(o order.Order) order.Decision {
				return policy.Decide(o, obs, order.Poll{Tick: tick}, testNow)
			}}
		}
		if err := s.Record(b.Context(), &order.Batch{Changes: changes, Now: testNow, FuseShare: 0.1}); err != nil {
			b.Fatal(err)
		}
		polls += len(changes)
	}
	return polls
}

// BenchmarkRecord10k is one poll of an order in batches of 10,000, by what it found out.
func BenchmarkRecord10k(b *testing.B) {
	progress := 50.0
	for name, obs := range map[string]order.Observation{
		"processing": {Outcome: order.Processing, Answered: true, Progress: &progress, StartedAt: testNow},
		"timeout":    {Outcome: order.Timeout, Detail: "no answer within 8 s", StartedAt: testNow},
	} {
		b.Run(name, func(b *testing.B) {
			s := benchStore(b)
			fill(b, s, 100_000)
			b.ResetTimer()
			polls := 0
			for tick := uint64(1); b.Loop(); tick++ {
				polls += pollAll(b, s, tick, obs)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(polls), "ns/poll")
		})
	}
}

// BenchmarkScan1M asks what is due among a million orders of which nothing is, and opens their store.
func BenchmarkScan1M(b *testing.B) {
	dir := b.TempDir()
	s := mustOpen(b, Options{Path: filepath.Join(dir, "poller.db"), KeyFile: filepath.Join(dir, "k")})
	fill(b, s, 1_000_000)
	b.Run("due", func(b *testing.B) {
		for b.Loop() {
			if page, err := s.DuePage(b.Context(), 0, testNow, false, order.Ref{}, 1000); err != nil || page.More {
				b.Fatal(err)
			}
		}
	})
	b.Run("open", func(b *testing.B) {
		o := s.opts
		must(b, s.Close())
		for b.Loop() {
			must(b, mustOpen(b, o).Close())
		}
	})
}

// BenchmarkHotRecord decodes and encodes what every poll rewrites.
func BenchmarkHotRecord(b *testing.B) {
	p := 50.0
	o := order.Order{
		State: order.StateProcessing, Tick: 1000, Polls: 300, LastOutcome: order.Processing, LastPolledAt: testNow,
		Progress: &p, ToldProgress: &p, Message: "rendering the second half of the video",
	}
	key := refKey(order.Ref{Seller: 1, Order: 1})
	var t told
	for i := range uint64(maxTold) {
		t.add(1e6 + i*1000)
	}
	e := newEncoder(96)
	encodeHot(&e, &o, &t)
	rec := e.seal(bHot.seed, key)
	b.ReportMetric(float64(len(rec)), "B/record")
	for b.Loop() {
		d, _ := open(bHot.seed, key, rec)
		var x order.Order
		decodeHot(&d, &x, &t)
		e := newEncoder(96)
		encodeHot(&e, &x, &t)
		e.seal(bHot.seed, key)
	}
}
