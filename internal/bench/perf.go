//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// profile is a recording of a process by Linux's perf. A nil one does nothing.
type profile struct {
	file             string
	command          *exec.Cmd
	toPerf, fromPerf *os.File
}

// perfThere is an error if perf is not installed.
func perfThere() error {
	if _, err := exec.LookPath("perf"); err != nil {
		return fmt.Errorf("-perf needs Linux's perf (package linux-perf or linux-tools): %w", err)
	}
	return nil
}

// record begins a recording into the file, and returns when it has begun.
func record(ctx context.Context, file string, of process) (*profile, error) {
	orders, toPerf, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	fromPerf, acks, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, orders.Close(), toPerf.Close())
	}
	// 499 times a second, so that it isn't in step with anything. It begins when it is told to over descriptor 3.
	command := exec.CommandContext(ctx, "perf", "record", "--quiet", "--freq", "499", "-g", "--output", file, "--pid", strconv.Itoa(int(of)),
		"--delay", "-1", "--control", "fd:3,4")
	command.Stderr, command.ExtraFiles = os.Stderr, []*os.File{orders, acks}
	p := &profile{file, command, toPerf, fromPerf}
	if err := errors.Join(command.Start(), orders.Close(), acks.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("starting perf: %w", err), toPerf.Close(), fromPerf.Close())
	}
	if err := p.tell("enable"); err != nil {
		return nil, errors.Join(err, p.end())
	}
	return p, nil
}

// tell has perf do something, and returns when it has.
func (p *profile) tell(command string) error {
	if _, err := p.toPerf.WriteString(command + "\n"); err != nil {
		return fmt.Errorf("perf: %s: %w", command, err)
	}
	if _, err := p.fromPerf.Read(make([]byte, 16)); err != nil { // "ack\n"
		return fmt.Errorf("perf: %s: %w", command, err)
	}
	return nil
}

// end ends the recording.
func (p *profile) end() error {
	if p == nil {
		return nil
	}
	err := p.tell("stop")
	err = errors.Join(err, p.toPerf.Close(), p.fromPerf.Close())
	if waited := p.command.Wait(); waited != nil {
		err = errors.Join(err, fmt.Errorf("perf: %w", waited))
	}
	return err
}

// parts are what the CPU is shared out to, by a piece of a function's name. A
// sample belongs to the first part that has a function anywhere in its stack.
var parts = []struct{ name, function string }{
	{"collecting garbage in the background", "runtime.gcBgMarkWorker"},
	{"collecting garbage in the background", "runtime.bgsweep"},
	{"collecting garbage in the background", "runtime.bgscavenge"},
	{"the store", "poller/store."},
	{"the store", "go.etcd.io/bbolt."},
	{"net/http, TLS and their system calls", "net/http.(*Transport)"},
	{"net/http, TLS and their system calls", "net/http.(*persistConn)"},
	{"net/http, TLS and their system calls", "net/http.(*Client)"},
	{"net/http, TLS and their system calls", "net/http.(*body"},
	{"net/http, TLS and their system calls", "crypto/tls."},
	{"the rest of the fetcher", "poller/fetcher."},
	{"the scheduler", "poller/scheduler."},
	{"result files", "poller/results."},
	{"the API", "net/http.(*conn)"},
}

const noPart = "the rest: Go's scheduler, timers, the kernel"

// print prints the shares of the CPU, by what perf script says of each sample.
func (p *profile) print(ctx context.Context, out io.Writer) error {
	if p == nil {
		return nil
	}
	command := exec.CommandContext(ctx, "perf", "script", "--input", p.file, "--fields", "ip,sym")
	command.Stderr = os.Stderr
	stacks, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting perf: %w", err)
	}
	samples, all, err := countSamples(stacks)
	if err := errors.Join(err, command.Wait()); err != nil {
		return fmt.Errorf("perf script: %w", err)
	}
	fmt.Fprintf(out, "\nWhere the CPU of the last sweep went (%d samples in %s):\n", all, p.file)
	for _, name := range slices.SortedFunc(maps.Keys(samples), func(a, b string) int { return int(samples[b] - samples[a]) }) {
		fmt.Fprintf(out, "%8s  %s\n", percent(samples[name], all), name)
	}
	return nil
}

// countSamples reads stacks, a function a line, with an empty line after each.
func countSamples(stacks io.Reader) (samples map[string]int64, all int64, err error) {
	samples = make(map[string]int64)
	best, lines := len(parts), 0
	flush := func() {
		if lines == 0 {
			return
		}
		name := noPart
		if best < len(parts) {
			name = parts[best].name
		}
		samples[name]++
		all++
		best, lines = len(parts), 0
	}
	scanner := bufio.NewScanner(stacks)
	for scanner.Scan() {
		line := scanner.Text()
		if strings.TrimSpace(line) == "" {
			flush()
			continue
		}
		lines++
		for i := range best {
			if strings.Contains(line, parts[i].function) {
				best = i
				break
			}
		}
	}
	flush()
	return samples, all, scanner.Err()
}
