//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"
)

// atOnce is how many requests the programs that the daemon is compared with have in flight.
const atOnce = 64

// rival is what a user could ask the sellers with.
type rival struct {
	name   string
	run    func(context.Context) (tally, error)
	leaves string // what the user is left to do
}

// tally is what asking once for each of a number of orders took.
type tally struct {
	orders     int // 0: it is not installed
	wall, cpu  time.Duration
	resident   int64 // the most that one process had; 0: not known
	written    int64 // 0: not known
	handshakes int64
	note       string
}

// errAbsent tells that a program is not installed.
var errAbsent = errors.New("not installed")

// comparison is one run of mode compare.
type comparison struct{ *stage }

// compareMode has the same sellers asked for the same orders by the daemon and by what a user would pick instead.
func (b *bench) compareMode(ctx context.Context) (err error) {
	s, err := b.open(ctx, settings{workers: b.workers})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	c := &comparison{s}
	return c.print(ctx, []rival{
		{"poller, first sweep", c.poller, "-"},
		{"poller, second sweep", c.poller, "-"},
		{"bare net/http loop, " + fmt.Sprint(b.connections) + " connections", c.bare, "everything: no answer is read or kept"},
		{"Go loop, a commit per poll", c.commitLoop, "reading answers, results, schedule, retries, fairness, limits, SSRF guard, API"},
		{"curl --parallel", c.curl, "durability, reading answers, results, schedule, retries, fairness, limits, SSRF guard, API"},
		{"xargs -P 64 curl", c.xargs, "the same, and kept connections"},
		{"Prometheus, one interval", c.prometheus, "reading JSON (each scrape fails), results, ends (it asks for ever), fairness, SSRF guard"},
	})
}

// print runs the rivals one after another and prints a table. The second of them is what all are divided by.
func (c *comparison) print(ctx context.Context, rivals []rival) error {
	tallies := make([]tally, len(rivals))
	for i, r := range rivals {
		before, err := c.fakes.account()
		if err != nil {
			return err
		}
		if tallies[i], err = r.run(ctx); errors.Is(err, errAbsent) {
			tallies[i] = tally{note: " (" + err.Error() + ")"}
			continue
		} else if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		after, err := c.fakes.account()
		if err != nil {
			return err
		}
		tallies[i].handshakes = after.since(before).Handshakes
	}
	fmt.Fprintf(c.out, "%d orders of %d sellers on %d hosts; %d requests at once, the daemon %d workers\n\n", c.orders, c.sellers, len(c.fakes.URLs), atOnce, c.workers)
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\torders\twall s\tCPU s\tpolls per CPU-s\tCPU per poll / poller\tMiB resident at the peak\tMiB written\thandshakes\tleaves out")
	poller := tallies[1].perPoll()
	for i, r := range rivals {
		t := &tallies[i]
		if t.orders == 0 {
			fmt.Fprintf(table, "%s\t-\t-\t-\t-\t-\t-\t-\t-\t%s%s\n", r.name, r.leaves, t.note)
			continue
		}
		known := func(n int64) string {
			if n == 0 {
				return "-"
			}
			return mib(n)
		}
		fmt.Fprintf(table, "%s\t%d\t%.2f\t%.2f\t%.0f\t%s\t%s\t%s\t%d\t%s%s\n", r.name, t.orders, t.wall.Seconds(), t.cpu.Seconds(), 1/t.perPoll(),
			ratio(t.perPoll(), poller), known(t.resident), known(t.written), t.handshakes, r.leaves, t.note)
	}
	return table.Flush()
}

// perPoll returns the CPU seconds for one poll.
func (t *tally) perPoll() float64 { return t.cpu.Seconds() / float64(t.orders) }

// url returns where the order's seller is asked for it: what the daemon makes of the seller's template.
func (c *comparison) url(i int) string { return c.host(i) + c.path(i) }

func (c *comparison) host(i int) string {
	return c.fakes.URLs[i%c.sellers%len(c.fakes.URLs)]
}

func (c *comparison) path(i int) string {
	return "/" + sellerID(i%c.sellers) + "/status/" + orderID(i)
}

// key is the value of the header that the order's seller wants.
func (c *comparison) key(i int) string { return "Bearer key-of-" + sellerID(i%c.sellers) }

// poller is a sweep.
func (c *comparison) poller(ctx context.Context) (t tally, err error) {
	w, err := c.sweep(ctx)
	if err != nil {
		return t, err
	}
	resident, err := c.d.resident()
	return tally{orders: w.Polled, wall: w.wall, cpu: w.cpu, resident: resident, written: w.written}, err
}

func (c *comparison) bare(ctx context.Context) (tally, error) {
	task := bareTask{CAFile: c.fakes.CAFile, Requests: c.orders}
	for i := range c.connections {
		task.URLs = append(task.URLs, c.url(i))
	}
	r, err := runBare(ctx, task)
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	return tally{orders: r.Requests, wall: seconds(r.WallSeconds), cpu: seconds(r.CPUSeconds), note: " (its handshakes are not counted)"}, err
}

// program runs a program to its end and returns what it took with all that it started, and makes sure that the
// sellers were asked for n orders.
func (c *comparison) program(command *exec.Cmd, n int) (t tally, err error) {
	before, err := c.fakes.account()
	if err != nil {
		return t, err
	}
	begun := time.Now()
	if err := command.Run(); err != nil {
		return t, err
	}
	t = tally{orders: n, wall: time.Since(begun), cpu: command.ProcessState.UserTime() + command.ProcessState.SystemTime()}
	if u, ok := command.ProcessState.SysUsage().(*syscall.Rusage); ok {
		t.resident, t.written = u.Maxrss<<10, u.Oublock*512
	}
	after, err := c.fakes.account()
	if asked := after.since(before).Requests; err == nil && asked != int64(n) {
		err = fmt.Errorf("the sellers were asked %d times for %d orders", asked, n)
	}
	return t, err
}

// folder makes an empty folder for one rival.
func (c *comparison) folder(name string) (string, error) {
	dir := filepath.Join(c.dir, name)
	return dir, os.Mkdir(dir, 0o700)
}

// find returns the path of an installed program.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is %w", name, errAbsent)
	}
	return path, nil
}
