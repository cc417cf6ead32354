//go:build ci

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"poller/internal/fakeseller"
)

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
	d.resumes("acme")
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
	d.resumes("acme")
	equal(t, "state of an order that waited", d.order("file").State, "completed")
	d.checkKept("kept", "file", "afterwards")
}
