//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
)

// handshakesMode measures sweeps of many sellers with few orders each, all on
// hosts of their own, beside a bare loop that makes a connection for each request.
func (b *bench) handshakesMode(ctx context.Context) (err error) {
	s, err := b.open(ctx, settings{workers: b.workers})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	task := bareTask{CAFile: s.fakes.CAFile, Fresh: b.connections}
	for i := range b.sellers {
		task.URLs = append(task.URLs, s.fakes.URLs[i%len(s.fakes.URLs)]+"/"+sellerID(i)+"/status/"+orderID(i))
	}
	fmt.Fprintf(b.out, "%d orders, %d sellers on %d hosts, each with a chain of three certificates; %d workers.\n", b.orders, b.sellers, b.hosts, b.workers)
	fmt.Fprintf(b.out, "The bare loop has %d connections at once, each for one request; then it does so again, with its sessions resumed\n\n", b.connections)
	table := b.table("\twall s\tCPU s\tCPU-s per 1,000 polls\t/ bare\thandshakes per seller\tresumed\tMiB written\tpeak private MiB\tsellers' CPU s\t")
	bare, err := runBare(ctx, task)
	if err != nil {
		return err
	}
	loops := []bareResult{bare, *bare.Again}
	for i, name := range []string{"bare loop", "bare loop, resumed"} {
		r := loops[i]
		fmt.Fprintf(table, "%s\t%.2f\t%.2f\t%.3f\t1\t1.00\t\t\t\t\t\n", name, r.WallSeconds, r.CPUSeconds, 1000*r.CPUSeconds/float64(r.Requests))
	}
	for i := range 2 {
		w, err := s.sweep(ctx)
		if err != nil {
			return err
		}
		r := loops[i]
		fmt.Fprintf(table, "sweep %d\t%.2f\t%.2f\t%.3f\t%s\t%s\t%s\t%s\t%s\t%.2f\t\n", i+1, w.wall.Seconds(), w.cpu.Seconds(), 1000*w.perPoll(), ratio(w.perPoll(), r.CPUSeconds/float64(r.Requests)),
			ratio(float64(w.seen.Handshakes), float64(b.sellers)), percent(w.seen.Resumptions, w.seen.Handshakes), mib(w.written), mib(w.private), w.seen.CPUSeconds)
	}
	return table.Flush()
}
