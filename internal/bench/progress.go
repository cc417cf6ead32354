//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
)

// progressMode compares sweeps in which every order moves, which is an event
// each, with one in which none does.
func (b *bench) progressMode(ctx context.Context) (err error) {
	s, err := b.open(ctx, settings{workers: b.workers})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	fmt.Fprintf(b.out, "%d orders, %d sellers on %d hosts, %d workers; the first sweep makes the connections\n\n", b.orders, b.sellers, b.hosts, b.workers)
	table := b.table("\twall s\tCPU s\tpolls per CPU-s\tCPU per poll / plain\tevents\tMiB written\tMiB of store\tpeak private MiB\t")
	var plain float64
	const plainSweeps = 2
	for i := range plainSweeps + b.sweeps {
		name, want := fmt.Sprintf("plain sweep %d", i+1), 0
		if i == 0 {
			want = b.orders // no order had any progress before
		}
		if i >= plainSweeps {
			name, want = fmt.Sprintf("every order moves %d", i+1-plainSweeps), b.orders
			if _, err := s.fakes.tell("behave * progress"); err != nil {
				return err
			}
		}
		before, err := s.d.newestEvent(ctx)
		if err != nil {
			return err
		}
		w, err := s.sweep(ctx)
		if err != nil {
			return err
		}
		after, err := s.d.newestEvent(ctx)
		if err != nil {
			return err
		}
		if after-before != want {
			return fmt.Errorf("%s recorded %d events, want %d", name, after-before, want)
		}
		size, err := s.d.storeBytes(ctx)
		if err != nil {
			return err
		}
		if i == plainSweeps-1 {
			plain = w.perPoll()
		}
		fmt.Fprintf(table, "%s\t%.2f\t%.2f\t%.0f\t%s\t%d\t%s\t%s\t%s\t\n", name, w.wall.Seconds(), w.cpu.Seconds(), 1/w.perPoll(), ratio(w.perPoll(), plain), after-before, mib(w.written), mib(size), mib(w.private))
	}
	return table.Flush()
}
