package main

import (
	"fmt"
	"runtime/debug"
	"syscall"
)

// otherFiles is how many files poller opens at least beside its connections to sellers:
// database, results, listeners, and the fewest clients of each of its three servers.
const otherFiles = 32 + 3*leastConns

// How many connections the API and the upload address may have: few open files allow fewer.
const (
	leastConns = 32
	mostConns  = 1024
)

// clientConns returns how many connections a server may have besides those to sellers: an eighth of the files that are left.
func clientConns(openFiles, workers int) int {
	return max(leastConns, min(mostConns, leastConns+(openFiles-workers-otherFiles)/8))
}

// harden takes away what a core file could show: sellers' headers, tokens (GUARANTEES, G19).
func harden() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("core files off: %w", err)
	}
	return undumpable()
}

// leanMemory has garbage collected at half of what lives in place of all of it: a quarter less memory with a million
// orders, for a few hundredths of the CPU. GOGC in the environment overrules it.
func leanMemory(env func(string) (string, bool)) {
	if _, set := env("GOGC"); !set {
		debug.SetGCPercent(50)
	}
}

// raiseFiles allows the process as many open files as the hard limit has, and returns how many.
func raiseFiles() (int, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("limit of open files: %w", err)
	}
	if l.Cur < l.Max {
		l.Cur = l.Max
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
			return 0, fmt.Errorf("limit of open files: %w", err)
		}
	}
	return int(min(l.Cur, 1<<30)), nil
}

// checkFiles refuses a limit of open files that the workers alone would use up.
func checkFiles(limit, workers int) error {
	if need := workers + otherFiles; limit < need {
		return fmt.Errorf("fetch.workers %d needs %d open files, the limit is %d: raise it (ulimit -n, LimitNOFILE) or lower fetch.workers", workers, need, limit)
	}
	return nil
}
