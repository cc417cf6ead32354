package main

import (
	"fmt"
	"math"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// diskTTL is how long an answer of the file system counts: it is asked at
// every submission, poll and scrape.
const diskTTL = time.Second

// A disk knows how much space is free where one folder is.
type disk struct {
	dir  string
	now  func() time.Time
	stat func(dir string) (int64, error) // free bytes
	log  *zap.Logger

	mu    sync.Mutex
	asked time.Time
	free  int64
	bad   bool // the last answer was an error
}

func newDisk(dir string, now func() time.Time, log *zap.Logger) *disk {
	return &disk{dir: dir, now: now, stat: freeBytes, log: log}
}

// Free returns the free bytes, at most diskTTL old. When the file system does
// not answer it is 0: nothing should be written there.
func (d *disk) Free() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if age := now.Sub(d.asked); !d.asked.IsZero() && age >= 0 && age < diskTTL {
		return d.free
	}
	free, err := d.stat(d.dir)
	if err != nil {
		free = 0
		if !d.bad {
			d.log.Error("free disk space is not known; taken for none", zap.String("dir", d.dir), zap.Error(err))
		}
	}
	d.asked, d.free, d.bad = now, free, err != nil
	return free
}

// readOnly is the flag of a file system that takes no writes (ST_RDONLY).
const readOnly = 1

// freeBytes is what an unprivileged user may still write; none when there is no inode left, or nothing may be written.
func freeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	if s.Files > 0 && s.Ffree == 0 || s.Flags&readOnly != 0 {
		return 0, nil
	}
	if blocks, size := s.Bavail, uint64(s.Bsize); size > 0 && blocks <= math.MaxInt64/size {
		return int64(blocks * size), nil
	}
	return math.MaxInt64, nil
}
