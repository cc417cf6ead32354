//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

// requestTimeout is fetch.timeout, which the daemon has as it comes.
const requestTimeout = 8 * time.Second

// hang compares sweeps without and with bad sellers, and without and with a big one.
func (f *fair) hang(ctx context.Context, big, small, hung, crowd, quick *crew) error {
	name := fmt.Sprintf("a seller with %d orders", small.orders)
	if err := f.compare(ctx, small, big, name, fmt.Sprintf("beside one with %d", big.orders), "no delay"); err != nil {
		return err
	}
	name = fmt.Sprintf("%d sellers that answer", quick.sellers)
	for _, bad := range []*crew{hung, crowd} {
		bound := "last / without ≤ 1.50"
		if bad == crowd {
			bound = fmt.Sprintf("≤ %.0f s longer", requestTimeout.Seconds())
		}
		// They answered so far: the first sweep finds out that they hang, the next ones know.
		if _, err := f.fakes.tell("behave " + bad.name + " hang"); err != nil {
			return err
		}
		if err := f.compare(ctx, quick, bad, name, fmt.Sprintf("beside %d with %d orders that hang", bad.sellers, bad.orders), bound); err != nil {
			return err
		}
	}
	return nil
}

// compare prints how a crew fares without others, and in two sweeps with them.
func (f *fair) compare(ctx context.Context, c, beside *crew, name, nameBeside, bound string) error {
	table := f.table("\tfirst s\tlast s\tlonger s\tlast / without\tlongest gap s\tasked for\t")
	without, err := f.sweep(ctx, c)
	if err != nil {
		return err
	}
	row := func(name, bound string, t turn) {
		fmt.Fprintf(table, "%s\t%.3f\t%.3f\t%.3f\t%s\t%.3f\t%s\t\n", name, t.first.Seconds(), t.last.Seconds(),
			(t.last - without.last).Seconds(), ratio(t.last.Seconds(), without.last.Seconds()), t.gap.Seconds(), bound)
	}
	row(name, "", without)
	for _, when := range []string{"", ", next sweep"} {
		with, err := f.sweep(ctx, c, beside)
		if err != nil {
			return fmt.Errorf("%s%s: %w", nameBeside, when, err)
		}
		row(nameBeside+when, bound, with)
	}
	again, err := f.sweep(ctx, c)
	if err != nil {
		return err
	}
	row("without again", "", again)
	fmt.Fprintln(table)
	return table.Flush()
}
