//go:build ci

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
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

// resumes submits the order "afterwards" until it is taken, which needs no help once there is room, and lets it complete.
func (d *daemon) resumes(seller string) {
	d.t.Helper()
	const order = "afterwards"
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
	d.sweepNext()
	if o := d.order(order); o.State != "completed" {
		d.t.Errorf("after the disk took writes again an order is %s", o.State)
	}
}

// sweepNext is sweep once the one before is done, which may have waited for the disk.
func (d *daemon) sweepNext() {
	d.t.Helper()
	until(d.t, "a sweep may begin", func() bool {
		a, err := d.do(http.MethodPost, "/v1/sweeps", nil)
		noError(d.t, err, "starting a sweep")
		if a.status != http.StatusAccepted {
			return false
		}
		var s sweepView
		noError(d.t, json.Unmarshal(a.body, &s), "decoding a sweep")
		d.swept(s.ID)
		return true
	})
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

func statusOf(d *daemon, path string) int {
	d.t.Helper()
	a, err := d.do(http.MethodGet, path, nil)
	noError(d.t, err, "GET "+path)
	return a.status
}
