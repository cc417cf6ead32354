package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poller/internal/fakeseller"
)

// run runs a command that must succeed.
func (s *site) run(args ...string) (stdout string) {
	s.t.Helper()
	code, stdout, stderr := s.runPoller(args...)
	if code != 0 {
		s.t.Fatalf("poller %s: exit code %d: %s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

// refused runs a command that must fail, and say this.
func (s *site) refused(says string, args ...string) {
	s.t.Helper()
	if code, _, stderr := s.runPoller(args...); code != 1 || !strings.Contains(stderr, says) {
		s.t.Errorf("poller %s: exit code %d, and not %q: %s", strings.Join(args, " "), code, says, stderr)
	}
}

// atDaemon has the client commands find the daemon, whose port was 0.
func (d *daemon) atDaemon() { d.set("api.listen", strings.TrimPrefix(d.api, "http://")) }

// A backup taken in a sweep becomes a database of its own: another store, the orders as they were, the result files its own. The
// orders that ended since end again.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.start()
	d.atDaemon()
	d.register(0, "acme")
	s.sellers.Handle("acme/*", fakeseller.Slow(20*time.Millisecond, fakeseller.Processing()))
	s.sellers.Handle("acme/with-file", fakeseller.FileBase64(fakeseller.File{Name: "a.txt", Bytes: []byte("kept")}))
	orders := names("o", 200)
	d.submitMany("acme", append(orders, "with-file")...)
	d.sweep()
	equal(t, "with-file", d.order("with-file").State, "completed")

	var sweep sweepView
	d.call(http.MethodPost, "/v1/sweeps", nil, http.StatusAccepted, &sweep)
	backup := filepath.Join(s.dir, "copy.db")
	said := s.run("backup", backup)
	if !strings.Contains(said, "key") || !strings.Contains(said, s.data("results")) {
		t.Errorf("backup does not say what belongs to it: %s", said)
	}
	d.swept(sweep.ID)
	s.refused("exists", "backup", backup)
	s.sellers.Handle("acme/o-0", fakeseller.Quick("since"))
	d.sweep()
	d.submit("acme", "after-the-backup")
	var before struct{ Store string }
	d.call(http.MethodGet, "/v1/status", nil, http.StatusOK, &before)
	s.refused("in use", "restore", "--force", backup)
	s.refused("in use", "compact")
	s.refused("in use", "rotate-key")
	d.stop()

	s.refused("there is a database already", "restore", backup)
	whole, err := os.ReadFile(backup)
	noError(t, err, "reading the backup")
	noError(t, os.WriteFile(backup+".broken", whole[:len(whole)/2], 0o600), "writing half a backup")
	s.refused("nothing was changed", "restore", "--force", backup+".broken")
	s.run("restore", "--force", backup)
	if kept, _ := filepath.Glob(s.data("poller.db.before-restore-*")); len(kept) != 1 {
		t.Errorf("what was replaced is kept as %v", kept)
	}

	d = s.start()
	var after struct{ Store string }
	d.call(http.MethodGet, "/v1/status", nil, http.StatusOK, &after)
	if after.Store == before.Store || after.Store == "" {
		t.Errorf("the store is %q after the restore, %q before", after.Store, before.Store)
	}
	d.call(http.MethodGet, "/v1/events?after="+before.Store+"-1", nil, http.StatusGone, nil)
	d.call(http.MethodGet, "/v1/orders/after-the-backup", nil, http.StatusNotFound, nil)
	equal(t, "o-0, which ended since", d.order("o-0").State, "processing")
	d.sweep()
	equal(t, "o-0", d.order("o-0").State, "completed")
	file, err := d.do(http.MethodGet, "/v1/orders/with-file/files/0", nil)
	noError(t, err, "reading the file")
	equal(t, "the file", string(file.body), "kept")
	if ends := d.checkEvents(); len(ends) != 2 {
		t.Errorf("ends: %v", ends)
	}
	d.stop()

	s.run("rotate-key")
	s.run("compact")
	d = s.start() // with the headers sealed anew
	s.sellers.Handle("acme/o-1", fakeseller.Quick("done"))
	d.sweep()
	equal(t, "o-1", d.order("o-1").State, "completed")
}

// A reader of a backup that stalls holds up nothing (issue 5, "Keeping").
func TestABackupReaderThatStallsHoldsUpNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.start()
	d.register(0, "acme")
	s.sellers.Handle("acme/*", fakeseller.Processing())
	var lines bytes.Buffer
	for i := range 5000 { // more than the sockets' buffers hold
		fmt.Fprintf(&lines, `{"order_id":"o-%d","seller_id":"acme","metadata":{"k":%q}}`+"\n", i, strings.Repeat("x", 2000))
	}
	_, err := d.do(http.MethodPost, "/v1/orders", lines.Bytes())
	noError(t, err, "submitting")
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.api, "http://"))
	noError(t, err, "dialling")
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /v1/backup HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", d.token)
	noError(t, err, "asking for a backup")
	head := make([]byte, 1024)
	n, err := conn.Read(head)
	noError(t, err, "reading its first bytes")
	if !strings.HasPrefix(string(head[:n]), "HTTP/1.1 200") {
		t.Fatalf("the answer is %.200s", head[:n])
	}
	for i := range 3 { // commits that change every page
		d.submit("acme", fmt.Sprintf("more-%d", i))
		if w := d.sweep(); w.State != "done" || w.Polled != 5001+i {
			t.Errorf("a sweep meanwhile: %+v", w)
		}
	}
	d.stop()
}

// GUARANTEES, G29: erased is gone.
func TestErasedIsGone(t *testing.T) {
	t.Parallel()
	const secret = "SENTINEL-of-a-buyer"
	s, r := newSite(t, 1), newPlainReceiver(t)
	s.set("webhook.url", r.URL, "webhook.secrets", "[whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]")
	d := s.start()
	d.atDaemon()
	d.register(0, "acme")
	long := strings.Repeat(secret+" ", 5000)
	s.sellers.Handle("acme/text", append(fakeseller.Script{{JSON: object{"status": "processing", "message": secret}}}, fakeseller.TextResult(secret)...))
	s.sellers.Handle("acme/long", fakeseller.TextResult(long))
	s.sellers.Handle("acme/file", fakeseller.FileBase64(fakeseller.File{Name: secret + ".txt", Bytes: []byte(secret)}))
	s.sellers.Handle("acme/failed", fakeseller.Failed(secret))
	ids := []string{"text", "long", "file", "failed"}
	for _, id := range ids {
		d.call(http.MethodPost, "/v1/orders", object{"order_id": id, "seller_id": "acme", "metadata": object{"buyer": secret}}, http.StatusCreated, nil)
	}
	d.call(http.MethodDelete, "/v1/orders/text", nil, http.StatusConflict, nil)
	d.sweep()
	d.sweep()
	for range ids {
		<-r.bodies
	}
	d.call(http.MethodDelete, "/v1/orders/text", nil, http.StatusNoContent, nil)
	s.run("order", "erase", "long", "file", "failed")
	for _, id := range ids {
		for _, path := range []string{"", "/history", "/files/0"} {
			d.call(http.MethodGet, "/v1/orders/"+id+path, nil, http.StatusGone, nil)
		}
		d.call(http.MethodPost, "/v1/webhook/replay", object{"order_id": id}, http.StatusOK, nil)
		if body := <-r.bodies; !strings.Contains(body, `"data":{"erased":true}`) || strings.Contains(body, secret) {
			t.Errorf("the webhook is told %s", body)
		}
	}
	d.checkEvents()
	for _, e := range d.events() {
		if strings.Contains(string(e.Data), secret) {
			t.Errorf("the feed: %s", e.Data)
		}
	}
	backup := filepath.Join(s.dir, "copy.db")
	s.run("backup", backup)
	d.stop()
	d = s.start() // housekeeping begins with the start
	until(t, "the deletion of files", func() bool { list, _ := filepath.Glob(s.data("results/orders/*/*")); return len(list) == 0 })
	d.stop()
	s.run("compact")
	for _, file := range []string{backup, s.data("poller.db")} {
		content, err := os.ReadFile(file)
		noError(t, err, "reading "+file)
		if bytes.Contains(content, []byte(secret)) {
			t.Errorf("%s holds the buyer's data", filepath.Base(file))
		}
	}
}
