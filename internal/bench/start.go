//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// scrapes is how often startMode asks for the metrics.
const scrapes = 20

// startMode measures how long a daemon with many orders takes to be there
// again, after it was stopped and after it was killed. Its database is in the kernel's memory.
func (b *bench) startMode(ctx context.Context) (err error) {
	s, err := b.open(ctx, settings{workers: b.workers})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	fmt.Fprintf(b.out, "%d orders, %d sellers\n\n", b.orders, b.sellers)
	table := b.table("\tit ended in s\t/readyz says 200 after s\tthe API answers after s\tCPU s until then\tprivate MiB then\tGET /metrics ms, median\tlongest\tMiB of store\t")
	for _, how := range []struct {
		name string
		end  func() error
	}{{"stopped", s.d.stop}, {"killed", s.d.kill}} {
		begun := time.Now()
		if err := how.end(); err != nil {
			return err
		}
		ended := time.Since(begun)
		if err := s.startRow(ctx, table, how.name, ended); err != nil {
			return err
		}
	}
	return table.Flush()
}

// startRow starts the daemon and prints how that went.
func (s *stage) startRow(ctx context.Context, table io.Writer, name string, ended time.Duration) error {
	begun := time.Now()
	if err := s.d.launch(ctx); err != nil {
		return err
	}
	var ready, answers time.Duration
	for ready == 0 || answers == 0 {
		if _, err := s.d.scrape(ctx, "/readyz"); ready == 0 && err == nil {
			ready = time.Since(begun)
		}
		if err := s.d.call(ctx, http.MethodGet, "/v1/status", nil, nil); answers == 0 && err == nil {
			answers = time.Since(begun)
		}
		if time.Since(begun) > 2*time.Minute || ctx.Err() != nil {
			return fmt.Errorf("%s, it did not come back: ready after %s, answers after %s", name, ready, answers)
		}
		pauseFor(ctx, 2*time.Millisecond)
	}
	used, err := s.d.used()
	if err != nil {
		return err
	}
	private, err := s.d.private()
	if err != nil {
		return err
	}
	size, err := s.d.storeBytes(ctx)
	if err != nil {
		return err
	}
	if n, err := s.d.metric(ctx, `poller_orders{state="processing"}`); err != nil || int(n) != s.orders {
		return fmt.Errorf("%s, it has %v orders afterwards, not %d (%w)", name, n, s.orders, err)
	}
	var took []time.Duration
	for range scrapes {
		at := time.Now()
		if _, err := s.d.scrape(ctx, "/metrics"); err != nil {
			return err
		}
		took = append(took, time.Since(at))
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	fmt.Fprintf(table, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%s\t%.2f\t%.2f\t%s\t\n", name, ended.Seconds(), ready.Seconds(), answers.Seconds(), (used.user + used.system).Seconds(),
		mib(private), ms(took[scrapes/2]), ms(took[scrapes-1]), mib(size))
	return nil
}
