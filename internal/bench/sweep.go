//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// sweepMode compares sweeps with the bare loop.
func (b *bench) sweepMode(ctx context.Context) (err error) {
	s, err := b.open(ctx, settings{workers: b.workers})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	fmt.Fprintf(b.out, "%d orders, %d sellers on %d hosts, %d workers; the bare loop has %d connections\n\n", b.orders, b.sellers, b.hosts, b.workers, b.connections)
	table := b.table("\twall s\tCPU s\tof it system\tpolls per CPU-s\tCPU per poll / bare\thandshakes per seller\tresumed\tMiB written\tpeak private MiB\tsellers' CPU s\t")
	bare, err := b.bareRow(ctx, table, s.fakes, "bare loop")
	if err != nil {
		return err
	}
	var profile *profile
	for i := range b.sweeps {
		if b.perf != "" && i == b.sweeps-1 {
			if profile, err = record(ctx, b.perf, s.d.process); err != nil {
				return err
			}
		}
		w, err := s.sweep(ctx)
		if err != nil {
			return err
		}
		s.sweepRow(table, fmt.Sprintf("sweep %d", i+1), &w, bare)
	}
	if err := profile.end(); err != nil {
		return err
	}
	if _, err := b.bareRow(ctx, table, s.fakes, "bare loop again"); err != nil {
		return err
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return profile.print(ctx, b.out)
}

// bareRow runs the bare loop and returns its CPU seconds for one request.
func (b *bench) bareRow(ctx context.Context, table io.Writer, s *sellers, name string) (perRequest float64, err error) {
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
	fmt.Fprintf(table, "%s\t%.2f\t%.2f\t%.2f\t%.0f\t1\t\t\t\t\t%.2f\t\n", name, bare.WallSeconds, bare.CPUSeconds, bare.SystemSeconds, 1/perRequest, after.since(before).CPUSeconds)
	return perRequest, nil
}

// sweepRow prints a sweep; bare is the bare loop's CPU seconds for one request.
func (s *stage) sweepRow(table io.Writer, name string, w *swept, bare float64) {
	fmt.Fprintf(table, "%s\t%.2f\t%.2f\t%.2f\t%.0f\t%s\t%s\t%s\t%s\t%s\t%.2f\t\n", name, w.wall.Seconds(), w.cpu.Seconds(), w.system.Seconds(), 1/w.perPoll(),
		ratio(w.perPoll(), bare), ratio(float64(w.seen.Handshakes), float64(s.sellers)), percent(w.seen.Resumptions, w.seen.Handshakes), mib(w.written), mib(w.private), w.seen.CPUSeconds)
}
