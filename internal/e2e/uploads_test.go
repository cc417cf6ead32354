package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poller/internal/fakeseller"
)

// uploadView is the answer to POST /v1/orders/{id}/uploads.
type uploadView struct {
	ObjectKey string            `json:"object_key"`
	UploadURL string            `json:"upload_url"`
	Headers   map[string]string `json:"headers"`
	ExpiresIn int               `json:"expires_in"`
	MaxBytes  int               `json:"max_bytes"`
}

// tlsProxy is the operator's TLS proxy before uploads.listen.
type tlsProxy struct {
	*httptest.Server
	to *url.URL
}

func newTLSProxy(t *testing.T) *tlsProxy {
	p := &tlsProxy{}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(p.to) }}
	p.Server = httptest.NewTLSServer(forward)
	t.Cleanup(p.Close)
	return p
}

// withUploads starts the daemon with uploads behind a proxy.
func withUploads(t *testing.T, s *site, p *tlsProxy) *daemon {
	t.Helper()
	s.set("uploads.listen", "127.0.0.1:0", "uploads.public_url", p.URL)
	d := s.start()
	to, err := url.Parse(d.waitLog("serving", nil).text("uploads"))
	noError(t, err, "reading where uploads are taken")
	p.to = to
	return d
}

func (d *daemon) prepare(order, name, mimeType string, size int) uploadView {
	d.t.Helper()
	var u uploadView
	d.call(http.MethodPost, "/v1/orders/"+order+"/uploads", object{"filename": name, "mime_type": mimeType, "size": size}, http.StatusOK, &u)
	return u
}

// put uploads, with headers changed if given: name, value, …
func put(t *testing.T, client *http.Client, u uploadView, body io.Reader, size int, headers ...string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, u.UploadURL, body)
	noError(t, err, "making a PUT")
	req.ContentLength = int64(size)
	for name, value := range u.Headers {
		req.Header.Set(name, value)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Logf("PUT: %v", errors.Unwrap(err)) // as it happens to who is refused early
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body) // its status says enough
	return resp.StatusCode
}

// refusedPuts tries what must be refused, and leaves the slot as it was.
func refusedPuts(t *testing.T, client *http.Client, u uploadView, body []byte) {
	t.Helper()
	other := u
	other.UploadURL = strings.Replace(u.UploadURL, u.ObjectKey, u.ObjectKey+"x", 1)
	for name, status := range map[string]int{
		"too short":  put(t, client, u, bytes.NewReader(body[:len(body)-1]), len(body)-1),
		"too long":   put(t, client, u, bytes.NewReader(append(bytes.Clone(body), 'x')), len(body)+1),
		"other type": put(t, client, u, bytes.NewReader(body), len(body), "Content-Type", "text/html"),
		"other key":  put(t, client, other, bytes.NewReader(body), len(body)),
		"cut off":    put(t, client, u, io.LimitReader(bytes.NewReader(body), int64(len(body)/2)), len(body)),
	} {
		if t.Logf("%s: %d", name, status); status/100 == 2 {
			t.Errorf("%s: %d", name, status)
		}
	}
}

// SPEC §6 and §2: prepare, PUT, and an answer that names the key. What must be refused is, and leaves nothing.
func TestUploadsCompleteOrders(t *testing.T) {
	t.Parallel()
	s, p := newSite(t, 1), newTLSProxy(t)
	d := withUploads(t, s, p)
	d.register(0, "shop")
	uploadFlow(t, d, p.Client())
	if left, err := os.ReadDir(s.data("results/uploads")); err == nil && len(left) > 0 {
		t.Errorf("%d partial uploads are left", len(left))
	}
}

// uploadFlow is the flow with any result store.
func uploadFlow(t *testing.T, d *daemon, client *http.Client) {
	t.Helper()
	s := d.site
	body := bytes.Repeat([]byte("one page\n"), 40_000)
	d.submitMany("shop", "up", "other")
	s.sellers.Handle("shop/other", fakeseller.Processing())
	u, spare, foreign := d.prepare("up", "report.pdf", "application/pdf", len(body)), d.prepare("up", "spare.txt", "text/plain", 5), d.prepare("other", "o.txt", "text/plain", 5)
	equal(t, "expires_in, max_bytes", [2]int{u.ExpiresIn, u.MaxBytes}, [2]int{3600, 157286400})
	if !strings.HasPrefix(u.ObjectKey, "orders/up/") {
		t.Errorf("object_key is %s", u.ObjectKey)
	}

	// Another order's object, and one that is not there yet.
	for _, key := range []string{foreign.ObjectKey, u.ObjectKey} {
		s.sellers.Handle("shop/up", fakeseller.ObjectKeyResult(key))
		d.sweep()
		equal(t, "the outcome of naming "+key, d.order("up").LastOutcome, "rejected_result")
	}
	refusedPuts(t, client, u, body)
	equal(t, "the outcome after refused PUTs", func() string { d.sweep(); return d.order("up").LastOutcome }(), "rejected_result")
	// A server may keep what was cut off, and need not do so at once. The poll that comes across it clears it away.
	until(t, "a good PUT", func() bool {
		if put(t, client, u, bytes.NewReader(body), len(body))/100 == 2 {
			return true
		}
		d.sweep()
		return false
	})
	if status := put(t, client, u, bytes.NewReader(body), len(body)); status/100 == 2 {
		t.Errorf("the same PUT again: %d", status)
	}
	if status := put(t, client, spare, strings.NewReader("spare"), 5); status/100 != 2 {
		t.Fatalf("the spare PUT: %d", status)
	}
	d.sweep()
	o := d.order("up")
	if o.State != "completed" || o.Result == nil || len(o.Result.Files) != 1 {
		t.Fatalf("the order is %+v", o)
	}
	sum := sha256.Sum256(body)
	equal(t, "its file", o.Result.Files[0], fileView{Filename: "report.pdf", MIMEType: "application/pdf", Size: len(body), SHA256: hex.EncodeToString(sum[:]), ObjectKey: u.ObjectKey})
	served, err := d.do(http.MethodGet, "/v1/orders/up/files/0", nil)
	noError(t, err, "reading the file")
	if !bytes.Equal(served.body, body) {
		t.Errorf("%d bytes are served, not those that were uploaded", len(served.body))
	}
	if status := put(t, client, spare, strings.NewReader("spare"), 5); status/100 == 2 {
		t.Errorf("a PUT for an order that has ended: %d", status)
	}
	a, err := d.do(http.MethodPost, "/v1/orders/up/uploads", object{"filename": "x", "mime_type": "text/plain", "size": 1})
	noError(t, err, "preparing for an order that has ended")
	equal(t, "preparing for an order that has ended", a.status, http.StatusConflict)
}

// A kill in the middle of a PUT leaves nothing of it, and the URL works after the restart. An upload that the
// result doesn't name goes with the order's end.
func TestAKillInAnUploadLeavesNothing(t *testing.T) {
	t.Parallel()
	s, p := newSite(t, 1), newTLSProxy(t)
	d := withUploads(t, s, p)
	d.register(0, "shop")
	d.submit("shop", "up")
	body := bytes.Repeat([]byte("x"), 1<<20)
	u, spare := d.prepare("up", "a.bin", "application/octet-stream", len(body)), d.prepare("up", "b.bin", "application/octet-stream", len(body))
	if status := put(t, p.Client(), spare, bytes.NewReader(body), len(body)); status/100 != 2 {
		t.Fatalf("the spare PUT: %d", status)
	}
	r, w := io.Pipe()
	done := make(chan int)
	go func() { done <- put(t, p.Client(), u, r, len(body)) }()
	_, err := w.Write(body[:len(body)/2])
	noError(t, err, "sending half")
	awaitPartial(t, s.data("results/uploads"))
	d.kill()
	noError(t, w.CloseWithError(net.ErrClosed), "breaking off")
	if status := <-done; status/100 == 2 {
		t.Errorf("half a PUT: %d", status)
	}

	d = withUploads(t, s, p)
	if left, err := os.ReadDir(s.data("results/uploads")); err == nil && len(left) > 0 {
		t.Errorf("%d partial uploads are left after a restart", len(left))
	}
	if status := put(t, p.Client(), u, bytes.NewReader(body), len(body)); status/100 != 2 {
		t.Fatalf("the PUT after the restart: %d", status)
	}
	s.sellers.Handle("shop/up", fakeseller.ObjectKeyResult(u.ObjectKey))
	d.sweep()
	equal(t, "the order's state", d.order("up").State, "completed")
	d.stop()
	d = s.start() // housekeeping begins with the start
	awaitGone(t, filepath.Join(s.data("results"), filepath.FromSlash(spare.ObjectKey)))
	equal(t, "the order's state", d.order("up").State, "completed")
}

// awaitPartial waits until something of an upload is on disk.
func awaitPartial(t *testing.T, dir string) {
	t.Helper()
	until(t, "part of an upload", func() bool {
		list, err := os.ReadDir(dir)
		return err == nil && len(list) > 0
	})
}

func awaitGone(t *testing.T, file string) {
	t.Helper()
	until(t, "the deletion of "+filepath.Base(file), func() bool {
		_, err := os.Stat(file)
		return os.IsNotExist(err)
	})
}

// until asks again and again, for what nothing tells of.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx := within(t)
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s did not come about", what)
		case <-time.After(10 * time.Millisecond): // looks again; nothing is taken to have happened by then
		}
	}
}
