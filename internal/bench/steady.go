//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// steadySweeps is how many sweeps mode steady simulates.
const steadySweeps = 1000

// steadyMode watches the size of the database while orders come and end. A thousand intervals take more than ten
// days; the real scheduler and store live through them in virtual time, which only a test can have.
func (b *bench) steadyMode(ctx context.Context) error {
	test := filepath.Join(b.dir, "scheduler.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", test, "poller/scheduler")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building the test: %w", err)
	}
	// Not through go test, which waits for the test to end when it is interrupted.
	command := exec.CommandContext(ctx, test, "-test.v", "-test.run=^TestTheDatabaseStaysTheSameSize$",
		"-steady.sweeps", strconv.Itoa(steadySweeps), "-steady.orders", strconv.Itoa(b.orders))
	command.Env = append(os.Environ(), "TMPDIR="+b.dir)
	command.Stdout, command.Stderr = b.out, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("the database does not stay the same size: %w", errors.Join(err, ctx.Err()))
	}
	return nil
}
