//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is another process, looked at through /proc.
type process int

func (p process) read(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(int(p)), name))
	return string(b), err
}

// clockTick is the unit of times in /proc: it is 100 a second wherever Go runs.
const clockTick = 10 * time.Millisecond

// cpu returns the time that the process has spent computing: its own, and the kernel's for it.
func (p process) cpu() (user, system time.Duration, err error) {
	stat, err := p.read("stat")
	if err != nil {
		return 0, 0, err
	}
	// The name, in parentheses, may hold anything; utime and stime are the 12th and 13th fields after it.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	var ticks [2]int64
	for i := range ticks {
		if ticks[i], err = strconv.ParseInt(fields[11+i], 10, 64); err != nil {
			return 0, 0, fmt.Errorf("/proc/%d/stat: %w", p, err)
		}
	}
	return time.Duration(ticks[0]) * clockTick, time.Duration(ticks[1]) * clockTick, nil
}

// field returns a number from a file of lines like "name: 123 kB".
func (p process) field(file, name string) (int64, error) {
	text, err := p.read(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/%s has no %s", p, file, name)
}

// private returns the process's private memory in bytes: heap and stacks, without mapped files.
func (p process) private() (int64, error) {
	kib, err := p.field("status", "RssAnon")
	return kib << 10, err
}

// resident returns the most memory that the process ever had in bytes, mapped files included.
func (p process) resident() (int64, error) {
	kib, err := p.field("status", "VmHWM")
	return kib << 10, err
}

// written returns the bytes that the process has had written to disk.
func (p process) written() (int64, error) { return p.field("io", "write_bytes") }

// used is what a process has used so far.
type used struct {
	at           time.Time
	user, system time.Duration
	written      int64
}

func (p process) used() (u used, err error) {
	u.at = time.Now()
	if u.user, u.system, err = p.cpu(); err == nil {
		u.written, err = p.written()
	}
	return u, err
}

// cost is what something cost a process.
type cost struct {
	wall, cpu time.Duration
	system    time.Duration // the kernel's part of cpu
	written   int64
	private   int64 // at its peak
}

const samplePause = 20 * time.Millisecond

// measure runs f and returns what it cost the process.
func (p process) measure(ctx context.Context, f func() error) (cost, error) {
	before, err := p.used()
	if err != nil {
		return cost{}, err
	}
	ctx, stop := context.WithCancel(ctx)
	var peak int64
	var sampler sync.WaitGroup
	sampler.Go(func() {
		tick := time.NewTicker(samplePause)
		defer tick.Stop()
		for {
			if n, err := p.private(); err == nil { // it may be gone: f tells
				peak = max(peak, n)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	err = f()
	stop()
	sampler.Wait()
	if err != nil {
		return cost{}, err
	}
	after, err := p.used()
	system := after.system - before.system
	return cost{after.at.Sub(before.at), after.user - before.user + system, system, after.written - before.written, peak}, err
}

// ownCPU returns the time that this process has spent computing, and the kernel's part of it.
func ownCPU() (all, system time.Duration, err error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, 0, fmt.Errorf("asking for the CPU time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), time.Duration(u.Stime.Nano()), nil
}
