//go:build ci

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"strings"
	"testing"

	"poller/internal/fakeseller"
	"poller/internal/s3test"
)

// newS3Site is a site that keeps results in S3.
func newS3Site(t *testing.T, server *s3test.Server) *site {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", s3test.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s3test.SecretKey)
	s := newSite(t, 1)
	s.set("results.bucket", `"s3://`+s3test.Bucket+`?endpoint=`+server.URL+`"`)
	return s
}

// Results in S3 are served as they were recorded; a server that is away is our fault and ends nothing; an object that
// changed is never served as the right one; another database's bucket is refused.
func TestResultsInS3(t *testing.T) {
	server := s3test.Start(t)
	s := newS3Site(t, server)
	d := s.start()
	d.register(0, "forms")
	cases := resultCases()
	for name, c := range cases {
		s.sellers.Handle("forms/"+name, c.script)
	}
	big := fakeseller.GeneratedFiles(1, 20<<20)[0]
	s.sellers.Handle("forms/big", fakeseller.FileBase64(big))
	d.submit("forms", "file")

	server.Kill()
	var sweep sweepView
	d.call(http.MethodPost, "/v1/sweeps", nil, http.StatusAccepted, &sweep)
	d.waitLog("local fault: polls slow down to one in 5 s until one is answered", nil)
	until(t, "a record of the fault", func() bool { return d.order("file").Polls > 0 })
	if o := d.order("file"); o.State != "processing" || o.LastOutcome != "local_fault" || o.Trouble != nil {
		t.Errorf("with the server away: %+v", o)
	}
	server.Restart()
	d.swept(sweep.ID) // which goes on by itself
	equal(t, "the order's state when the server is back", d.order("file").State, "completed")
	d.submit("forms", "big")
	for name := range cases {
		if name != "file" {
			d.submit("forms", name)
		}
	}
	d.sweep()
	for name, c := range cases {
		o := d.order(name)
		if o.State != "completed" {
			t.Errorf("%s: %+v", name, o)
			continue
		}
		for i, want := range c.bytes {
			a, err := d.do(http.MethodGet, "/v1/orders/"+name+"/files/"+string(rune('0'+i)), nil)
			noError(t, err, "reading a file")
			if sum := sha256.Sum256([]byte(want)); string(a.body) != want || o.Result.Files[i].SHA256 != hex.EncodeToString(sum[:]) {
				t.Errorf("%s: file %d is served with %d bytes, want %d", name, i, len(a.body), len(want))
			}
		}
	}
	file := d.order("big").Result.Files[0]
	a, err := d.do(http.MethodGet, "/v1/orders/big/files/0", nil)
	noError(t, err, "reading the big file")
	if sum := sha256.Sum256(a.body); hex.EncodeToString(sum[:]) != big.SHA256() || file.SHA256 != big.SHA256() || file.Size != int(big.Len()) {
		t.Errorf("the big file: %+v, %d bytes served", file, len(a.body))
	}

	noError(t, os.WriteFile(server.File(file.ObjectKey), bytes.Repeat([]byte("x"), file.Size), 0o600), "changing an object")
	if a, err := d.do(http.MethodGet, "/v1/orders/big/files/0", nil); err == nil && a.status == http.StatusOK {
		t.Errorf("an object that changed is served: %d bytes", len(a.body))
	}

	other := newS3Site(t, server)
	code, _, stderr := other.runPoller("serve")
	if code != 1 || !strings.Contains(stderr, "belongs to another database") {
		t.Errorf("another database's bucket: exit code %d, and: %s", code, stderr)
	}
	for _, secret := range []string{s3test.SecretKey, s3test.AccessKey} {
		if strings.Contains(d.log.all()+d.answers.all()+stderr, secret) {
			t.Error("a key of the bucket is shown")
		}
	}
}

// Uploads go to the bucket by themselves.
func TestUploadsIntoS3(t *testing.T) {
	server := s3test.Start(t)
	d := newS3Site(t, server).start()
	d.register(0, "shop")
	uploadFlow(t, d, http.DefaultClient)
}
