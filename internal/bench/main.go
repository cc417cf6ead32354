//go:build linux

// Command bench measures the real daemon against fake TLS sellers on loopback.
// It prints what it found, as ratios within one run wherever it can, since
// machines differ, and asserts nothing about time; orders that were not polled, or not as they
// should have been, are an error. docs/performance.md has the figures, -help the modes.
//
//	bench -mode sweep -orders 300000 -sellers 1000
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
	"slices"
	"strconv"
	"syscall"
	"time"
)

// bench is what one run works with.
type bench struct {
	orders, sellers, hosts, workers int
	connections, sweeps             int
	delay                           time.Duration
	quick                           bool   // mode fair without a schedule
	answer                          int64  // bytes of base64 in each answer of mode files
	perf                            string // file for a profile of the last sweep

	dir                        string // for everything that is made, deleted afterwards
	pollerBinary, sellerBinary string
	out                        io.Writer
}

// mode is one thing to measure.
type mode struct {
	name            string
	orders, sellers int // unless flags say otherwise; sellers 0: one for each order
	about           string
	run             func(context.Context) error
}

func (b *bench) modes() []mode {
	return []mode{
		{"sweep", 20_000, 500, "polls per CPU-second, beside a bare loop of net/http", b.sweepMode},
		{"handshakes", 20_000, 0, "sweeps of a seller per order: what a handshake costs, and how many are resumed", b.handshakesMode},
		{"progress", 20_000, 500, "sweeps in which every order moves, beside one in which none does", b.progressMode},
		{"ends", 20_000, 500, "sweeps in each of which 1 % of the orders ends: what is written", b.endsMode},
		{"memory", 1_000_000, 10_000, "private memory idle, sweeping and with more polls in flight, with few orders and with -orders", b.memoryMode},
		{"slow", 20_000, 2_000, "a sweep in which every answer takes -delay (1s), with -workers (5000)", b.slowMode},
		{"start", 1_000_000, 500, "how long a start takes after a stop and after a kill, and GET /metrics", b.startMode},
		{"complete", 10_000, 500, "a sweep in which every order is completed with a file of 100 KiB", b.completeMode},
		{"files", 32, 0, "memory while many sellers send a large file at once", b.filesMode},
		{"submit", 1_000_000, 500, "submission of many orders in one request", b.submitMode},
		{"compare", 5_000, 100, "the daemon beside what a user would pick instead: xargs curl, curl --parallel, Prometheus, a Go loop", b.compareMode},
		{"fair", 100_000, 1_000, "what hanging sellers and big ones do to others, spread, and an outage (-quick: no schedule, which takes 6 minutes)", b.fairMode},
		{"carry", 1_000_000, 10_000, "a sweep that a tick closes half-way: memory, pause and order", b.carryMode},
		{"steady", 10_000, 100, "the size of the database over 1,000 sweeps in virtual time, with orders coming and ending", b.steadyMode},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == bareCommand:
		err = bareMain(ctx, os.Stdin, os.Stdout)
	case len(os.Args) == 2 && os.Args[1] == commitCommand:
		err = commitMain(ctx, os.Stdin)
	default:
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
	name := flags.String("mode", "sweep", "what to measure, see above")
	flags.IntVar(&b.orders, "orders", 0, "number of orders (default: the mode's)")
	flags.IntVar(&b.sellers, "sellers", 0, "number of sellers (default: the mode's); no more than orders")
	flags.IntVar(&b.hosts, "hosts", 0, "number of hosts that the sellers share, each a loopback address (default: one for each seller)")
	flags.IntVar(&b.workers, "workers", 0, "fetch.workers of the daemon (default: 128; slow 5000)")
	flags.IntVar(&b.connections, "connections", 100, "connections of the bare loop")
	flags.IntVar(&b.sweeps, "sweeps", 3, "number of sweeps in modes sweep, progress and ends")
	flags.DurationVar(&b.delay, "delay", 0, "time that sellers take before they answer, in modes sweep and slow")
	flags.BoolVar(&b.quick, "quick", false, "leave out of mode fair what waits for ticks")
	flags.Int64Var(&b.answer, "answer", 50<<20, "bytes of base64 in each answer, in mode files")
	flags.StringVar(&b.perf, "perf", "", "record the daemon in the last sweep of mode sweep with Linux's perf into this `file`, and print the shares of the CPU")
	flags.StringVar(&b.pollerBinary, "poller", "", "measure this binary; it needs its symbols for -perf (default: it is built)")
	temp := flags.String("dir", "", "where to make the temporary folder (default: the system's; a disk, or nothing is said about the disk)")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "Modes:")
		for _, m := range b.modes() {
			sellers := "one for each order"
			if m.sellers > 0 {
				sellers = strconv.Itoa(m.sellers)
			}
			fmt.Fprintf(flags.Output(), "  %-10s  %s\n              (orders: %d, sellers: %s)\n", m.name, m.about, m.orders, sellers)
		}
		fmt.Fprintln(flags.Output(), "Flags:")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	chosen := slices.IndexFunc(b.modes(), func(m mode) bool { return m.name == *name })
	if chosen < 0 || flags.NArg() > 0 {
		return fmt.Errorf("no mode %q, or arguments beside the flags: see -help", *name)
	}
	m := b.modes()[chosen]
	b.sizes(m)
	if b.perf != "" {
		if m.name != "sweep" {
			return errors.New("-perf is for mode sweep")
		}
		if err := perfThere(); err != nil {
			return err
		}
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
	return m.run(ctx)
}

// sizes fills in what the flags left open.
func (b *bench) sizes(m mode) {
	orDefault := func(n *int, d int) {
		if *n <= 0 {
			*n = d
		}
	}
	orDefault(&b.orders, m.orders)
	if m.sellers == 0 {
		m.sellers = b.orders
	}
	orDefault(&b.sellers, m.sellers)
	b.sellers = min(b.sellers, b.orders)
	orDefault(&b.hosts, b.sellers)
	if m.name == "slow" {
		orDefault(&b.workers, 5000)
	}
	orDefault(&b.workers, 128)
}

// build makes the binaries as users have them.
func (b *bench) build(ctx context.Context) error {
	b.sellerBinary = filepath.Join(b.dir, "fakeseller")
	packages := map[string]string{b.sellerBinary: "poller/internal/fakeseller/cmd/fakeseller"}
	if b.pollerBinary == "" {
		b.pollerBinary = filepath.Join(b.dir, "poller")
		packages[b.pollerBinary] = "poller/cmd/poller"
	}
	for binary, pkg := range packages {
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

// percent is a share for a table, which may be one of nothing.
func percent(a, of int64) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(a)/float64(of))
}
