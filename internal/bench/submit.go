//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
)

// submitMode measures how long a great many orders take to be on disk. Nobody is polled.
func (b *bench) submitMode(ctx context.Context) (err error) {
	sellers, err := b.startSellers(ctx, 1, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sellers.stop()) }()
	d, err := b.startDaemon(ctx, sellers.CAFile, sellers.URLs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	if err := d.register(ctx, sellers.URLs, b.sellers); err != nil {
		return err
	}
	idle, err := d.private()
	if err != nil {
		return err
	}
	c, err := d.measure(ctx, func() error { return d.submit(ctx, b.orders, b.sellers) })
	if err != nil {
		return err
	}
	n := float64(b.orders)
	fmt.Fprintf(b.out, "%d orders of %d sellers in one request, each on disk when it was answered\n\n", b.orders, b.sellers)
	fmt.Fprintf(b.out, "%8.1f s, %.0f orders per second\n", c.wall.Seconds(), n/c.wall.Seconds())
	fmt.Fprintf(b.out, "%8.1f CPU-s of the daemon, %.1f microseconds for an order\n", c.cpu.Seconds(), 1e6*c.cpu.Seconds()/n)
	fmt.Fprintf(b.out, "%8s MiB written, %.0f bytes for an order\n", mib(c.written), float64(c.written)/n)
	fmt.Fprintf(b.out, "%8s MiB private memory at the peak, %s MiB before\n", mib(c.private), mib(idle))
	return nil
}
