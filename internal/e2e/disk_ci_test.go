//go:build ci

package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"poller/internal/fakeseller"
)

// These tests need root, mount and mkfs.ext4; scripts/install-ci.sh installs the programs. What they mount is under
// the test's own folder, and goes with it.

// onTmpfs mounts a tmpfs as data_dir.
func (s *site) onTmpfs(options string) {
	s.t.Helper()
	s.mount("-t", "tmpfs", "-o", options, "poller-test")
}

// onExt4 mounts an ext4 of that many MiB as data_dir, from an image.
func (s *site) onExt4(mib int64) {
	s.t.Helper()
	noError(s.t, os.WriteFile(s.image(), nil, 0o600), "making an image")
	noError(s.t, os.Truncate(s.image(), mib<<20), "making an image")
	run(s.t, "", "mkfs.ext4", "-q", "-m", "0", s.image())
	s.mount("-o", "loop", s.image())
}

func (s *site) image() string { return filepath.Join(s.dir, "disk.img") }

func (s *site) mount(args ...string) {
	s.t.Helper()
	s.mountAt(s.data(""), args...)
}

// mountAt mounts on a folder that is made, until the test ends.
func (s *site) mountAt(dir string, args ...string) {
	s.t.Helper()
	noError(s.t, os.MkdirAll(dir, 0o700), "making a folder to mount on")
	run(s.t, "", "mount", append(args, dir)...)
	s.t.Cleanup(func() {
		var err error
		for range 100 { // a daemon that is killed may take a moment to let go of it
			if err = syscall.Unmount(dir, 0); !errors.Is(err, syscall.EBUSY) {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if err != nil && !errors.Is(err, syscall.EINVAL) { // the latter: the test has done it
			s.t.Errorf("unmounting %s: %v", dir, err)
		}
	})
}

// fill leaves no free byte on the disk of a folder. The function that it returns makes room again.
func (s *site) fill(dir string) (empty func()) {
	s.t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	noError(s.t, err, "filling the disk")
	for size := 1 << 20; size > 0; {
		if _, err = f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else {
			noError(s.t, err, "filling the disk")
		}
	}
	noError(s.t, errors.Join(f.Sync(), f.Close()), "filling the disk")
	return func() { s.t.Helper(); noError(s.t, os.Remove(path), "making room") }
}

// useInodes leaves no inode on the disk of data_dir. The function that it returns gives them back.
func (s *site) useInodes() (giveBack func()) {
	s.t.Helper()
	var made []string
	for {
		name := s.data(fmt.Sprintf("lost+found/inode-%d", len(made)))
		err := os.WriteFile(name, nil, 0o600)
		if errors.Is(err, syscall.ENOSPC) {
			break
		}
		noError(s.t, err, "using up the inodes")
		made = append(made, name)
	}
	return func() {
		s.t.Helper()
		for _, name := range made {
			noError(s.t, os.Remove(name), "giving the inodes back")
		}
	}
}

// A writer submits orders until it is stopped, and writes down what became of each.
type writer struct {
	d            *daemon
	acknowledged []string
	statuses     map[int]int // how often; 0: no answer
	stop         func()
}

func (d *daemon) writer(seller, prefix string) *writer {
	w := &writer{d: d, statuses: make(map[int]int)}
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-end:
				return
			case <-d.exited:
				return
			default:
			}
			id := fmt.Sprintf("%s-%d", prefix, n)
			a, _ := d.do(http.MethodPost, "/v1/orders", object{"order_id": id, "seller_id": seller})
			w.statuses[a.status]++
			if a.status == http.StatusCreated {
				w.acknowledged = append(w.acknowledged, id)
			}
			time.Sleep(10 * time.Millisecond) // its pace
		}
	})
	w.stop = sync.OnceFunc(func() { close(end); wg.Wait() })
	d.t.Cleanup(w.stop)
	return w
}

// checkStatuses checks that nothing was answered but what these allow.
func (w *writer) checkStatuses(allowed ...int) {
	w.d.t.Helper()
	w.stop()
	for status, n := range w.statuses {
		if !strings.Contains(fmt.Sprint(allowed), fmt.Sprint(status)) {
			w.d.t.Errorf("%d submissions were answered %d; allowed: %v", n, status, allowed)
		}
	}
	for _, status := range allowed {
		if w.statuses[status] == 0 {
			w.d.t.Errorf("no submission was answered %d: %v", status, w.statuses)
		}
	}
}

// readsGoOn checks what goes on whatever the disk does (GUARANTEES, G7).
func (d *daemon) readsGoOn(order string) {
	d.t.Helper()
	d.order(order)
	d.status()
	d.call(http.MethodGet, "/v1/events?after=0&limit=10", nil, http.StatusOK, nil)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if a := d.get(path); a.status != http.StatusOK {
			d.t.Errorf("%s: %d", path, a.status)
		}
	}
}

// refusesWork checks that nothing is taken on that could not be kept.
func (d *daemon) refusesWork(seller, order string) {
	d.t.Helper()
	full := http.StatusInsufficientStorage
	d.call(http.MethodPost, "/v1/orders", object{"order_id": "refused", "seller_id": seller}, full, nil)
	d.call(http.MethodPost, "/v1/orders/"+order+"/poll", nil, full, nil)
	d.call(http.MethodPost, "/v1/sweeps", nil, full, nil)
	a, err := d.do(http.MethodPost, "/v1/orders", fmt.Appendf(nil, `{"order_id":"refused","seller_id":%q}`+"\n", seller))
	noError(d.t, err, "submitting a line")
	if a.status != full && !bytes.Contains(a.body, []byte(`"status":507`)) {
		d.t.Errorf("a line was answered %d: %s", a.status, a.body)
	}
}

// resumes submits an order until it is taken, which needs no help once there is room, and lets it complete.
func (d *daemon) resumes(seller, order string) {
	d.t.Helper()
	ctx := within(d.t)
	for {
		a, err := d.do(http.MethodPost, "/v1/orders", object{"order_id": order, "seller_id": seller})
		noError(d.t, err, "submitting")
		if a.status == http.StatusCreated {
			break
		}
		if a.status != http.StatusInsufficientStorage || ctx.Err() != nil {
			d.t.Fatalf("submitting when there is room: %d: %s", a.status, a.body)
		}
		time.Sleep(50 * time.Millisecond)
	}
	d.sweep()
	if o := d.order(order); o.State != "completed" {
		d.t.Errorf("after the disk took writes again an order is %s", o.State)
	}
}

// checkKept restarts poller and checks that everything acknowledged is there and whole.
func (d *daemon) checkKept(acknowledged ...string) {
	d.t.Helper()
	d.stop()
	checkDatabase(d.t, d.data("poller.db"))
	d = d.site.start()
	all := d.orders()
	for _, id := range acknowledged {
		if _, there := all[id]; !there {
			d.t.Errorf("order %s was acknowledged and is missing", id)
		}
	}
	if _, there := all["refused"]; there {
		d.t.Error("an order that was refused is there")
	}
	d.checkEvents()
	for id, o := range all {
		if o.Result != nil && len(o.Result.Files) > 0 {
			equal(d.t, "digest of the file of "+id, digest(d.file(id, 0).body), o.Result.Files[0].SHA256)
		}
	}
	d.stop()
}

// blocked is a script whose answers are held back until they are released, but for the first of many, which shows that
// the seller is well. arrived returns when that many polls are there.
func blocked(t *testing.T, answer http.HandlerFunc, many int64) (_ fakeseller.Script, arrived, release func()) {
	var polls atomic.Int64
	all, open := make(chan struct{}), make(chan struct{})
	script := fakeseller.Script{{Func: func(w http.ResponseWriter, r *http.Request) {
		n := polls.Add(1)
		if n == many {
			close(all)
		}
		if n > 1 || many == 1 {
			<-open
		}
		answer(w, r)
	}}}
	arrived = func() {
		t.Helper()
		select {
		case <-all:
		case <-within(t).Done():
			t.Fatal("the polls do not come")
		}
	}
	release = sync.OnceFunc(func() { close(open) })
	t.Cleanup(release)
	return script, arrived, release
}

// longText answers that an order is completed, with 8 KiB of text.
func longText(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintf(w, `{"status":"completed","result_text":%q}`, strings.Repeat("x", 8<<10))
}

// Issue 6: a disk that is full to the last byte, while polls are in flight and orders are submitted. The polls that
// were in flight end their orders, and what is old is deleted, all in the room of the reserve; nothing else is begun. GUARANTEES, G7.
func TestFullDataDisk(t *testing.T) {
	t.Parallel()
	for name, disk := range map[string]func(*site){
		"tmpfs": func(s *site) { s.onTmpfs("size=48m") },
		"ext4":  func(s *site) { s.onExt4(48) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 2)
			disk(s)
			fullDataDisk(t, s)
		})
	}
}

func fullDataDisk(t *testing.T, s *site) {
	const many = 100
	s.set("log.level", "info", "fetch.per_seller", fmt.Sprint(many), "fetch.per_host", fmt.Sprint(many))
	d := s.start()
	for _, seller := range []string{"quick", "steady", "held"} {
		d.register(0, seller)
	}
	s.sellers.Handle("quick/*", fakeseller.Quick("done"))
	s.sellers.Handle("steady/*", fakeseller.Processing())
	held, arrived, release := blocked(t, longText, many)
	s.sellers.Handle("held/*", held)
	s.sellers.Handle("quick/with-file", fakeseller.FileBase64(fakeseller.File{Name: "f", Size: 100 << 10, Seed: 1}))

	old := names("old", 300)
	d.submitMany("quick", append(old, "to-erase", "with-file")...)
	d.sweep()
	d.submit("steady", "to-cancel")
	d.submit("steady", "stays")
	d.stop()
	s.run("compact") // no page of the file is free
	d = s.start()
	w := d.writer("steady", "late")
	ends := names("held", many)
	d.submitMany("held", ends...)
	d.call(http.MethodPost, "/v1/sweeps", nil, http.StatusAccepted, nil)
	arrived()

	empty := s.fill(s.data(""))
	release() // the answers come to a full disk
	d.waitLog("the disk is full: the reserve is given back, for orders to end and old ones to be deleted", nil)
	d.refusesWork("steady", "stays")
	d.readsGoOn("stays")
	until(t, "the polls in flight have ended their orders", func() bool { return d.order(ends[0]).State == "completed" })
	for _, id := range ends {
		if o := d.order(id); o.State != "completed" || o.Trouble != nil {
			t.Errorf("order %s, whose answer came to a full disk: %+v", id, o)
		}
	}
	d.call(http.MethodPost, "/v1/orders/to-cancel/cancel", nil, http.StatusOK, nil)
	d.call(http.MethodDelete, "/v1/orders/to-erase", nil, http.StatusNoContent, nil)
	w.checkStatuses(http.StatusCreated, http.StatusInsufficientStorage)

	// It stops and starts on a full disk, and then deletes what is old.
	d.stop()
	time.Sleep(1100 * time.Millisecond) // for it to be so old
	s.set("orders.retention", "1s")
	d = s.start()
	d.waitLog("old records deleted", func(l logLine) bool { return l.number("orders") >= len(old) })
	equal(t, "status of an order that was deleted", statusOf(d, "/v1/orders/old-7"), http.StatusNotFound)
	d.refusesWork("steady", "stays")
	before := s.sellers.Stats("steady").Polls
	d.stop()
	s.set("orders.retention", "30d")
	d = s.start()
	empty()
	d.resumes("quick", "afterwards")
	d.waitLog("the disk takes writes again: the reserve is made again", nil)
	if o := d.order("stays"); o.Trouble != nil || o.State != "processing" || s.sellers.Stats("steady").Polls == before {
		t.Errorf("an order at a seller that is well: %+v", o)
	}
	d.checkKept(append(w.acknowledged, "stays", "afterwards")...)
}

func statusOf(d *daemon, path string) int {
	d.t.Helper()
	a, err := d.do(http.MethodGet, path, nil)
	noError(d.t, err, "GET "+path)
	return a.status
}

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
	d.resumes("acme", "afterwards")
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

// tryStart starts poller and stops it once it serves. It returns what it said if it did not.
func (s *site) tryStart() (says string, serves bool) {
	s.t.Helper()
	cmd := exec.CommandContext(within(s.t), binary, "--config", s.configFile(), "serve")
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

// A file of the database that may not grow (RLIMIT_FSIZE, EFBIG) is a refusal, and no end of the process. GUARANTEES, G7.
func TestFileSizeLimitOfTheDaemon(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.start()
	d.register(0, "acme")
	s.sellers.Handle("acme/*", fakeseller.Quick("done"))
	s.sellers.Handle("acme/file", fakeseller.FileBase64(fakeseller.File{Name: "f", Size: 2 << 20, Seed: 1}))
	d.submit("acme", "file")
	limit := func(bytes string) {
		t.Helper()
		run(t, "", "prlimit", "--pid", fmt.Sprint(d.cmd.Process.Pid), "--fsize="+bytes+":unlimited")
	}
	limit("131072")
	var kept []string
	refused := false
	for n := 0; !refused; n++ {
		id := fmt.Sprintf("order-%d", n)
		a, err := d.do(http.MethodPost, "/v1/orders", object{"order_id": id, "seller_id": "acme", "metadata": object{"k": strings.Repeat("v", 4000)}})
		noError(t, err, "submitting")
		switch a.status {
		case http.StatusCreated:
			kept = append(kept, id)
		case http.StatusInsufficientStorage:
			refused = true
		default:
			t.Fatalf("status %d: %s", a.status, a.body)
		}
	}
	d.readsGoOn("file")
	var polled struct{ Outcome string }
	d.call(http.MethodPost, "/v1/orders/file/poll", nil, http.StatusOK, &polled)
	equal(t, "outcome of a poll whose file has no place", polled.Outcome, "local_fault")
	if o := d.order("file"); o.State != "processing" || o.Trouble != nil {
		t.Errorf("an order whose file had no place: %+v", o)
	}
	limit("unlimited")
	d.resumes("acme", "afterwards")
	d.checkKept(append(kept, "file", "afterwards")...)
}

// The kernel makes the file system read-only, as it does when it finds it damaged; or it is so at the start. GUARANTEES, G7.
func TestReadOnlyDisk(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.onExt4(48)
	d := s.start()
	d.register(0, "acme")
	s.sellers.Handle("acme/*", fakeseller.Quick("done"))
	s.sellers.Handle("acme/file", fakeseller.FileBase64(fakeseller.File{Name: "f", Size: 1 << 20, Seed: 1}))
	d.submit("acme", "kept")
	d.submit("acme", "file")
	run(t, "", "sync", "-f", s.data("")) // what the journal says is lost with it was not acknowledged
	_ = syscall.Mount("", s.data(""), "", syscall.MS_REMOUNT, "abort")
	d.call(http.MethodPost, "/v1/orders", object{"order_id": "refused", "seller_id": "acme"}, http.StatusInsufficientStorage, nil)
	d.waitLog("the disk has become read-only: nothing is recorded", nil)
	d.refusesWork("acme", "kept")
	d.readsGoOn("kept")
	equal(t, "polls while nothing can be kept", s.sellers.Stats("acme").Polls, 0)
	d.stop()

	noError(t, syscall.Unmount(s.data(""), 0), "unmounting")
	run(t, "", "mount", "-o", "loop", s.image(), s.data("")) // does what the journal says
	noError(t, syscall.Unmount(s.data(""), 0), "unmounting")
	run(t, "", "mount", "-o", "loop,ro", s.image(), s.data(""))
	code, _, stderr := s.runPoller("serve")
	if code != 1 || !strings.Contains(stderr, "read-only") || !strings.Contains(stderr, s.data("poller.db")) {
		t.Errorf("started on a read-only disk: exit code %d, and: %s", code, stderr)
	}
	t.Log(strings.TrimSpace(stderr))
	noError(t, syscall.Unmount(s.data(""), 0), "unmounting")
	run(t, "", "mount", "-o", "loop", s.image(), s.data(""))
	d = s.start()
	d.resumes("acme", "afterwards")
	equal(t, "state of an order that waited", d.order("file").State, "completed")
	d.checkKept("kept", "file", "afterwards")
}
