package fetcher

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"poller/order"
)

// hostile are servers that misbehave; each reads the request first.
var hostile = []struct {
	name   string
	answer func(w io.Writer, tick func() bool)
	want   []order.Outcome
	detail string
}{
	{"silence", func(_ io.Writer, tick func() bool) {
		for tick() {
		}
	}, []order.Outcome{order.Timeout}, "no first byte"},
	{"dripping head", func(w io.Writer, tick func() bool) {
		io.WriteString(w, "HTTP/1.1 200 OK\r\nX: ")
		for tick() {
			io.WriteString(w, "x")
		}
	}, []order.Outcome{order.Timeout}, "head of the answer is not complete"},
	{"dripping 1xx", func(w io.Writer, tick func() bool) {
		for tick() {
			io.WriteString(w, "HTTP/1.1 103 Early Hints\r\n\r\n")
		}
	}, []order.Outcome{order.Timeout, order.InvalidResponse}, ""},
	{"flood of 1xx", func(w io.Writer, _ func() bool) {
		for {
			if _, err := io.WriteString(w, strings.Repeat("HTTP/1.1 102 Processing\r\nX: y\r\n\r\n", 100)); err != nil {
				return
			}
		}
	}, []order.Outcome{order.Timeout, order.InvalidResponse, order.Unreachable}, ""},
	{"101", func(w io.Writer, tick func() bool) {
		io.WriteString(w, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
		for tick() {
			io.WriteString(w, "x")
		}
	}, []order.Outcome{order.HTTPError}, "HTTP 101"},
	{"flood of headers", func(w io.Writer, _ func() bool) {
		io.WriteString(w, "HTTP/1.1 200 OK\r\n")
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(w, "X-%d: %s\r\n", i, strings.Repeat("x", 1000)); err != nil {
				return
			}
		}
	}, []order.Outcome{order.InvalidResponse}, "over 64 KiB"},
	{"one long header", func(w io.Writer, _ func() bool) {
		io.WriteString(w, "HTTP/1.1 200 OK\r\nX: ")
		for {
			if _, err := io.WriteString(w, strings.Repeat("x", 4096)); err != nil {
				return
			}
		}
	}, []order.Outcome{order.InvalidResponse}, "over 64 KiB"},
	{"dripping body", func(w io.Writer, tick func() bool) {
		io.WriteString(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
		for tick() {
			io.WriteString(w, "1\r\n \r\n")
		}
	}, []order.Outcome{order.Timeout}, "not complete within"},
	{"dripping body that claims to be long", func(w io.Writer, tick func() bool) {
		io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n")
		for tick() {
			io.WriteString(w, " ")
		}
	}, []order.Outcome{order.Timeout}, "not complete within 1.2s"},
	{"dripping 404", func(w io.Writer, tick func() bool) {
		io.WriteString(w, "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n")
		for tick() {
			io.WriteString(w, "1\r\nx\r\n")
		}
	}, []order.Outcome{order.NotFound}, "404"},
	{"flood of trailers", func(w io.Writer, _ func() bool) {
		io.WriteString(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n17\r\n{\"status\":\"processing\"}\r\n0\r\n")
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(w, "X-%d: %s\r\n", i, strings.Repeat("x", 1000)); err != nil {
				return
			}
		}
	}, []order.Outcome{order.InvalidResponse}, "framing"},
	{"truncated body", func(w io.Writer, _ func() bool) {
		io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"status\":\"processing\"}")
	}, []order.Outcome{order.Unreachable}, "connection closed after 23 bytes"},
	{"truncated chunk", func(w io.Writer, _ func() bool) {
		io.WriteString(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n{\"status\":\"processing\"}")
	}, []order.Outcome{order.Unreachable}, "connection closed after"},
	{"no last chunk", func(w io.Writer, _ func() bool) {
		io.WriteString(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n17\r\n{\"status\":\"processing\"}\r\n")
	}, []order.Outcome{order.Unreachable}, "connection closed after"},
	{"cut, length unknown", func(w io.Writer, _ func() bool) {
		io.WriteString(w, "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"proc")
	}, []order.Outcome{order.Unreachable}, "in the middle of its JSON"},
	{"length too short", func(w io.Writer, _ func() bool) {
		io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{\"status\":\"processing\"}")
	}, []order.Outcome{order.InvalidResponse}, "too early"},
	{"two lengths", func(w io.Writer, _ func() bool) {
		io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{\"status\":\"processing\"}")
	}, []order.Outcome{order.InvalidResponse}, "not HTTP/1.1"},
	{"length beyond max_body", func(w io.Writer, _ func() bool) {
		io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{")
	}, []order.Outcome{order.InvalidResponse}, "larger than"},
	{"not HTTP", func(w io.Writer, _ func() bool) {
		io.WriteString(w, "hello there\r\n\r\n")
	}, []order.Outcome{order.InvalidResponse}, "not HTTP/1.1"},
	{"broken chunk", func(w io.Writer, _ func() bool) {
		io.WriteString(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{")
	}, []order.Outcome{order.InvalidResponse}, "framing"},
	{"hang-up", func(io.Writer, func() bool) {}, []order.Outcome{order.Unreachable}, "connection closed before an answer"},
	{"endless body", func(w io.Writer, _ func() bool) {
		io.WriteString(w, "HTTP/1.1 200 OK\r\n\r\n{\"x\":\"")
		for {
			if _, err := io.WriteString(w, strings.Repeat("x", 4096)); err != nil {
				return
			}
		}
	}, []order.Outcome{order.InvalidResponse, order.Timeout}, ""},
	{"endless 500", func(w io.Writer, _ func() bool) {
		io.WriteString(w, "HTTP/1.1 500 x\r\n\r\n")
		for {
			if _, err := io.WriteString(w, strings.Repeat("x", 4096)); err != nil {
				return
			}
		}
	}, []order.Outcome{order.HTTPError}, "500"},
	{"dripping file", func(w io.Writer, tick func() bool) {
		io.WriteString(w, "HTTP/1.1 200 OK\r\n\r\n{\"file_base64\":\""+b64(90000))
		for tick() {
			io.WriteString(w, "AAAA")
		}
	}, []order.Outcome{order.Timeout}, "not complete within"},
}

// TestHostile: every poll ends in time with its outcome, and holds nothing a second later (G14).
func TestHostile(t *testing.T) {
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			var wg sync.WaitGroup
			s := rawServer(t, func(conn net.Conn) {
				wg.Add(1)
				defer wg.Done()
				buf := make([]byte, 4096)
				if _, err := conn.Read(buf); err != nil {
					return
				}
				closed := make(chan struct{})
				go func() {
					io.Copy(io.Discard, conn)
					close(closed)
				}()
				tick := time.NewTicker(10 * time.Millisecond)
				defer tick.Stop()
				h.answer(conn, func() bool {
					select {
					case <-closed:
						return false
					case <-tick.C:
						return true
					}
				})
			}, func(o *Options) { o.MaxBody = 8 << 20 })
			start := time.Now()
			obs := s.fetch(t, s.ask())
			took := time.Since(start)
			ok := false
			for _, w := range h.want {
				ok = ok || obs.Outcome == w
			}
			if !ok || !strings.Contains(obs.Detail, h.detail) {
				t.Errorf("%s %q, want %v %q", obs.Outcome, obs.Detail, h.want, h.detail)
			}
			limit := s.opts.Timeout
			if strings.Contains(h.name, "long") || strings.Contains(h.name, "endless") {
				limit = s.opts.BodyTimeout
			}
			if took > limit+500*time.Millisecond {
				t.Errorf("took %s", took)
			}
			if len(s.files.keys()) != 0 {
				t.Errorf("left behind: %v", s.files.keys())
			}
			noGoroutines(t)
			done := make(chan struct{})
			go func() { wg.Wait(); close(done) }()
			select {
			case <-done: // the server saw its connection closed
			case <-time.After(time.Second):
				t.Error("the connection is still open a second later")
			}
		})
	}
}

// noGoroutines waits at most a second until none of the client's is left.
func noGoroutines(t *testing.T) {
	t.Helper()
	end := time.Now().Add(time.Second)
	for {
		buf := make([]byte, 1<<20)
		stacks := string(buf[:runtime.Stack(buf, true)])
		left := ""
		for g := range strings.SplitSeq(stacks, "\n\n") {
			if strings.Contains(g, "fetcher.(*poll)") || strings.Contains(g, "fetcher.(*conn)") || strings.Contains(g, "fetcher.shake") || strings.Contains(g, "jsonCheck") {
				left = g
			}
		}
		if left == "" {
			return
		}
		if time.Now().After(end) {
			t.Errorf("still running:\n%s", left)
			return
		}
		runtime.Gosched()
	}
}

// TestTarpits: servers that stall before there is a connection hold nothing after the poll either.
func TestTarpits(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := listen(t, ln, nil, func(conn net.Conn) { io.Copy(io.Discard, conn) })
	obs := s.fetch(t, s.ask())
	if obs.Outcome != order.Timeout || !strings.Contains(obs.Detail, "TLS handshake not finished") || !obs.NoConnection || obs.Answered {
		t.Errorf("%+v", obs)
	}
	noGoroutines(t)
}

func TestLongBody(t *testing.T) {
	const limit = time.Second
	long := `{"status":"completed","file_base64":"` + b64(1_500_000) + `"}`
	slowly := func(body string, announced bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			rest := len(body) * 8 / 10
			if announced {
				w.Header().Set("Content-Length", itoa(len(body)))
			}
			io.WriteString(w, body[:rest])
			w.(http.Flusher).Flush()
			select {
			case <-time.After(limit + 100*time.Millisecond):
			case <-r.Context().Done():
				return
			}
			io.WriteString(w, body[rest:])
		}
	}
	limits := func(o *Options) { o.Timeout, o.BodyTimeout = limit, time.Minute }
	for _, announced := range []bool{false, true} {
		s := newSeller(t, slowly(long, announced), limits)
		if obs := s.fetch(t, s.ask()); obs.Outcome != order.Completed {
			t.Errorf("longer than 1 MiB: %+v", obs)
		}
	}
	s := newSeller(t, slowly(long, true), limits)
	// One at a time per seller; another seller has its own.
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[order.Outcome]int{}
	for i := range 3 {
		wg.Go(func() {
			ask := s.ask()
			if i == 2 {
				ask.Seller.ID = "another"
			}
			obs := s.c.Fetch(t.Context(), ask)
			mu.Lock()
			defer mu.Unlock()
			got[obs.Outcome]++
			if obs.Outcome == order.Timeout && !strings.Contains(obs.Detail, "another long answer") {
				t.Error(obs.Detail)
			}
		})
	}
	wg.Wait()
	if got[order.Completed] != 2 || got[order.Timeout] != 1 {
		t.Errorf("%v", got)
	}
	if obs := s.fetch(t, s.ask()); obs.Outcome != order.Completed {
		t.Errorf("the place was not given back: %+v", obs)
	}
	short := newSeller(t, slowly(`{"status":"completed","file_base64":"`+b64(200_000)+`"}`, true), limits)
	if obs := short.fetch(t, short.ask()); obs.Outcome != order.Timeout || len(short.files.keys()) != 0 {
		t.Errorf("shorter than 1 MiB: %+v", obs)
	}
}

// TestMemoryWait: waiting for our own memory counts against nobody.
func TestMemoryWait(t *testing.T) {
	s := newSeller(t, says(`{"status":"processing"}`), func(o *Options) { o.Timeout, o.BodyTimeout = 200*time.Millisecond, 200*time.Millisecond })
	m := s.c.settings.Load().memory
	m[stageBuffer].bytes *= 1024 // as large as its share
	if !m[stageBuffer].sem.TryAcquire(m[stageBuffer].bytes) {
		t.Fatal("no memory")
	}
	time.AfterFunc(500*time.Millisecond, func() { m.release(stageBuffer) })
	obs := s.fetch(t, s.ask())
	if obs.Outcome != order.Processing || obs.Duration > 200*time.Millisecond {
		t.Errorf("%+v", obs)
	}
}
