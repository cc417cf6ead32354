package results

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"poller/order"
)

const pdf = "application/pdf"

var uploadStart = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// slots is what was prepared.
type slots struct {
	mu      sync.Mutex
	order   map[string]order.Order
	size    map[string]int64
	at      int   // the question that is answered otherwise, from 1
	err     error // ... so
	becomes int64 // ... or with this size
}

func (s *slots) Upload(ctx context.Context, key string) (order.Order, int64, error) {
	if err := ctx.Err(); err != nil {
		return order.Order{}, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.order[key]
	if !ok {
		return o, 0, fmt.Errorf("an upload: %w", order.ErrNotFound)
	}
	if s.at--; s.at == 0 {
		return o, s.becomes, s.err
	}
	return o, s.size[key], nil
}

// uploadSite is a server for uploads with its folder, its orders and its log.
type uploadSite struct {
	*testing.T
	path   string
	dir    *Dir
	u      *Uploads
	slots  *slots
	now    atomic.Pointer[time.Time]
	full   atomic.Bool
	public string
	addr   string
	logs   *observer.ObservedLogs
}

// newSite makes an uploadSite; serve is still to be called.
func newSite(t *testing.T) *uploadSite {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	s := &uploadSite{T: t, path: t.TempDir(), logs: logs, slots: &slots{order: map[string]order.Order{}, size: map[string]int64{}}}
	s.dir = open(t, s.path)
	s.at(uploadStart)
	s.public = "https://files.example.com/in/"
	s.u = NewUploads(UploadOptions{
		Dir: s.dir, Key: []byte("0123456789abcdef0123456789abcdef"), PublicURL: func() string { return s.public },
		Slots: s.slots, Enough: func() bool { return !s.full.Load() }, Now: func() time.Time { return *s.now.Load() }, Log: zap.New(core),
	})
	t.Cleanup(func() {
		for _, entry := range logs.All() {
			if line := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(line, "signature") || strings.Contains(line, "panic") {
				t.Errorf("logged: %s", line)
			}
		}
	})
	return s
}

func (s *uploadSite) at(now time.Time) { s.now.Store(&now) }

// listening makes an uploadSite that listens on loopback.
func listening(t *testing.T) *uploadSite {
	t.Helper()
	s := newSite(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.public = "http://" + s.addr + "/in"
	s.serve(l)
	return s
}

// serve runs the server until the test ends, or stop is called.
func (s *uploadSite) serve(l net.Listener) (stop func()) {
	server := s.u.Server()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	stop = func() {
		_ = server.Close()
		<-done
	}
	s.Cleanup(stop)
	return stop
}

// prepare makes a slot for a PDF and signs its URL.
func (s *uploadSite) prepare(remoteID string, size int) (key, signedURL string) {
	s.Helper()
	key = NewUploadKey(remoteID, "report.pdf", pdf)
	s.slots.mu.Lock()
	s.slots.order[key] = order.Order{ID: "id-" + remoteID, RemoteID: remoteID, SellerID: "seller", State: order.StateProcessing}
	s.slots.size[key] = int64(size)
	s.slots.mu.Unlock()
	signedURL, headers, err := s.u.Sign(key, int64(size), pdf, *s.now.Load())
	if err != nil || len(headers) != 1 || headers["Content-Type"] != pdf {
		s.Fatal(headers, err)
	}
	return key, signedURL
}

// answer is what came back.
type answer struct {
	status  int
	header  http.Header
	last    bool // the connection ends with it
	problem problemBody
	kept    uploaded
}

// do sends a request and checks the form of the answer.
func (s *uploadSite) do(r *http.Request) answer {
	s.Helper()
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	return s.read(res)
}

func (s *uploadSite) read(res *http.Response) answer {
	s.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	a := answer{status: res.StatusCode, header: res.Header, last: res.Close}
	into, mimeType := any(&a.kept), "application/json"
	if a.status != http.StatusCreated {
		into, mimeType = &a.problem, "application/problem+json"
	}
	if err := json.Unmarshal(b, into); err != nil || res.Header.Get("Content-Type") != mimeType {
		s.Fatalf("%d %s %s: %v", a.status, res.Header.Get("Content-Type"), b, err)
	}
	if a.status != http.StatusCreated && (a.problem.Status != a.status || a.problem.Title == "" || a.problem.Detail == "" || strings.Contains(a.problem.Detail, "signature=")) {
		s.Errorf("the problem is %s", b)
	}
	return a
}

// request is a PUT as it should be.
func (s *uploadSite) request(signedURL, content string) *http.Request {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), http.MethodPut, signedURL, strings.NewReader(content))
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("Content-Type", pdf)
	return r
}

// raw sends bytes and reads the answer; nothing more is sent if cut is set.
func (s *uploadSite) raw(conn net.Conn, request string, cut bool) answer {
	s.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		s.Fatal(err)
	}
	if half, ok := conn.(*net.TCPConn); ok && cut {
		if err := half.CloseWrite(); err != nil {
			s.Fatal(err)
		}
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.Fatal(err)
	}
	return s.read(res)
}

func (s *uploadSite) dial() net.Conn {
	s.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { conn.Close() })
	return conn
}

// head is the head of a PUT, written by hand.
func head(signedURL string, headers ...string) string {
	u, err := url.Parse(signedURL)
	if err != nil {
		panic(err)
	}
	return "PUT " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host + "\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n"
}

// holdsOnly checks how many files there are, parts included.
func (s *uploadSite) holdsOnly(n int) {
	s.Helper()
	files := slices.DeleteFunc(names(s.T, s.path), func(name string) bool { return strings.HasSuffix(name, "/") })
	if len(files) != n {
		s.Errorf("there are %v, not %d", files, n)
	}
}

// holds checks that there are these files, by key, and no others.
func (s *uploadSite) holds(want map[string]string) {
	s.Helper()
	s.holdsOnly(len(want))
	for key, content := range want {
		if size, sum, err := s.dir.Stat(s.Context(), key); err != nil || size != int64(len(content)) || sum != digest(content) {
			s.Errorf("%s: %d bytes, %s, %v", key, size, sum, err)
		}
	}
}

// taken uploads what must be taken.
func (s *uploadSite) taken(key, signedURL, content string) {
	s.Helper()
	a := s.do(s.request(signedURL, content))
	if a.status != http.StatusCreated || a.kept != (uploaded{key, int64(len(content)), digest(content)}) {
		s.Errorf("%d %+v %+v", a.status, a.kept, a.problem)
	}
}
