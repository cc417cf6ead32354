//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
)

// endsEvery is of how many orders one ends in each sweep of mode ends.
const endsEvery = 100

// endsMode measures what is written while orders end, as they do in real life.
func (b *bench) endsMode(ctx context.Context) (err error) {
	if b.sweeps > endsEvery {
		return fmt.Errorf("after %d sweeps no order is left", endsEvery)
	}
	s, err := b.open(ctx, settings{workers: b.workers})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	fmt.Fprintf(b.out, "%d orders, %d sellers on %d hosts, %d workers; the first sweep makes the connections\n\n", b.orders, b.sellers, b.hosts, b.workers)
	table := b.table("\tpolled\tended\twall s\tCPU s\tCPU per poll / plain\tMiB written\tMiB for 1,000,000 polls\tbytes for an end\tMiB of store\t")
	var plain swept
	const plainSweeps = 2
	for i := range plainSweeps + b.sweeps {
		name, least := fmt.Sprintf("plain sweep %d", i+1), 0
		if i >= plainSweeps {
			name, least = fmt.Sprintf("1 %% ends %d", i+1-plainSweeps), b.orders/endsEvery
			if _, err := s.fakes.tell(fmt.Sprintf("behave * ends %d", endsEvery)); err != nil {
				return err
			}
		}
		w, err := s.sweep(ctx)
		if err != nil {
			return err
		}
		ended := w.Outcomes["completed"]
		if ended != least && (least == 0 || ended != least+1) { // of what is left over one may end, or none
			return fmt.Errorf("%s: %d orders ended, want %d", name, ended, least)
		}
		size, err := s.d.storeBytes(ctx)
		if err != nil {
			return err
		}
		forAnEnd := "-"
		if ended > 0 {
			forAnEnd = fmt.Sprintf("%.0f", (float64(w.written)-float64(plain.written)/float64(plain.Polled)*float64(w.Polled))/float64(ended))
		}
		if i == plainSweeps-1 {
			plain = w
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%.2f\t%.2f\t%s\t%s\t%.0f\t%s\t%s\t\n", name, w.Polled, ended, w.wall.Seconds(), w.cpu.Seconds(), ratio(w.perPoll(), plain.perPoll()),
			mib(w.written), float64(w.written)/(1<<20)*1e6/float64(w.Polled), forAnEnd, mib(size))
	}
	return table.Flush()
}
