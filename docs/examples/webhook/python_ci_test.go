//go:build ci

package main

import (
	"bufio"
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// It needs python3: see scripts/install-ci.sh.
func TestTheReceiverInPython(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // its end ends what waits for lines
	defer cancel()
	cmd := exec.CommandContext(ctx, "python3", "receiver.py", "127.0.0.1:0")
	cmd.Env = append(cmd.Environ(), "WEBHOOK_SECRETS="+newSecret)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	said := bufio.NewScanner(stderr)
	said.Scan()
	url, ok := strings.CutPrefix(said.Text(), "listening on ")
	if !ok {
		t.Fatalf("it said %q", said.Text())
	}
	kept := bufio.NewScanner(stdout)
	examine(t, url, func(n int) (lines []string) {
		for range n {
			kept.Scan()
			lines = append(lines, kept.Text())
		}
		return lines
	})
}
