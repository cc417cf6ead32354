//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"poller/internal/fakeseller"
)

// carryMode has a tick close a sweep when about half of its orders are left, and looks at what that costs: a
// pause, memory, or a second poll of one order before another one's first.
func (b *bench) carryMode(ctx context.Context) (err error) {
	s, err := b.open(ctx, settings{workers: b.workers})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if _, err := s.sweep(ctx); err != nil { // makes the connections
		return err
	}
	whole, err := s.sweep(ctx)
	if err != nil {
		return err
	}
	c, err := s.carry(ctx, whole.wall)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "%d orders of %d sellers that answer after %v, %d workers\n\n", b.orders, b.sellers, b.delay, b.workers)
	table := b.table("\torders\twall s\tpolls\tlongest gap ms\tpeak private MiB\t/ whole sweep\t")
	row := func(name string, orders, polls int, wall, gap time.Duration, private int64) {
		longest := "" // the gap is of both parts of the sweep
		if gap > 0 {
			longest = fmt.Sprintf("%.1f", float64(gap.Microseconds())/1000)
		}
		fmt.Fprintf(table, "%s\t%d\t%.2f\t%d\t%s\t%s\t%s\t\n", name, orders, wall.Seconds(), polls, longest, mib(private), ratio(float64(private), float64(whole.private)))
	}
	g := whole.seen.Groups[group]
	row("a sweep that nothing closes", b.orders, whole.Polled, whole.wall, time.Duration(g.LongestGap), whole.private)
	row("one that a tick closes, before", b.orders, c.first.Polled, c.before.wall, 0, c.before.private)
	row("what it left, from the tick on", b.orders-int(c.askedBefore), int(c.seen.Requests-c.requestsBefore), c.left.wall, time.Duration(c.seen.LongestGap), c.left.private)
	row("the rest of the next sweep", b.orders, int(c.requests-c.seen.Requests), c.rest.wall, 0, c.rest.private)
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\nWhen all but a few orders had been polled once, %d had been polled a second time (asked for: 0, but for the %d that were not committed at the tick)\n", c.twice, c.first.LeftToSeller)
	fmt.Fprintf(b.out, "the sweep that was closed: %s, %d polled, %d left to sellers, %d remaining\n", c.first.State, c.first.Polled, c.first.LeftToSeller, c.first.Remaining)
	return nil
}

// carried is what became of a sweep that a tick closed, and of the next.
type carried struct {
	before, left, rest          cost // until the tick, from then until each order had been polled once, and from then on
	askedBefore, requestsBefore int64
	seen                        fakeseller.Group // when each order had been polled once
	twice                       int64            // polls of orders that had been polled, when the last ones had not
	requests                    int64            // in all
	first, second               bookedSweep
}

// carry starts a sweep half its length before a tick, and returns when the one that the tick begins has ended.
func (s *stage) carry(ctx context.Context, wall time.Duration) (c carried, err error) {
	tick := nextMinute(wall/2 + 3*time.Second)
	utc := tick.UTC()
	if err := s.d.reschedule(ctx, fmt.Sprintf(`cron: "%d %d * * *", timezone: UTC, catch_up: false`, utc.Minute(), utc.Hour())); err != nil {
		return c, err
	}
	if err := until(ctx, tick.Add(-wall/2)); err != nil {
		return c, err
	}
	if _, err := s.fakes.tell("reset"); err != nil {
		return c, err
	}
	if c.before, err = s.d.measure(ctx, func() error {
		if err := s.d.call(ctx, http.MethodPost, "/v1/sweeps", nil, nil); err != nil {
			return err
		}
		return until(ctx, tick)
	}); err != nil {
		return c, err
	}
	at, err := s.fakes.account()
	if err != nil {
		return c, err
	}
	c.askedBefore, c.requestsBefore = at.Groups[group].Orders, at.Groups[group].Requests
	if c.askedBefore == int64(s.orders) {
		return c, errors.New("nothing was left at the tick")
	}
	if c.left, err = s.d.measure(ctx, func() error { return s.allAskedOnce(ctx, &c) }); err != nil {
		return c, err
	}
	if c.rest, err = s.d.measure(ctx, func() error { return s.d.idle(ctx) }); err != nil {
		return c, err
	}
	list, err := s.d.recentSweeps(ctx, 2)
	if err != nil {
		return c, err
	}
	c.second, c.first = list[0], list[1]
	if c.first.State != "interrupted" || c.second.Trigger != "cron" || c.second.State != "done" || c.second.Polled != s.orders {
		return c, fmt.Errorf("a tick did not close a sweep and poll all of %d orders: %+v", s.orders, list)
	}
	all, err := s.fakes.account()
	if err != nil {
		return c, err
	}
	c.requests = all.Groups[group].Requests
	// What is not committed at the tick stands as left to the sellers, and is polled again.
	if n := int(c.requests) - c.first.Polled - c.second.Polled; n < 0 || n > c.first.LeftToSeller {
		return c, fmt.Errorf("the sellers saw %d requests more than are in the books: %+v", n, list)
	}
	return c, nil
}

// allAskedOnce returns when each order has been polled.
func (s *stage) allAskedOnce(ctx context.Context, c *carried) error {
	for ctx.Err() == nil {
		a, err := s.fakes.account()
		if err != nil {
			return err
		}
		c.seen = a.Groups[group]
		if c.seen.Orders == int64(s.orders) {
			return nil
		}
		c.twice = c.seen.Requests - c.seen.Orders
		if sweep, err := s.d.newestSweep(ctx); err != nil || sweep.Trigger == "cron" && sweep.State != "running" {
			return errors.Join(err, fmt.Errorf("only %d of %d orders were polled in two sweeps", c.seen.Orders, s.orders))
		}
		pause(ctx)
	}
	return ctx.Err()
}
