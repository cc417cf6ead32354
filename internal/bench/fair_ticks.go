//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

const (
	everyMinute  = `cron: "* * * * *"`
	spreadWindow = 50 * time.Second // at most 0.9 of the minute
	missedTicks  = 3
	perSeller    = 4 // fetch.per_seller, which the daemon has as it comes
)

// ticks measures what a schedule does to the sellers: a spread sweep, and what follows an outage.
func (f *fair) ticks(ctx context.Context, quick, big, small *crew) error {
	if err := f.spread(ctx, quick); err != nil {
		return err
	}
	return f.outage(ctx, quick, big, small)
}

// spread measures how evenly the requests of a spread sweep come.
func (f *fair) spread(ctx context.Context, c *crew) error {
	if err := f.pollOnly(ctx, c); err != nil {
		return err
	}
	if err := f.d.reschedule(ctx, fmt.Sprintf("%s, spread: %v", everyMinute, spreadWindow)); err != nil {
		return err
	}
	tick := nextMinute(2 * time.Second) // a sweep of the minute before, if one began, is over by then
	if err := until(ctx, tick.Add(-time.Second)); err != nil {
		return err
	}
	if _, err := f.fakes.tell("reset"); err != nil {
		return err
	}
	limited, cancel := context.WithDeadline(ctx, tick.Add(59*time.Second))
	defer cancel()
	seen, err := f.asked(limited, c)
	if err != nil {
		return fmt.Errorf("a sweep spread over %v: %w", spreadWindow, err)
	}
	g := seen.Groups[c.name]
	mean := float64(g.Requests) / spreadWindow.Seconds()
	fmt.Fprintf(f.out, "\n%d orders spread over %v: first after %.2f s, last answered after %.2f s; %.0f requests a second, in the busiest second %d: ratio %s (asked for: < 1.20)\n",
		c.orders, spreadWindow, time.Unix(0, g.First).Sub(tick).Seconds(), time.Unix(0, g.Last).Sub(tick).Seconds(), mean, g.BusiestSecond, ratio(float64(g.BusiestSecond), mean))
	return nil
}

// outage stops the daemon for several ticks and looks at what the sellers see when it is back: each order once, under the usual caps.
func (f *fair) outage(ctx context.Context, quick, big, small *crew) error {
	crews := []*crew{quick, big, small}
	if err := f.pollOnly(ctx, crews...); err != nil {
		return err
	}
	if err := until(ctx, nextMinute(0).Add(time.Second)); err != nil { // a tick has come: from here on they are missed
		return err
	}
	if err := f.d.idle(ctx); err != nil {
		return err
	}
	if err := f.d.stop(); err != nil {
		return err
	}
	stopped := time.Now()
	back := nextMinute(0).Add((missedTicks-1)*time.Minute + time.Second) // almost a minute before the next one
	if err := until(ctx, back); err != nil {
		return err
	}
	if _, err := f.fakes.tell("reset"); err != nil {
		return err
	}
	if err := f.d.start(ctx); err != nil {
		return err
	}
	if _, err := f.asked(ctx, crews...); err != nil {
		return fmt.Errorf("after an outage: %w", err)
	}
	if err := f.d.idle(ctx); err != nil {
		return err
	}
	seen, err := f.asked(ctx, crews...)
	if err != nil {
		return fmt.Errorf("after an outage: %w", err)
	}
	done, err := f.d.newestSweep(ctx)
	if err != nil {
		return err
	}
	if all := quick.orders + big.orders + small.orders; done.Trigger != "catch_up" || done.State != "done" || done.Polled != all {
		return fmt.Errorf("the sweep after an outage is not one that caught up with %d orders: %+v", all, done)
	}
	fmt.Fprintf(f.out, "\nAn outage of %.0f s, over %d ticks, then one sweep for all of them: each order was polled once\n\n", back.Sub(stopped).Seconds(), missedTicks)
	table := f.table("\torders\trequests\tin s\tbusiest second\tat once\tcap\t")
	for _, c := range crews {
		g, limit := seen.Groups[c.name], f.workers
		if c.sellers == 1 {
			limit = perSeller
		}
		if g.MostAtOnce > int64(limit) {
			return fmt.Errorf("%s saw %d requests at once, its cap is %d", c.name, g.MostAtOnce, limit)
		}
		fmt.Fprintf(table, "%s (%d)\t%d\t%d\t%.2f\t%d\t%d\t%d\t\n", c.name, c.sellers, g.Orders, g.Requests, time.Duration(g.Last-g.First).Seconds(), g.BusiestSecond, g.MostAtOnce, limit)
	}
	return table.Flush()
}

// nextMinute is the next full minute that is further away than that.
func nextMinute(away time.Duration) time.Time {
	return time.Now().Add(away).Truncate(time.Minute).Add(time.Minute)
}

// until waits for a time of day.
func until(ctx context.Context, at time.Time) error {
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(at)):
	}
	return ctx.Err()
}
