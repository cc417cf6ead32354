//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// fewOrders is what memoryMode compares -orders with.
const fewOrders = 20_000

const (
	slowly  = time.Second          // how long slow answers take unless -delay says otherwise
	quickly = 5 * time.Millisecond // how long others take in mode memory, lest the workers wait for the CPU alone
)

// memoryMode measures the daemon's private memory: with few orders, also with
// more polls in flight, and with many.
func (b *bench) memoryMode(ctx context.Context) (err error) {
	slow := b.delay
	if slow == 0 {
		slow = slowly
	}
	few := min(fewOrders, b.orders)
	s := &stage{bench: b}
	if s.fakes, err = b.startSellers(ctx, b.hosts, quickly); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.fakes.stop()) }()

	fmt.Fprintf(b.out, "%d sellers on %d hosts; private memory in MiB. In flight: most at once, as the sellers saw it.\n", b.sellers, b.hosts)
	fmt.Fprintf(b.out, "Answers take %s with %d workers, %s with more\n\n", quickly, b.workers, slow)
	table := b.table("\tloaded\tstarted again\tsweep, at the peak\tin flight\twall s\tKiB for one more in flight\t/ few orders\t")
	atPeak, err := b.fewRows(ctx, s, table, few, slow)
	if err != nil {
		return err
	}
	if b.orders > few {
		with := settings{workers: b.workers}
		if err := s.load(ctx, with, b.orders); err != nil {
			return err
		}
		m, err := s.footprint(ctx, with)
		if err := errors.Join(err, s.d.stop()); err != nil {
			return err
		}
		fmt.Fprintf(table, "%d orders\t%s\t%s\t%s\t%d\t%.2f\t\t%s\t\n", b.orders, mib(m.loaded), mib(m.idle), mib(m.private), m.inFlight(), m.wall.Seconds(), ratio(float64(m.private), float64(atPeak)))
	}
	return table.Flush()
}

// fewRows prints the rows of few orders and returns the peak of the first.
func (b *bench) fewRows(ctx context.Context, s *stage, table io.Writer, few int, slow time.Duration) (atPeak int64, err error) {
	with := settings{workers: b.workers}
	if err := s.load(ctx, with, few); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.d.stop()) }()
	base, err := s.footprint(ctx, with)
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(table, "%d orders\t%s\t%s\t%s\t%d\t%.2f\t\t1\t\n", few, mib(base.loaded), mib(base.idle), mib(base.private), base.inFlight(), base.wall.Seconds())
	if _, err := s.fakes.tell("behave * delay " + slow.String()); err != nil {
		return 0, err
	}
	for _, more := range []int{2000, 5000} {
		with.workers = b.workers + more
		m, err := s.footprint(ctx, with)
		if err != nil {
			return 0, err
		}
		forOne := "-"
		if n := m.inFlight() - base.inFlight(); n > 0 {
			forOne = fmt.Sprintf("%.0f", float64(m.private-base.private)/1024/float64(n))
		}
		fmt.Fprintf(table, "%d orders, %d workers\t\t%s\t%s\t%d\t%.2f\t%s\t%s\t\n", few, with.workers, mib(m.idle), mib(m.private), m.inFlight(), m.wall.Seconds(), forOne, ratio(float64(m.private), float64(base.private)))
	}
	_, err = s.fakes.tell("behave * delay " + quickly.String())
	return base.private, err
}

// footprint is a daemon's private memory.
type footprint struct {
	loaded int64 // before it was started again
	idle   int64 // afterwards
	swept        // in a sweep
}

func (f *footprint) inFlight() int64 { return f.seen.Groups[group].MostAtOnce }

// footprint starts the daemon again with settings, and sweeps.
func (s *stage) footprint(ctx context.Context, with settings) (f footprint, err error) {
	if f.loaded, err = s.d.private(); err != nil {
		return f, err
	}
	if err := s.d.stop(); err != nil {
		return f, err
	}
	if err := s.d.configure(ctx, s.fakes.CAFile, s.fakes.URLs, with); err != nil {
		return f, err
	}
	if err := s.d.start(ctx); err != nil {
		return f, err
	}
	if f.idle, err = s.d.private(); err != nil {
		return f, err
	}
	f.swept, err = s.sweep(ctx)
	return f, err
}
