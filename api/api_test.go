package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"poller/order"
)

const (
	token  = "t0ken-of-the-tests"
	secret = "s3ntinel-header-value"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// rig is an API with everything around it faked, behind a real server.
type rig struct {
	t         *testing.T
	api       *API
	store     *fakeStore
	scheduler *fakeScheduler
	files     fakeFiles
	server    *httptest.Server
	logs      *observer.ObservedLogs
	full      atomic.Bool // the disk
	unset     atomic.Bool // webhook.url
	uploads   *fakeUploads
	backup    atomic.Pointer[func(ctx context.Context, path string) error]
	tempDir   string
	hosts     []string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	g := newBareRig(t)
	g.server = httptest.NewUnstartedServer(nil)
	g.server.Config = NewServer(g.api, 1024, g.api.log)
	g.server.Start()
	t.Cleanup(func() {
		g.api.Stop()
		g.server.Close()
	})
	return g
}

// newBareRig is newRig without a server.
func newBareRig(t *testing.T) *rig {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	g := &rig{t: t, store: newFakeStore(), scheduler: &fakeScheduler{}, files: fakeFiles{}, logs: logs, uploads: &fakeUploads{}, tempDir: t.TempDir()}
	a, err := New(Options{
		Store: g.store, Scheduler: g.scheduler, Files: g.files,
		CheckSeller: func(s *order.Seller) []FieldError {
			var faults []FieldError
			if !strings.HasPrefix(s.StatusURL, "https://") {
				faults = append(faults, FieldError{"status_url", "must be https"})
			}
			for _, h := range s.Headers {
				if h.Value == "***" {
					faults = append(faults, FieldError{"headers." + h.Name, "is what answers show"})
				}
			}
			if len(s.Headers) == 0 && !s.AllowUnauthenticated {
				faults = append(faults, FieldError{"headers", "at least one is needed"})
			}
			return faults
		},
		MaxHostCap:      func(host string) int { return map[string]int{"big.example:443": 200}[host] + 16 },
		DefaultDeadline: func() time.Duration { return 72 * time.Hour },
		Tokens:          func() [][32]byte { return [][32]byte{sha256.Sum256([]byte("another")), sha256.Sum256([]byte(token))} },
		Listen:          "poller.internal:8080",
		Hosts:           func() []string { return g.hosts },
		Enough:          func() bool { return !g.full.Load() },
		DiskFree:        func() int64 { return 12345 },
		Delivering:      func() bool { return !g.unset.Load() },
		Uploads:         g.uploads,
		Backup: func(ctx context.Context, path string) (BackupInfo, error) {
			return BackupInfo{KeyID: "17", Bucket: "file:///srv/r\u00e9sults 100%"}, (*g.backup.Load())(ctx, path)
		},
		TempDir: g.tempDir,
		Version: "1.2.3", StartedAt: start, Now: func() time.Time { return start }, Log: zap.New(core),
	})
	if err != nil {
		t.Fatal(err)
	}
	g.api = a
	return g
}

// answer is an answer, read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) problem(t *testing.T) Problem {
	t.Helper()
	if ct := a.header.Get("Content-Type"); ct != problemType {
		t.Fatalf("status %d: content type %q is no problem: %s", a.status, ct, a.body)
	}
	var p Problem
	a.into(t, &p)
	if p.Status != a.status {
		t.Errorf("problem says %d, the answer is %d", p.Status, a.status)
	}
	return p
}

func (a answer) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("answer %q: %v", a.body, err)
	}
}

// do asks with the token; headers are "Name: value".
func (g *rig) do(method, path, body string, headers ...string) answer {
	g.t.Helper()
	return g.send(g.request(method, path, strings.NewReader(body), headers...))
}

func (g *rig) request(method, path string, body io.Reader, headers ...string) *http.Request {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), method, g.server.URL+path, body)
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Set(name, value)
		if value == "" {
			r.Header.Del(name)
		}
	}
	return r
}

func (g *rig) send(r *http.Request) answer {
	g.t.Helper()
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	if bytes.Contains(b, []byte(secret)) {
		g.t.Errorf("%s %s: a header value is in the answer: %s", r.Method, r.URL.Path, b)
	}
	return answer{res.StatusCode, res.Header, b}
}

// want fails unless the status is as expected, and gives the answer.
func (a answer) want(t *testing.T, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, not %d: %s", a.status, status, a.body)
	}
	return a
}

// seller registers a seller whose header value is the secret.
func (g *rig) seller(id string) {
	g.t.Helper()
	g.do("PUT", "/v1/sellers/"+id, `{"status_url":"https://a.example/s/{order_id}","headers":{"Authorization":"Bearer `+secret+`"}}`).want(g.t, 201)
}

func (g *rig) order(id, seller string) {
	g.t.Helper()
	g.do("POST", "/v1/orders", `{"order_id":"`+id+`","seller_id":"`+seller+`"}`).want(g.t, 201)
}

// fieldOf is the field of a problem's only error.
func fieldOf(t *testing.T, p Problem) string {
	t.Helper()
	if len(p.Errors) != 1 {
		t.Fatalf("not one field at fault: %+v", p)
	}
	return p.Errors[0].Field
}
