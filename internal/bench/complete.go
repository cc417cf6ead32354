//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"

	"poller/internal/fakeseller"
)

const (
	completeBytes  = 100 << 10 // of each file
	completeSample = 200       // orders whose files are read back
)

// completeMode measures a sweep in which every order is completed with a file.
func (b *bench) completeMode(ctx context.Context) (err error) {
	s, err := b.open(ctx, settings{workers: b.workers})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	var plain swept
	for range 2 { // the first makes the connections
		if plain, err = s.sweep(ctx); err != nil {
			return err
		}
	}
	if _, err := s.fakes.tell(fmt.Sprintf("behave * file %d", completeBytes)); err != nil {
		return err
	}
	w, err := s.sweep(ctx)
	if err != nil {
		return err
	}
	if err := w.outcome("completed", b.orders); err != nil {
		return err
	}
	sent, checked := fakeseller.BenchFile(completeBytes), 0
	for i := 0; i < b.orders; i += max(1, b.orders/completeSample) {
		if err := s.d.checkFile(ctx, orderID(i), sent); err != nil {
			return err
		}
		checked++
	}
	n, files := float64(b.orders), int64(b.orders)*completeBytes
	fmt.Fprintf(b.out, "%d orders, %d sellers on %d hosts, %d workers. First two plain sweeps, of which the second is shown, then one in which every order is completed with a file of %d KiB;\n", b.orders, b.sellers, b.hosts, b.workers, completeBytes>>10)
	fmt.Fprintf(b.out, "of %d orders the file was read back: size and SHA-256 are right\n\n", checked)
	table := b.table("\twall s\tpolls per s\tCPU s\tof it system\tms CPU per poll\tMiB written\tpeak private MiB\tsellers' CPU s\t")
	for _, row := range []struct {
		name string
		swept
	}{{"plain", plain}, {"completed", w}} {
		fmt.Fprintf(table, "%s\t%.2f\t%.0f\t%.2f\t%.2f\t%.3f\t%s\t%s\t%.2f\t\n", row.name, row.wall.Seconds(), n/row.wall.Seconds(), row.cpu.Seconds(), row.system.Seconds(), 1000*row.perPoll(), mib(row.written), mib(row.private), row.seen.CPUSeconds)
	}
	fmt.Fprintf(table, "ratio\t%s\t\t%s\t\t\t\t%s\t\t\n", ratio(w.wall.Seconds(), plain.wall.Seconds()), ratio(w.cpu.Seconds(), plain.cpu.Seconds()), ratio(float64(w.private), float64(plain.private)))
	if err := table.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(b.out, "\nwritten: %s bytes for a byte of file\n", ratio(float64(w.written), float64(files)))
	return err
}
