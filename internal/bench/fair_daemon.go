//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// bookedSweep is the whole record of a sweep.
type bookedSweep struct {
	sweep
	Trigger      string
	Skipped      int
	LeftToSeller int `json:"left_to_seller"`
	Remaining    int
}

// recentSweeps returns the records of the newest sweeps, the newest first.
func (d *daemon) recentSweeps(ctx context.Context, n int) ([]bookedSweep, error) {
	var list struct{ Items []bookedSweep }
	err := d.call(ctx, http.MethodGet, fmt.Sprintf("/v1/sweeps?limit=%d", n), nil, &list)
	if err == nil && len(list.Items) < n {
		err = fmt.Errorf("there are only %d sweeps", len(list.Items))
	}
	return list.Items, err
}

// newestSweep returns the record of the newest sweep.
func (d *daemon) newestSweep(ctx context.Context) (s bookedSweep, err error) {
	list, err := d.recentSweeps(ctx, 1)
	if err != nil {
		return s, err
	}
	return list[0], nil
}

// idle returns when no sweep is running.
func (d *daemon) idle(ctx context.Context) error {
	for {
		s, err := d.newestSweep(ctx)
		if err != nil || s.State != "running" {
			return err // also when ctx has ended
		}
		pause(ctx)
	}
}

var scheduleLine = regexp.MustCompile(`(?m)^schedule:.*$`)

// reschedule changes the section schedule of the daemon's configuration and has it read.
func (d *daemon) reschedule(ctx context.Context, schedule string) error {
	file := filepath.Join(d.dir, "config.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text = scheduleLine.ReplaceAllLiteral(text, []byte("schedule: {"+schedule+"}"))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	before, err := d.reloads()
	if err != nil {
		return err
	}
	if err := d.command.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		now, err := d.reloads()
		if err != nil || now > before {
			return err
		}
		if pause(ctx); ctx.Err() != nil {
			return errors.New("the configuration was not reloaded")
		}
	}
}

// reloads returns how often the daemon has said that it has read its configuration again.
func (d *daemon) reloads() (int, error) {
	log, err := os.ReadFile(filepath.Join(d.dir, "poller.log"))
	return strings.Count(string(log), "configuration reloaded"), err
}
