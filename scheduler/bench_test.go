package scheduler

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"poller/metrics"
	"poller/order"
	"poller/store"
)

// atOnce is a fetcher of sellers that answer at once.
type atOnce struct{}

func (atOnce) Fetch(context.Context, order.Ask) order.Observation {
	o := processing()
	o.StartedAt = time.Now()
	return o
}

func (atOnce) Remove(context.Context, ...string) error { return nil }

// benchSweeps measures whole sweeps of a real store, started by hand: all that a poll costs but the poll.
func benchSweeps(b *testing.B, orders, sellers int) {
	b.Helper()
	dir := b.TempDir()
	st, err := store.Open(b.Context(), store.Options{Path: filepath.Join(dir, "poller.db"), KeyFile: filepath.Join(dir, "k")})
	if err != nil {
		b.Fatal(err)
	}
	subs := make([]order.Submission, 0, 1000)
	now := time.Now().Truncate(time.Millisecond)
	for i := range sellers {
		id := fmt.Sprintf("seller-%05d", i)
		if _, _, err := st.PutSeller(b.Context(), order.Seller{ID: id, StatusURL: fmt.Sprintf("https://host-%d.example/%s/{order_id}", i%(sellers/10+1), id)}); err != nil {
			b.Fatal(err)
		}
		for j := range orders / sellers {
			subs = append(subs, order.Submission{OrderID: fmt.Sprintf("order-%05d-%07d", i, j), SellerID: id})
			if len(subs) == cap(subs) {
				if _, err := st.Submit(b.Context(), subs, 72*time.Hour, now); err != nil {
					b.Fatal(err)
				}
				subs = subs[:0]
			}
		}
	}
	s, err := New(Options{Store: st, Fetcher: atOnce{}, Files: atOnce{}, Metrics: metrics.New(prometheus.NewRegistry()), Log: zap.NewNop(), Config: Config{
		Cron: "0 0 1 1 *", Timezone: "UTC", Workers: 128, PerHost: 16, PerSeller: 4, BreakerFailures: 3,
		Policy: order.Policy{Deadline: 72 * time.Hour, MaxRetryAfter: time.Hour, ProgressEvents: true}, ShutdownTimeout: time.Second,
	}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	sweep := func() {
		want, err := s.StartSweep(ctx, false)
		if err != nil {
			b.Fatal(err)
		}
		for running := true; running; {
			time.Sleep(5 * time.Millisecond)
			live, ok := s.LiveSweep()
			running = ok && live.ID == want.ID
		}
	}
	sweep() // lanes are made, records get their size
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b.ResetTimer()
	polls, began := 0, cpuTime(b)
	for b.Loop() {
		sweep()
		polls += orders
	}
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-began)/float64(polls), "cpu-ns/poll")
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(polls), "B/poll")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(polls), "allocs/poll")
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
	if err := st.Close(); err != nil {
		b.Error(err)
	}
}

// cpuTime is what the process has used so far.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkSweep(b *testing.B) {
	for _, c := range []struct{ orders, sellers int }{{100_000, 1000}, {100_000, 1}} {
		b.Run(fmt.Sprintf("orders=%d,sellers=%d", c.orders, c.sellers), func(b *testing.B) { benchSweeps(b, c.orders, c.sellers) })
	}
}
