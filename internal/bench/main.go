//go:build linux

// Command bench measures the real daemon against fake TLS sellers on loopback.
// It prints what it found, as ratios within one run wherever it can, since
// machines differ, and asserts nothing about time. docs/performance.md has the figures.
//
//	bench -mode sweep    polls per CPU-second, beside a bare loop of net/http
//	bench -mode files    memory while many sellers send a large file at once
//	bench -mode submit   submission of many orders in one request
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// bench is what one run works with.
type bench struct {
	orders, sellers, hosts, workers int
	connections, sweeps             int
	delay                           time.Duration
	answer                          int64 // bytes of base64 in each answer of mode files

	dir                        string // for everything that is made, deleted afterwards
	pollerBinary, sellerBinary string
	out                        io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if len(os.Args) == 2 && os.Args[1] == bareCommand {
		err = bareMain(ctx, os.Stdin, os.Stdout)
	} else {
		err = run(ctx, os.Args[1:])
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	b := &bench{out: os.Stdout}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	mode := flags.String("mode", "sweep", "sweep, files or submit")
	flags.IntVar(&b.orders, "orders", 0, "number of orders (default: sweep 20000, files 16, submit 1000000)")
	flags.IntVar(&b.sellers, "sellers", 500, "number of sellers; in mode files each order has its own")
	flags.IntVar(&b.hosts, "hosts", 0, "number of hosts that the sellers share (default: one for each seller)")
	flags.IntVar(&b.workers, "workers", 128, "fetch.workers of the daemon")
	flags.IntVar(&b.connections, "connections", 100, "connections of the bare loop")
	flags.IntVar(&b.sweeps, "sweeps", 3, "number of sweeps in mode sweep")
	flags.DurationVar(&b.delay, "delay", 0, "time that sellers take before they answer, in mode sweep")
	flags.Int64Var(&b.answer, "answer", 50<<20, "bytes of base64 in each answer, in mode files")
	temp := flags.String("dir", "", "where to make the temporary folder (default: the system's; a disk, or nothing is said about the disk)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	modes := map[string]struct {
		orders int
		run    func(context.Context) error
	}{"sweep": {20_000, b.sweepMode}, "files": {16, b.filesMode}, "submit": {1_000_000, b.submitMode}}
	chosen, ok := modes[*mode]
	if !ok || flags.NArg() > 0 {
		return errors.New("want -mode sweep, files or submit, and no arguments")
	}
	if b.orders == 0 {
		b.orders = chosen.orders
	}
	if b.hosts == 0 {
		b.hosts = b.sellers
	}
	if b.dir, err = os.MkdirTemp(*temp, "poller-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := b.build(ctx); err != nil {
		return err
	}
	b.dir = filepath.Join(b.dir, "run")
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		return err
	}
	defer func(run string) { b.dir = filepath.Dir(run) }(b.dir)
	fmt.Fprintf(b.out, "%s, %s/%s, %d CPUs\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	return chosen.run(ctx)
}

// build makes the binaries as users have them.
func (b *bench) build(ctx context.Context) error {
	b.pollerBinary, b.sellerBinary = filepath.Join(b.dir, "poller"), filepath.Join(b.dir, "fakeseller")
	for binary, pkg := range map[string]string{b.pollerBinary: "poller/cmd/poller", b.sellerBinary: "poller/internal/fakeseller/cmd/fakeseller"} {
		command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, pkg)
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		command.Stderr = os.Stderr
		if err := command.Run(); err != nil {
			return fmt.Errorf("building %s: %w", pkg, err)
		}
	}
	return nil
}

func mib(n int64) string { return fmt.Sprintf("%.1f", float64(n)/(1<<20)) }

// ratio is a/b for a table, which may have no figure to divide by.
func ratio(a, b float64) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b)
}
