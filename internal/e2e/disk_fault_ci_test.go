//go:build ci

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"poller/internal/fakeseller"
)

// inject has strace make a system call on a file of data_dir (empty: on any) fail or wait, and returns what makes it stop.
// strace counts the calls of each thread by itself, so that "the second" may never come: injected tells.
func (d *daemon) inject(file, call, how string) (detach func()) {
	d.t.Helper()
	args := []string{"-e", "trace=" + call, "-e", "inject=" + call + ":" + how}
	if file != "" {
		args = append(args, "-P", d.data(file))
	}
	detach, err := d.strace(args...)
	noError(d.t, err, "attaching strace (scripts/install-ci.sh installs it)")
	return detach
}

// injected reports how many calls failed; strace must have let go.
func (s *site) injected() int {
	s.t.Helper()
	text, err := os.ReadFile(s.straceLog())
	noError(s.t, err, "reading what strace did")
	return strings.Count(string(text), "(INJECTED)")
}

// A faultSite submits orders while writes of the database fail, each n-th one, and keeps the books.
type faultSite struct {
	*site
	d            *daemon
	acknowledged []string
	n            int
}

func newFaultSite(t *testing.T) *faultSite {
	t.Helper()
	f := &faultSite{site: newSite(t, 1)}
	f.set("log.level", "info")
	f.sellers.Handle("acme/*", fakeseller.Quick("done"))
	f.d = f.start()
	f.d.register(0, "acme")
	// So many that each kind of record has pages of its own: a commit then has several writes.
	f.acknowledged = names("first", 500)
	f.d.submitMany("acme", f.acknowledged...)
	return f
}

// submits puts in one more order, and returns its id and how that was answered (0: not).
func (f *faultSite) submits() (id string, status int) {
	f.n++
	id = fmt.Sprintf("order-%d", f.n)
	a, _ := f.d.do(http.MethodPost, "/v1/orders", object{"order_id": id, "seller_id": "acme"})
	if a.status == http.StatusCreated {
		f.acknowledged = append(f.acknowledged, id)
	}
	return id, a.status
}

// restarts starts poller again, which has ended by itself, saying why.
func (f *faultSite) restarts() {
	f.t.Helper()
	select {
	case <-f.d.exited:
	case <-within(f.t).Done():
		f.t.Fatal("poller goes on after a failed write")
	}
	if code := exitCode(f.d.err); code != 1 {
		f.t.Errorf("exit code %d", code)
	}
	f.d.waitLog("a write failed, and what is on disk is not known; nothing more is written until a restart", nil)
	f.d = f.start()
}

func exitCode(err error) int {
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // what Wait returns
		return exit.ExitCode()
	}
	return 0
}

// Issue 6: the first, second, third … write or sync of a commit fails. It is not acknowledged, poller ends, and reads
// anew what is there: the order wholly or not at all, and all that was acknowledged. GUARANTEES, G1 and G6.
func TestFailedWritesAndSyncs(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		call, errno string
		least       int // so many places were hit
	}{
		"write":           {"pwrite64", "EIO", 4},
		"sync":            {"fdatasync", "EIO", 2}, // of the pages, of the head
		"sync, no space":  {"fdatasync", "ENOSPC", 2},
		"sync, read-only": {"fdatasync", "EROFS", 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFaultSite(t)
			hit := 0
			for place, missed := 1, 0; missed < 3; {
				detach := f.d.inject("poller.db", x.call, fmt.Sprintf("error=%s:when=%d", x.errno, place))
				id, status := f.submits()
				if status == http.StatusCreated { // there is no such call, or not in one thread
					detach()
					equal(t, "calls that failed for an order that was acknowledged", f.injected(), 0)
					missed++
					continue
				}
				if status != http.StatusServiceUnavailable && status != 0 {
					t.Errorf("%s %d failed: answered %d", x.call, place, status)
				}
				f.restarts()
				a, err := f.d.do(http.MethodPost, "/v1/orders", object{"order_id": id, "seller_id": "acme"})
				noError(t, err, "submitting again")
				if a.status != http.StatusOK && a.status != http.StatusCreated {
					t.Errorf("submitted again after %s %d failed: %d: %s", x.call, place, a.status, a.body)
				}
				f.acknowledged = append(f.acknowledged, id)
				place, missed, hit = place+1, 0, hit+1
			}
			if hit < x.least {
				t.Errorf("only %d calls failed, want %d", hit, x.least)
			}
			t.Logf("%d places", hit)
			f.d.checkKept(f.acknowledged...)
		})
	}
}

// A write that is refused for want of space, at each place of a commit, the head included, is a "no": the commit is
// made in the room of the reserve, and while there is none of it, it is refused and leaves nothing. GUARANTEES, G6 and G7.
func TestRefusedWrites(t *testing.T) {
	t.Parallel()
	f := newFaultSite(t)
	var refused []string
	hit := 0
	for place, missed := 1, 0; missed < 3; {
		detach := f.d.inject("poller.db", "pwrite64", fmt.Sprintf("error=ENOSPC:when=%d", place))
		id, status := f.submits()
		detach()
		switch n := f.injected(); {
		case n == 0 && status == http.StatusCreated:
			missed++
			continue
		case n == 1 && status == http.StatusCreated:
		case n > 1 && status == http.StatusInsufficientStorage: // again, in another thread
			refused = append(refused, id)
		default:
			t.Errorf("%d writes refused, the first in place %d: answered %d", n, place, status)
		}
		f.d.stop()
		f.d = f.start() // which has a reserve again, sooner than by itself
		place, missed, hit = place+1, 0, hit+1
	}
	detach := f.d.inject("poller.db", "pwrite64", "error=ENOSPC")
	for range 3 {
		id, status := f.submits()
		equal(t, "answer when nothing can be written", status, http.StatusInsufficientStorage)
		refused = append(refused, id)
	}
	detach()
	if hit < 4 {
		t.Errorf("only %d places were refused", hit)
	}
	t.Logf("%d places", hit)
	f.d.resumes("acme")
	for _, id := range refused {
		equal(t, "status of an order that was refused", statusOf(f.d, "/v1/orders/"+id), http.StatusNotFound)
	}
	f.d.checkKept(append(f.acknowledged, "afterwards")...)
}

// A result file that can't be synced is our own fault: the order goes on, and nobody is blamed. GUARANTEES, G3 and G7.
func TestFailedSyncOfAResult(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.start()
	d.register(0, "acme")
	file := fakeseller.File{Name: "f", Size: 200 << 10, Seed: 1}
	s.sellers.Handle("acme/*", fakeseller.FileBase64(file))
	d.submit("acme", "one")
	detach := d.inject("", "fsync", "error=EIO:when=1") // the first: the file, not its folders
	var polled struct{ Outcome string }
	d.call(http.MethodPost, "/v1/orders/one/poll", nil, http.StatusOK, &polled)
	equal(t, "outcome", polled.Outcome, "local_fault")
	detach()
	if s.injected() == 0 {
		t.Error("no sync failed")
	}
	if o := d.order("one"); o.State != "processing" || o.Trouble != nil || o.Result != nil {
		t.Errorf("an order whose file could not be synced: %+v", o)
	}
	var seller struct {
		Health struct {
			Failures int    `json:"failures_in_a_row"`
			Breaker  string `json:"breaker"`
		} `json:"health"`
	}
	d.call(http.MethodGet, "/v1/sellers/acme", nil, http.StatusOK, &seller)
	equal(t, "health of the seller", seller.Health.Breaker+fmt.Sprint(seller.Health.Failures), "closed0")
	d.sweep()
	equal(t, "state in the end", d.order("one").State, "completed")
	d.checkFiles("one", []fakeseller.File{file})
	d.checkKept("one")
}

// A disk that answers nothing for a while (fsfreeze): what can be read is read, what was submitted meanwhile is
// acknowledged when it is there, polls in flight harm nobody. GUARANTEES, G1, G6 and G7.
func TestFrozenDisk(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.onExt4(48)
	d := s.start()
	d.register(0, "acme")
	answer := fakeseller.FileBase64(fakeseller.File{Name: "f", Size: 100 << 10, Seed: 1})[0].Func
	held, arrived, release := blocked(t, answer, 1)
	s.sellers.Handle("acme/held", held)
	s.sellers.Handle("acme/*", fakeseller.Quick("done"))
	d.submit("acme", "held")
	d.submit("acme", "stays")
	d.call(http.MethodPost, "/v1/sweeps", nil, http.StatusAccepted, nil)
	arrived()
	until(t, "the other order has ended", func() bool { return d.order("stays").State == "completed" })

	run(t, "", "fsfreeze", "-f", s.data(""))
	thaw := sync.OnceFunc(func() {
		if out, err := exec.Command("fsfreeze", "-u", s.data("")).CombinedOutput(); err != nil {
			t.Errorf("thawing: %v: %s", err, out)
		}
	})
	t.Cleanup(thaw) // a process that writes can't even be killed
	release()
	late := names("late", 5)
	answers := make(chan int, len(late))
	for _, id := range late {
		go func() {
			a, _ := d.do(http.MethodPost, "/v1/orders", object{"order_id": id, "seller_id": "acme"})
			answers <- a.status
		}()
	}
	for range 20 {
		d.readsGoOn("stays")
		select {
		case status := <-answers:
			t.Fatalf("an order was answered %d by a disk that stands still", status)
		case <-time.After(50 * time.Millisecond): // the disk stands still for a second
		}
	}
	equal(t, "state while the disk stands still", d.order("held").State, "processing")
	thaw()
	for range late {
		equal(t, "answer once the disk goes on", <-answers, http.StatusCreated)
	}
	until(t, "the order in flight has ended", func() bool { return d.order("held").State == "completed" })
	equal(t, "polls of the order in flight", s.sellers.Stats("acme/held").Polls, 1)
	d.resumes("acme")
	d.checkKept(append(late, "held", "stays", "afterwards")...)
}

// Syncs that take long: writes that wait together go into one commit, nothing is polled twice and nobody is
// blamed; reads go on. GUARANTEES, G6 and G7.
func TestSlowSyncs(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.start()
	d.register(0, "acme")
	s.sellers.Handle("acme/*", fakeseller.Quick("done"))
	d.submit("acme", "first")
	detach := d.inject("poller.db", "fdatasync", "delay_enter=300000")
	const many = 40
	all := names("order", many)
	var wg sync.WaitGroup
	begun := time.Now()
	for _, id := range all {
		wg.Go(func() {
			a, err := d.do(http.MethodPost, "/v1/orders", object{"order_id": id, "seller_id": "acme"})
			if err != nil || a.status != http.StatusCreated {
				t.Errorf("%s: %d, %v", id, a.status, err)
			}
		})
	}
	d.readsGoOn("first")
	wg.Wait()
	if took := time.Since(begun); took > many*2*300*time.Millisecond {
		t.Errorf("%d orders took %s: each had a commit of its own", many, took)
	}
	rec := d.sweep()
	equal(t, "the sweep: state, polled", [2]any{rec.State, rec.Polled}, [2]any{"done", many + 1})
	detach()
	for id, o := range d.orders() {
		if n := s.sellers.Stats("acme/" + id).Polls; n != 1 || o.State != "completed" {
			t.Errorf("order %s was polled %d times and is %s", id, n, o.State)
		}
	}
	d.checkKept(append(all, "first")...)
}
