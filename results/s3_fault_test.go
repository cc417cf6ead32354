package results

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"poller/order"
)

// canned opens a bucket at a server that always gives the same answer. What a
// real server does is tested with the tag ci.
func canned(t *testing.T, answer http.HandlerFunc, limits s3Limits) *S3 {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	o := S3Options{
		Bucket: "results", Region: "us-east-1", Endpoint: server.URL, SpoolDir: t.TempDir(),
		Keys: NewS3Keys("planted-id", "planted-secret", "planted-token"), limits: &limits,
	}
	s := &S3{transport: newS3Transport(&o), bucket: &o.Bucket, spool: o.SpoolDir, limits: o.limits}
	s.client = newS3Client(&o, s.transport)
	t.Cleanup(func() { s.Close() })
	return s
}

var quick = s3Limits{attempts: 3, backoff: time.Millisecond, dial: 10 * time.Second, stall: 10 * time.Second, request: 10 * time.Second, perMiB: time.Second}

func problem(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amz-Bucket-Region", "eu-west-7")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
	}
}

func TestS3AnswersBecomeErrorsThatSayWhatToDo(t *testing.T) {
	for _, test := range []struct {
		status int
		code   string
		want   string
		is     error
	}{
		{http.StatusNotFound, "NoSuchKey", `opening result file "orders/1/x": not found: there is no such object`, order.ErrNotFound},
		{http.StatusNotFound, "NoSuchBucket", "there is no such bucket: create it", nil},
		{http.StatusForbidden, "ExpiredToken", "refuses the keys (HTTP 403 ExpiredToken): check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN", nil},
		{http.StatusForbidden, "AccessDenied", "does not allow it (HTTP 403 AccessDenied): the keys need s3:ListBucket", nil},
		{http.StatusForbidden, "RequestTimeTooSkewed", "the clocks of this machine and of the S3 server differ too much", nil},
		{http.StatusMovedPermanently, "PermanentRedirect", "the bucket is elsewhere (HTTP 301 PermanentRedirect): set region=eu-west-7 in results.bucket", nil},
		{http.StatusInsufficientStorage, "StorageFull", "the S3 server has no space", order.ErrNoSpace},
		{http.StatusServiceUnavailable, "SlowDown", "the S3 server fails (HTTP 503 SlowDown)", nil},
		{http.StatusTeapot, "planted secret!", "the S3 server fails (HTTP 418 unknown)", nil},
	} {
		s := canned(t, problem(test.status, test.code, "planted-secret was refused"), quick)
		_, _, err := s.Stat(t.Context(), "orders/1/x")
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "planted") || strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("%s: %v", test.code, err)
		}
		if test.is != nil && !errors.Is(err, test.is) || test.is == nil && (errors.Is(err, order.ErrNotFound) || errors.Is(err, order.ErrNoSpace)) {
			t.Errorf("%s is %v", test.code, err)
		}
	}
}

func TestS3FaultsAreTriedThreeTimesAndRefusalsOnce(t *testing.T) {
	for status, want := range map[int]int32{
		http.StatusInternalServerError: 3,
		http.StatusServiceUnavailable:  3,
		http.StatusForbidden:           1,
		http.StatusNotFound:            1,
	} {
		var n atomic.Int32
		s := canned(t, func(w http.ResponseWriter, _ *http.Request) {
			n.Add(1)
			w.WriteHeader(status)
		}, quick)
		if err := s.Remove(t.Context(), "orders/1/x"); err == nil && status != http.StatusNotFound {
			t.Errorf("%d is no error", status)
		}
		if n.Load() != want {
			t.Errorf("%d: %d attempts, want %d", status, n.Load(), want)
		}
	}
}

// hang reads a request and says nothing until its client is gone.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func TestS3ServerThatHangsIsGivenUp(t *testing.T) {
	soon := 100 * time.Millisecond
	slow, stalls := quick, quick
	slow.request = soon
	stalls.stall, stalls.attempts = soon, 1
	for name, test := range map[string]struct {
		limits s3Limits
		want   string
	}{
		"in all":          {slow, "the S3 server takes too long"},
		"not a byte more": {stalls, "the S3 server can't be reached (no answer in time)"},
	} {
		s := canned(t, hang, test.limits)
		if _, _, err := s.Stat(t.Context(), "orders/1/x"); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: Stat: %v", name, err)
		}
		w, err := s.Create(t.Context(), "order-1")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := w.Close(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: Close: %v", name, err)
		}
	}
}

// An answer that begins and then stands still ends with an error too.
func TestS3ServerThatStopsInMidAnswerIsGivenUp(t *testing.T) {
	limits := quick
	limits.stall = 100 * time.Millisecond
	s := canned(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = w.Write([]byte("hello"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}, limits)
	r, err := s.Open(t.Context(), order.File{ObjectKey: "orders/1/x", Size: 10, SHA256: digest("hellohello")})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); string(b) != "hello" || errors.Is(err, order.ErrDamaged) || err == nil || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("%q, %v", b, err)
	}
}

func TestS3PutEndsWithItsContext(t *testing.T) {
	begun := make(chan struct{}, 1)
	s := canned(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			begun <- struct{}{}
			hang(w, r)
		}
	}, quick)
	ctx, cancel := context.WithCancel(t.Context())
	w, err := s.Create(ctx, "order-1")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-begun
		cancel()
	}()
	if _, _, _, err := w.Close(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestS3WithoutConditionalWritesIsRefused(t *testing.T) {
	s := canned(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprintln(w, storeID)
		}
	}, quick)
	if err := s.claim(t.Context(), storeID); err == nil || !strings.Contains(err.Error(), "does not know conditional writes") {
		t.Errorf("got %v", err)
	}
}

func TestS3PresignRefusesWhatCanNotBeSigned(t *testing.T) {
	s := canned(t, nil, quick)
	for name, test := range map[string]struct {
		key     string
		size    int64
		mime    string
		expires time.Duration
	}{
		"key":       {"elsewhere/1/x", 1, "text/plain", time.Hour},
		"the mark":  {markFile, 1, "text/plain", time.Hour},
		"no size":   {"orders/1/x", 0, "text/plain", time.Hour},
		"type":      {"orders/1/x", 1, "text", time.Hour},
		"two lines": {"orders/1/x", 1, "text/plain\r\nX-Evil: 1", time.Hour},
		"no time":   {"orders/1/x", 1, "text/plain", 0},
		"too long":  {"orders/1/x", 1, "text/plain", MaxPresign + 1},
	} {
		if url, _, err := s.PresignPut(t.Context(), test.key, test.size, test.mime, test.expires); err == nil {
			t.Errorf("%s: %s", name, url)
		}
	}
}

func TestS3SpoolIsNamelessAndClearedOfWhatACrashLeft(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"poller-spool-123", "poller.db"} {
		plant(t, filepath.Join(dir, name), "")
	}
	if err := clearSpool(dir); err != nil {
		t.Fatal(err)
	}
	f, err := newSpool(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 || names[0].Name() != "poller.db" {
		t.Errorf("there is %v, %v", names, err)
	}
	if err := clearSpool(filepath.Join(dir, "poller.db")); err == nil {
		t.Error("a file is no folder")
	}
}

func TestS3FullSpoolIsNoSpace(t *testing.T) {
	s := canned(t, nil, quick)
	w, err := s.Create(t.Context(), "order-1")
	if err != nil {
		t.Fatal(err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = w.file.Close()
	w.file = full
	if _, err := w.Write([]byte("x")); !errors.Is(err, order.ErrNoSpace) {
		t.Errorf("Write: %v", err)
	}
	if _, _, _, err := w.Close(); !errors.Is(err, order.ErrNoSpace) {
		t.Errorf("Close: %v", err)
	}
}

func TestS3RemoveTellsOfEachFileThatStays(t *testing.T) {
	s := canned(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `<DeleteResult><Error><Key>orders/1/a</Key><Code>AccessDenied</Code></Error>`+
			`<Error><Key>orders/1/b</Key><Code>NoSuchKey</Code></Error></DeleteResult>`)
	}, quick)
	n, err := s.remove(t.Context(), []string{"orders/1/a", "orders/1/b", "orders/1/c"})
	if n != 2 || err == nil || err.Error() != `removing result file "orders/1/a": the S3 server fails (AccessDenied)` {
		t.Errorf("%d are gone, %v", n, err)
	}
}

// A name that is taken by other content is an error, and that content stays.
func TestS3NeverTouchesAnObjectThatIsNotItsOwn(t *testing.T) {
	s := canned(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPut:
			w.WriteHeader(http.StatusPreconditionFailed)
		case http.MethodGet:
			fmt.Fprint(w, "other")
		default:
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
	}, quick)
	w, err := s.Create(t.Context(), "order-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := w.Close(); !errors.Is(err, errTaken) {
		t.Errorf("got %v", err)
	}
}
