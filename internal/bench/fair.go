//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// crew is a group of sellers that behave alike, each at a host of its own, and the orders that they share.
type crew struct {
	name            string
	sellers, orders int
	firstHost       int
	firstOrder      int // orderID's argument
}

func (c *crew) seller(i int) string { return fmt.Sprintf("%s-%05d", c.name, i) }

// fair is sellers of several crews and one daemon that knows them all.
type fair struct {
	*bench
	fakes *sellers
	d     *daemon
	crews []*crew
}

// fairMode measures what sellers that are bad, or have much to do, do to others: each time the same orders of
// the same sellers, with and without the others beside them, asked by the same daemon.
func (b *bench) fairMode(ctx context.Context) (err error) {
	f := &fair{bench: b}
	big := &crew{name: "big", sellers: 1, orders: max(b.orders/5, 1)}
	small := &crew{name: "small", sellers: 1, orders: 10}
	hung := &crew{name: "hung", sellers: max(b.sellers/100, 1)}
	hung.orders = hung.sellers * max(b.orders/b.sellers, 1)
	crowd := &crew{name: "crowd", sellers: max(b.sellers/5, 1)}
	crowd.orders = max(b.orders/10, crowd.sellers)
	quick := &crew{name: "quick", sellers: b.sellers, orders: b.orders}
	// Who is bad for others has the lower numbers: turns that nothing else decides are theirs.
	f.crews = []*crew{big, small, hung, crowd, quick}
	hosts, orders := 0, 0
	for _, c := range f.crews {
		c.firstHost, c.firstOrder = hosts, orders
		hosts, orders = hosts+c.sellers, orders+c.orders
	}
	if f.fakes, err = b.startSellers(ctx, hosts, b.delay); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.fakes.stop()) }()
	if f.d, err = b.startDaemon(ctx, f.fakes.CAFile, f.fakes.URLs); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.d.stop()) }()
	for _, c := range f.crews {
		if err := f.enrol(ctx, c); err != nil {
			return err
		}
	}
	if _, err := f.d.sweep(ctx); err != nil { // makes the connections; everybody answers
		return err
	}
	fmt.Fprintf(b.out, "%d orders of %d sellers that answer after %v, %d workers. Times count from the start of a sweep; nobody else is asked in it.\n\n", b.orders, b.sellers, b.delay, b.workers)
	if err := f.hang(ctx, big, small, hung, crowd, quick); err != nil || b.quick {
		return err
	}
	return f.ticks(ctx, quick, big, small)
}

// enrol registers a crew and submits its orders, mixed over its sellers.
func (f *fair) enrol(ctx context.Context, c *crew) error {
	if err := c.each(func(i int) error {
		return f.d.call(ctx, http.MethodPut, "/v1/sellers/"+c.seller(i), map[string]any{
			"status_url": f.fakes.URLs[c.firstHost+i] + "/" + c.seller(i) + "/status/{order_id}",
			"headers":    map[string]string{"Authorization": "Bearer key-of-" + c.seller(i)},
		}, nil)
	}); err != nil {
		return err
	}
	var lines bytes.Buffer
	for i := range c.orders {
		fmt.Fprintf(&lines, `{"order_id":"%s","seller_id":"%s"}`+"\n", orderID(c.firstOrder+i), c.seller(i%c.sellers))
	}
	resp, err := f.d.request(ctx, http.MethodPost, "/v1/orders", "application/x-ndjson", &lines)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body) // what was not created is missed in the first sweep
	return err
}

// each calls f for every seller of the crew, several at once.
func (c *crew) each(f func(i int) error) error {
	errs := make([]error, parallel)
	var all sync.WaitGroup
	for p := range parallel {
		all.Go(func() {
			for i := p; i < c.sellers && errs[p] == nil; i += parallel {
				errs[p] = f(i)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// pollOnly resumes these crews and pauses all others.
func (f *fair) pollOnly(ctx context.Context, active ...*crew) error {
	wanted := make(map[*crew]bool)
	for _, c := range active {
		wanted[c] = true
	}
	for _, c := range f.crews {
		action := "/pause"
		if wanted[c] {
			action = "/resume"
		}
		if err := c.each(func(i int) error {
			return f.d.call(ctx, http.MethodPost, "/v1/sellers/"+c.seller(i)+action, nil, nil)
		}); err != nil {
			return err
		}
	}
	return nil
}

// turn is how a crew fared in a sweep.
type turn struct {
	first, last time.Duration // after the start of the sweep: its first request and its last answer
	gap         time.Duration // the longest time between two of its requests
}

// sweep runs a sweep by hand of the crew and those beside it, until each of the crew's orders has been polled.
// Then those beside it are paused, which ends the sweep.
func (f *fair) sweep(ctx context.Context, c *crew, beside ...*crew) (t turn, err error) {
	if err := f.pollOnly(ctx, append(beside, c)...); err != nil {
		return t, err
	}
	if _, err := f.fakes.tell("reset"); err != nil {
		return t, err
	}
	begun := time.Now()
	if err := f.d.call(ctx, http.MethodPost, "/v1/sweeps", nil, nil); err != nil {
		return t, err
	}
	seen, err := f.asked(ctx, c)
	if err != nil {
		return t, err
	}
	for _, bad := range beside {
		if seen.Groups[bad.name].Requests == 0 {
			return t, fmt.Errorf("no seller of %s was asked anything", bad.name)
		}
	}
	if err := f.pollOnly(ctx, c); err != nil {
		return t, err
	}
	g := seen.Groups[c.name]
	t = turn{time.Unix(0, g.First).Sub(begun), time.Unix(0, g.Last).Sub(begun), time.Duration(g.LongestGap)}
	return t, f.d.idle(ctx)
}

// asked returns what the sellers have seen once each order of the crews has been polled and answered. It is an error if one was polled twice.
func (f *fair) asked(ctx context.Context, crews ...*crew) (a account, err error) {
	for {
		if a, err = f.fakes.account(); err != nil {
			return a, err
		}
		waiting := 0
		for _, c := range crews {
			g := a.Groups[c.name]
			if g.Orders < int64(c.orders) || g.Unanswered > 0 {
				waiting++
			} else if g.Requests != g.Orders {
				return a, fmt.Errorf("%d orders of %s were polled %d times", g.Orders, c.name, g.Requests)
			}
		}
		if waiting == 0 {
			return a, nil
		}
		if pause(ctx); ctx.Err() != nil {
			return a, fmt.Errorf("%w; the sellers saw %+v", ctx.Err(), a.Groups)
		}
	}
}
