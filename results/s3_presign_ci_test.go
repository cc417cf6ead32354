//go:build ci

package results

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"poller/internal/s3test"
)

// upload sends a PUT as a seller would.
func upload(t *testing.T, url string, headers map[string]string, body io.Reader, size int64) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = size
	for name, value := range headers {
		if name != "Content-Length" {
			req.Header.Set(name, value)
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// SPEC §6: a signed URL is bound to key, size, type and expiry and good for one
// PUT. What is refused leaves nothing, and the slot stays usable.
func TestS3PresignedPutIsBoundToWhatWasSigned(t *testing.T) {
	server := s3test.Start(t)
	s := openS3(t, options(t, server))
	p := s3Place(server, S3Options{})
	const content = "hello, uploads"
	key := "orders/order-1/upload/report.pdf"
	sign := func(expires time.Duration) (string, map[string]string) {
		t.Helper()
		url, headers, err := s.PresignPut(t.Context(), key, int64(len(content)), "application/pdf", expires)
		if err != nil {
			t.Fatal(err)
		}
		return url, headers
	}
	url, headers := sign(time.Hour)
	want := map[string]string{"Content-Length": "14", "Content-Type": "application/pdf", "If-None-Match": "*"}
	if fmt.Sprint(headers) != fmt.Sprint(want) || strings.Contains(url, s3test.SecretKey) {
		t.Errorf("%s with %v", url, headers)
	}
	unsigned, _, _ := strings.Cut(url, "?")
	with := func(change func(map[string]string)) map[string]string {
		h := map[string]string{}
		for name, value := range headers {
			h[name] = value
		}
		change(h)
		return h
	}
	for name, test := range map[string]struct {
		url     string
		headers map[string]string
		body    string
	}{
		"a byte less":      {url, headers, content[1:]},
		"a byte more":      {url, headers, content + "x"},
		"nothing":          {url, headers, ""},
		"another type":     {url, with(func(h map[string]string) { h["Content-Type"] = "text/html" }), content},
		"no type":          {url, with(func(h map[string]string) { delete(h, "Content-Type") }), content},
		"no condition":     {url, with(func(h map[string]string) { delete(h, "If-None-Match") }), content},
		"other condition":  {url, with(func(h map[string]string) { h["If-None-Match"] = `"x"` }), content},
		"another key":      {strings.Replace(url, "order-1", "order-2", 1), headers, content},
		"the mark":         {strings.Replace(url, key, markFile, 1), headers, content},
		"a longer expiry":  {strings.Replace(url, "X-Amz-Expires=3600", "X-Amz-Expires=36000", 1), headers, content},
		"an ACL":           {url, with(func(h map[string]string) { h["X-Amz-Acl"] = "public-read" }), content},
		"no signature":     {unsigned, headers, content},
		"broken signature": {url[:len(url)-4] + "0000", headers, content},
	} {
		if status := upload(t, test.url, test.headers, strings.NewReader(test.body), int64(len(test.body))); status/100 != 4 {
			t.Errorf("%s: %d", name, status)
		}
	}
	if status := upload(t, url, headers, io.MultiReader(strings.NewReader(content[:5]), brokenReader{}), int64(len(content))); status/100 == 2 {
		t.Errorf("cut off: %d", status)
	}
	if left := p.keys(t); len(left) != 0 {
		t.Errorf("left: %v", left)
	}

	if status := upload(t, url, headers, strings.NewReader(content), int64(len(content))); status != http.StatusOK {
		t.Errorf("as signed: %d", status)
	}
	if status := upload(t, url, headers, strings.NewReader("HELLO, UPLOADS"), int64(len(content))); status != http.StatusPreconditionFailed {
		t.Errorf("twice: %d", status)
	}
	if size, sum, err := s.Stat(t.Context(), key); err != nil || size != int64(len(content)) || sum != digest(content) {
		t.Errorf("Stat: %d, %s, %v", size, sum, err)
	}

	key = "orders/order-1/late/x"
	url, headers = sign(time.Second)
	time.Sleep(2100 * time.Millisecond) // expiry is the server's clock, in whole seconds
	if status := upload(t, url, headers, strings.NewReader(content), int64(len(content))); status != http.StatusForbidden {
		t.Errorf("expired: %d", status)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("cut off") }
