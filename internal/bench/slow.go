//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
)

// slowMode measures a sweep whose time goes to waiting: as many polls in
// flight as there are workers, each for as long as the sellers take.
func (b *bench) slowMode(ctx context.Context) (err error) {
	if b.delay == 0 {
		b.delay = slowly
	}
	s, err := b.open(ctx, settings{workers: b.workers})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	idle, err := s.d.private()
	if err != nil {
		return err
	}
	w, err := s.sweep(ctx)
	if err != nil {
		return err
	}
	most := w.seen.Groups[group].MostAtOnce
	atBest := float64(b.orders) / float64(b.workers) * b.delay.Seconds()
	fmt.Fprintf(b.out, "%d orders, %d sellers on %d hosts, %d workers, every answer takes %s\n\n", b.orders, b.sellers, b.hosts, b.workers, b.delay)
	fmt.Fprintf(b.out, "%8.1f s, %s times what it takes to wait for all answers (%.1f s); 1,000,000 orders at that rate: %.0f s\n", w.wall.Seconds(), ratio(w.wall.Seconds(), atBest), atBest, w.wall.Seconds()/float64(b.orders)*1e6)
	fmt.Fprintf(b.out, "%8d polls in flight at once, as the sellers saw it\n", most)
	fmt.Fprintf(b.out, "%8s MiB private memory at the peak, %s MiB before: %.0f KiB for each poll in flight\n", mib(w.private), mib(idle), float64(w.private-idle)/1024/float64(max(1, most)))
	fmt.Fprintf(b.out, "%8.1f CPU-s of the daemon, %.0f polls per CPU-s, %s handshakes per seller\n", w.cpu.Seconds(), 1/w.perPoll(), ratio(float64(w.seen.Handshakes), float64(b.sellers)))
	return nil
}
