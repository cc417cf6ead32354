//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
)

// sweepMode compares sweeps with the bare loop.
func (b *bench) sweepMode(ctx context.Context) (err error) {
	sellers, err := b.startSellers(ctx, b.hosts, b.delay)
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
	if err := d.submit(ctx, b.orders, b.sellers); err != nil {
		return err
	}

	fmt.Fprintf(b.out, "%d orders, %d sellers on %d hosts, %d workers; the bare loop has %d connections\n\n", b.orders, b.sellers, b.hosts, b.workers, b.connections)
	table := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\twall s\tCPU s\tpolls per CPU-s\tCPU per poll / bare\thandshakes per seller\tresumed\tMiB written\tpeak private MiB\tsellers' CPU s\t")
	bare, err := b.bareRow(ctx, table, sellers, "bare loop")
	if err != nil {
		return err
	}
	for i := range b.sweeps {
		if err := b.sweepRow(ctx, table, sellers, d, fmt.Sprintf("sweep %d", i+1), bare); err != nil {
			return err
		}
	}
	if _, err := b.bareRow(ctx, table, sellers, "bare loop again"); err != nil {
		return err
	}
	return table.Flush()
}

// bareRow runs the bare loop and returns its CPU seconds for one request.
func (b *bench) bareRow(ctx context.Context, table *tabwriter.Writer, s *sellers, name string) (perRequest float64, err error) {
	task := bareTask{CAFile: s.CAFile, Requests: b.orders}
	for i := range b.connections {
		task.URLs = append(task.URLs, s.URLs[i%len(s.URLs)]+"/"+sellerID(i)+"/status/"+orderID(i))
	}
	before, err := s.account()
	if err != nil {
		return 0, err
	}
	bare, err := runBare(ctx, task)
	if err != nil {
		return 0, err
	}
	after, err := s.account()
	if err != nil {
		return 0, err
	}
	perRequest = bare.CPUSeconds / float64(bare.Requests)
	fmt.Fprintf(table, "%s\t%.2f\t%.2f\t%.0f\t1\t\t\t\t\t%.2f\t\n", name, bare.WallSeconds, bare.CPUSeconds, 1/perRequest, after.since(before).CPUSeconds)
	return perRequest, nil
}

// sweepRow runs a sweep; bare is the bare loop's CPU seconds for one request.
func (b *bench) sweepRow(ctx context.Context, table *tabwriter.Writer, s *sellers, d *daemon, name string, bare float64) error {
	before, err := s.account()
	if err != nil {
		return err
	}
	var done sweep
	c, err := d.measure(ctx, func() (err error) {
		done, err = d.sweep(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if done.State != "done" || done.Polled != b.orders {
		return fmt.Errorf("the sweep did not poll all orders: %+v", done)
	}
	after, err := s.account()
	if err != nil {
		return err
	}
	seen := after.since(before)
	cpu := c.cpu.Seconds()
	fmt.Fprintf(table, "%s\t%.2f\t%.2f\t%.0f\t%s\t%s\t%d\t%s\t%s\t%.2f\t\n", name, c.wall.Seconds(), cpu, float64(b.orders)/cpu,
		ratio(cpu/float64(b.orders), bare), ratio(float64(seen.Handshakes), float64(b.sellers)), seen.Resumptions, mib(c.written), mib(c.private), seen.CPUSeconds)
	return nil
}
