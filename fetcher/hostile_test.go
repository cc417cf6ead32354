package fetcher

import (
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
