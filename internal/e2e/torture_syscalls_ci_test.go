//go:build ci

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fileCalls are the system calls by which poller changes files, in groups that are tried together, and how many of them
// some thread makes under a load that is seen for a while. One that opens a file for writing comes before one of these.
var fileCalls = []struct {
	calls string
	many  int
}{
	{"pwrite64", 30}, {"fdatasync", 20}, {"fsync", 20}, {"write", 60}, {"ftruncate", 1},
	{"rename,renameat,renameat2", 2}, {"link,linkat", 2}, {"unlink,unlinkat", 4}, {"mkdir,mkdirat", 6},
}

// diesAt has strace kill poller, when it is started next, as it enters the n-th of some system calls, which is then not
// made. Each thread counts for itself, and Go spreads its work over threads as it likes: two runs with the same n
// differ, and with n rising every place is come to. strace is installed by scripts/install-ci.sh.
func (s *site) diesAt(calls string, n int) (log string) {
	s.t.Helper()
	log = filepath.Join(s.dir, "strace.log")
	s.under = []string{
		// As a grandchild, strace leaves poller its place: our child, with its own exit code.
		"strace", "-D", "-f", "-y", "-qqq", "-o", log,
		"-e", "trace=" + calls, "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", calls, n),
	}
	noError(s.t, os.RemoveAll(log), "removing what strace saw before")
	return log
}

// lives ends what diesAt began.
func (s *site) lives() { s.under = nil }

// gone kills poller if it has not ended, and reports whether strace had killed it; nothing else may have.
func (d *daemon) gone(log string) (byStrace bool) {
	d.t.Helper()
	select {
	case <-d.exited:
		byStrace = true
	default:
		d.kill()
	}
	text, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(text), "killed by SIGKILL") {
		d.t.Fatalf("poller ended by itself: %v, %v (scripts/install-ci.sh installs strace)\n%s", d.err, err, d.log.tail(20))
	}
	return byStrace
}

// GUARANTEES, G1 to G5: kill -9 at the n-th write, sync, renaming, linking and removal of poller that does everything at
// once, and at such a call again while it recovers.
func TestTortureSyscalls(t *testing.T) {
	t.Parallel()
	c := newTorture(t, seed(t))
	d := c.begin()
	killed, again := map[string]int{}, 0
	for _, group := range fileCalls {
		for n := range places(t, c.random, group.many) {
			d.kill()
			log := c.diesAt(group.calls, n)
			d = c.launch()
			if d.waitServing() {
				c.loadUntilGone(d)
			}
			if d.gone(log) {
				killed[group.calls]++
			}
			if c.random.IntN(2) == 0 {
				log := c.diesAt(fileCalls[c.random.IntN(len(fileCalls))].calls, 1+c.random.IntN(4))
				d = c.launch()
				if d.waitServing() {
					pause(c.random, 200*time.Millisecond) // it goes on with its sweep
				}
				if d.gone(log) {
					again++
				}
			}
			c.lives()
			d = c.launch()
			c.serves(d)
			c.check(d)
			if t.Failed() {
				t.Fatalf("after a kill at %s, the %d-th", group.calls, n)
			}
		}
	}
	c.finish(d)
	t.Logf("killed at %v, and %d times while it recovered; %d orders, %d events read", killed, again, len(c.orders), len(c.feed))
}

// loadUntilGone loads poller, which serves, until it is gone or has done much.
func (c *torture) loadUntilGone(d *daemon) {
	c.t.Helper()
	c.serves(d)
	much := c.after(700)
	wait := c.load(d)
	select {
	case <-d.exited:
	case <-much:
	case <-within(c.t).Done():
		c.t.Fatal("poller does not get that far")
	}
	wait()
}

// places are the n at which to fail: one at random, or in the long form each from 1 up to as many, which POLLER_TORTURE bounds.
func places(t *testing.T, random *rand.Rand, many int) func(yield func(int) bool) {
	t.Helper()
	first, last := 1, min(many, tortureFactor(t))
	if last == 1 {
		first = 1 + random.IntN(many)
		last = first
	}
	return func(yield func(int) bool) {
		for n := first; n <= last && yield(n); n++ { //nolint:revive // yield does the work
		}
	}
}

// GUARANTEES, G8: kill -9 at each file system call of a first start, and at one of the second. The one after that goes
// on as if it were the first.
func TestTortureFirstStart(t *testing.T) {
	t.Parallel()
	random, step := seed(t), 1
	if tortureFactor(t) == 1 {
		step = 2 // every other one, those that an earlier run may have left out
	}
	s := newSite(t, 1)
	kills := 0
	for _, group := range fileCalls {
		for n := 1 + random.IntN(step); ; n += step {
			noError(t, os.RemoveAll(s.data("")), "beginning anew")
			log := s.diesAt(group.calls, n)
			d := s.launch()
			d.waitServing()
			if !d.gone(log) {
				break // it makes no more of them
			}
			kills++
			if random.IntN(2) == 0 {
				log := s.diesAt(group.calls, 1+random.IntN(n))
				d = s.launch()
				d.waitServing()
				d.gone(log)
			}
			s.lives()
			d = s.start()
			d.register(0, "seller")
			d.submit("seller", "order")
			d.kill()
		}
	}
	s.lives()
	t.Logf("%d kills", kills)
}
