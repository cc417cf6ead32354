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

// compare prints how a crew fares without others, in two sweeps with them, and without them again. What the two
// sweeps without them took on average is what the others are compared with.
func (f *fair) compare(ctx context.Context, c, beside *crew, name, nameBeside, bound string) error {
	sweeps := []struct {
		name, bound string
		beside      []*crew
		turn
	}{
		{name: name},
		{name: nameBeside, bound: bound, beside: []*crew{beside}},
		{name: nameBeside + ", next sweep", bound: bound, beside: []*crew{beside}},
		{name: "without again"},
	}
	for i := range sweeps {
		var err error
		if sweeps[i].turn, err = f.sweep(ctx, c, sweeps[i].beside...); err != nil {
			return fmt.Errorf("%s: %w", sweeps[i].name, err)
		}
	}
	without := (sweeps[0].last + sweeps[len(sweeps)-1].last) / 2
	table := f.table("\tfirst s\tlast s\tlonger s\tlast / without\tlongest gap s\tasked for\t")
	for _, s := range sweeps {
		fmt.Fprintf(table, "%s\t%.3f\t%.3f\t%.3f\t%s\t%.3f\t%s\t\n", s.name, s.first.Seconds(), s.last.Seconds(),
			(s.last - without).Seconds(), ratio(s.last.Seconds(), without.Seconds()), s.gap.Seconds(), s.bound)
	}
	fmt.Fprintln(table)
	return table.Flush()
}
