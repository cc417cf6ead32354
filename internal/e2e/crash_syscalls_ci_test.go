//go:build ci

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"poller/internal/fakeseller"
)

// A syscallCrash kills poller when it enters a system call for the first time, which is then not made.
type syscallCrash struct {
	call  string // its name
	path  string // of the file or folder it is about, in data_dir; empty: any
	about string // what strace must show at the call: part of the path
	after string // the order's state in what is left
}

// traced has strace kill the daemon at the call, and returns when it watches every thread.
func (c *crashSite) traced(d *daemon, x syscallCrash) error {
	args := []string{
		"-e", "trace=" + x.call, "-e", fmt.Sprintf("inject=%s:signal=KILL:when=1", x.call),
	}
	if x.path != "" {
		args = append(args, "-P", c.data(x.path))
	}
	_, err := d.strace(args...)
	return err
}

// strace has strace do something to the daemon, and returns when it watches every thread. detach makes it let go of them.
func (d *daemon) strace(args ...string) (detach func(), err error) {
	args = append([]string{"-f", "-y", "-p", strconv.Itoa(d.cmd.Process.Pid), "-o", d.straceLog()}, args...)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "strace", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it lets go of the threads
	stderr, err := cmd.StderrPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	attached, ended := make(chan struct{}), make(chan struct{})
	var said strings.Builder
	go func() {
		defer close(ended)
		seen := false
		for lines := bufio.NewReader(io.TeeReader(stderr, &said)); ; {
			line, err := lines.ReadString('\n')
			if !seen && strings.Contains(line, " attached") {
				seen = true
				close(attached)
			}
			if err != nil {
				break
			}
		}
		_ = cmd.Wait() // it ends as poller does
	}()
	detach = func() { cancel(); <-ended }
	d.t.Cleanup(detach)
	select {
	case <-attached:
		return detach, nil
	case <-ended:
		return nil, errors.New("strace: " + said.String())
	}
}

func (s *site) straceLog() string { return filepath.Join(s.dir, "strace.log") }

// checkTrace checks that the kill came at the call that is meant.
func (c *crashSite) checkTrace(x syscallCrash) {
	c.t.Helper()
	text, err := os.ReadFile(c.straceLog())
	noError(c.t, err, "reading what strace saw")
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, x.call+"(") && strings.Contains(line, x.about) && (strings.HasSuffix(line, "= ?\n") || strings.HasSuffix(line, "<unfinished ...>\n")) {
			return
		}
	}
	c.t.Errorf("poller was not killed at %s of %s:\n%s", x.call, x.about, text)
}

// Issue 5, "Shown by": kill -9 between the steps of: file written → synced →
// commit → sent → marked, at the very system calls (GUARANTEES, G2 to G5). The steps of an order's end begin when its seller
// answers, those of marking an event when the platform does. strace is installed by scripts/install-ci.sh.
func TestCrashAtSystemCalls(t *testing.T) {
	t.Parallel()
	atEnd := map[string]syscallCrash{
		"written, not synced":                  {call: "fsync", about: "/results/orders/one/", after: "processing"},
		"synced, its folder not":               {call: "fsync", path: "results/orders/one", about: "/results/orders/one>", after: "processing"},
		"the upper folders not":                {call: "fsync", path: "results", about: "/results>", after: "processing"},
		"synced, commit not begun":             {call: "pwrite64", path: "poller.db", about: "/poller.db>", after: "processing"},
		"pages of the commit not synced":       {call: "fdatasync", path: "poller.db", about: "/poller.db>", after: "processing"},
		"committed, platform not connected to": {call: "connect", after: "completed"},
	}
	for name, x := range atEnd {
		t.Run("end/"+name, func(t *testing.T) {
			c := newCrashSite(t)
			c.sellers.Handle("acme/one", once(func(w http.ResponseWriter, r *http.Request) {
				if err := c.traced(c.d, x); err != nil {
					t.Error(err)
					c.d.kill()
				}
				fakeseller.Files(c.sent["one"]...)[0].Func(w, r)
			}, fakeseller.Files(c.sent["one"]...)))
			c.begins("one")
			c.killed()
			c.checkTrace(x)
			equal(t, "state after the kill", c.left("one"), x.after)
			equal(t, "events told before the kill", c.platform.of("one").tries, 0)
			c.goesOn("one")
			equal(t, "attempts", c.platform.of("one").tries, 1)
		})
	}
	for name, x := range map[string]syscallCrash{
		"not begun":        {call: "pwrite64", path: "poller.db", about: "/poller.db>"},
		"pages not synced": {call: "fdatasync", path: "poller.db", about: "/poller.db>"},
	} {
		t.Run("mark/"+name, func(t *testing.T) {
			c := newCrashSite(t)
			swept := make(chan struct{})
			c.platform.replies(func(a attempt) int {
				<-swept
				if a.try == 1 {
					if err := c.traced(c.d, x); err != nil {
						t.Error(err)
						c.d.kill()
					}
				}
				return http.StatusOK
			})
			c.begins("one")
			c.d.swept(c.sweep.ID)
			close(swept)
			c.killed()
			c.checkTrace(x)
			equal(t, "times taken before the kill", c.platform.of("one").taken, 1)
			c.goesOn("one")
			equal(t, "times taken", c.platform.of("one").taken, 2)
		})
	}
}
