//go:build ci

package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"poller/internal/fakeseller"
)

// There is no place for the file of a result: no inode, or the result store has a disk of its own, which is full. The
// order goes on later; who answered is not blamed. GUARANTEES, G7.
func TestNoPlaceForAResult(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(s *site) (fill func() (empty func())){
		"no inodes": func(s *site) func() func() {
			s.onTmpfs("size=48m,nr_inodes=64")
			noError(t, os.Mkdir(s.data("lost+found"), 0o700), "making a folder")
			return s.useInodes
		},
		"full disk of results": func(s *site) func() func() {
			disk := filepath.Join(s.dir, "disk")
			s.mountAt(disk, "-t", "tmpfs", "-o", "size=4m", "poller-test")
			s.set("results.bucket", "file://"+disk+"/results")
			return func() func() { return s.fill(disk) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 1)
			noPlaceForAResult(t, s, spoil(s))
		})
	}
}

func noPlaceForAResult(t *testing.T, s *site, fill func() (empty func())) {
	d := s.start()
	d.register(0, "acme")
	file := fakeseller.File{Name: "f", Size: 100 << 10, Seed: 1}
	held, arrived, release := blocked(t, fakeseller.FileBase64(file)[0].Func, 1)
	s.sellers.Handle("acme/file", held)
	s.sellers.Handle("acme/*", fakeseller.Quick("done"))
	d.submit("acme", "file")
	var sweep sweepView
	d.call(http.MethodPost, "/v1/sweeps", nil, http.StatusAccepted, &sweep)
	arrived()
	empty := fill()
	release()
	until(t, "the file is found to have no place", func() bool { return d.samples()[`poller_polls_total{outcome="local_fault"}`] > 0 })
	time.Sleep(1100 * time.Millisecond) // what the disk said before is believed for a second
	d.refusesWork("acme", "file")
	d.readsGoOn("file")
	if polls := s.sellers.Stats("acme/file").Polls; polls > 2 {
		t.Errorf("a big answer was fetched %d times in vain", polls)
	}
	if o := d.order("file"); o.State != "processing" || o.Trouble != nil {
		t.Errorf("an order whose file had no place: %+v", o)
	}
	empty()
	d.swept(sweep.ID) // it goes on by itself
	d.checkFiles("file", []fakeseller.File{file})
	d.resumes("acme")
	d.checkKept("file", "afterwards")
}

// A first start on a disk that is nearly full, or has hardly an inode: it serves, or it ends and says why. Either way
// the next start, with room, needs no repair. GUARANTEES, G7 and G8.
func TestFirstStartOnAFullDisk(t *testing.T) {
	t.Parallel()
	served := 0
	try := func(s *site, about string, empty func()) {
		t.Helper()
		says, serves := s.tryStart()
		if serves {
			served++
		} else if !strings.Contains(says, "no space left on device") {
			t.Errorf("%s: poller says: %s", about, says)
		}
		empty()
		d := s.start()
		if _, err := d.do(http.MethodGet, "/v1/status", nil); err != nil {
			t.Errorf("%s: %v", about, err)
		}
		d.stop()
		checkDatabase(t, s.data("poller.db"))
	}
	for kib := int64(0); kib <= 80; kib += 8 {
		s := newSite(t, 1)
		s.onTmpfs("size=16m")
		noError(t, os.Mkdir(s.data("lost+found"), 0o700), "making a folder")
		empty := s.fill(s.data("lost+found"))
		ballast := s.data("lost+found/ballast")
		info, err := os.Stat(ballast)
		noError(t, err, "looking at the ballast")
		noError(t, os.Truncate(ballast, info.Size()-kib<<10), "leaving a little room")
		try(s, fmt.Sprintf("%d KiB free", kib), empty)
	}
	for inodes := range 10 {
		s := newSite(t, 1)
		s.onTmpfs(fmt.Sprintf("size=16m,nr_inodes=%d", inodes+2)) // one is the root's
		try(s, fmt.Sprintf("%d inodes free", inodes+1), func() { run(t, "", "mount", "-o", "remount,nr_inodes=64", s.data("")) })
	}
	t.Logf("%d of the starts served", served)
}

// Each write of the database, each sync, growth, link and rename of a first start fails in turn: it ends and says why, or serves without what
// failed; the next start needs no repair. GUARANTEES, G6 and G8.
func TestFaultsOfAFirstStart(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"pwrite64", "fdatasync", "fsync", "ftruncate", "fallocate", "linkat", "renameat", "mkdirat"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			ended := 0
			for place, missed := 1, 0; missed < 2 && place < 20; place++ {
				s := newSite(t, 1)
				says, serves := s.tryStart("strace", "-D", "-f", "-y", "-o", s.straceLog(),
					"-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:error=EIO:when=%d", call, place))
				if !serves {
					ended++
					if !strings.Contains(says, "input/output error") {
						t.Errorf("%s %d failed, and poller says: %s", call, place, says)
					}
				}
				missed++
				if s.injected() > 0 {
					missed = 0
				}
				d := s.start()
				d.register(0, "acme")
				d.submit("acme", "one")
				d.checkKept("one")
			}
			t.Logf("ended %d times", ended)
		})
	}
}

// tryStart starts poller, under another program if one is given, and stops it once it serves. It returns what it said if it did not.
func (s *site) tryStart(under ...string) (says string, serves bool) {
	s.t.Helper()
	args := slices.Concat(under, []string{binary, "--config", s.configFile(), "serve"})
	cmd := exec.CommandContext(within(s.t), args[0], args[1:]...)
	stderr, err := cmd.StderrPipe()
	noError(s.t, err, "opening a pipe")
	noError(s.t, cmd.Start(), "starting poller")
	var all strings.Builder
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		all.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), `"serving"`) {
			serves = true
			noError(s.t, cmd.Process.Signal(syscall.SIGTERM), "stopping poller")
		}
	}
	if code := exitCode(cmd.Wait()); code != 0 && serves || code != 1 && !serves {
		s.t.Errorf("served: %v, exit code %d: %s", serves, code, all.String())
	}
	return all.String(), serves
}
