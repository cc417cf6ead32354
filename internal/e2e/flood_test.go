package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"poller/internal/fakeseller"
)

// openConns opens that many connections to an address. They are closed when the test ends, or by the function returned.
func openConns(t *testing.T, url string, n int) (conns []net.Conn, closeAll func()) {
	t.Helper()
	closeAll = func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}
	t.Cleanup(func() { closeAll() })
	for range n {
		c, err := net.DialTimeout("tcp", strings.TrimPrefix(url, "http://"), patience)
		noError(t, err, "connecting")
		conns = append(conns, c)
	}
	return conns, closeAll
}

// GUARANTEES G23: more connections than there may be, to the API and to the
// metrics, that say nothing, half of a head, half of a body without a token, or
// many requests whose answers they don't read, keep nobody out: not the API, not
// health and metrics, not a sweep. They cost a bounded number of open files, and leave nothing behind.
func TestAFloodOfConnections(t *testing.T) {
	t.Parallel()
	var files syscall.Rlimit
	noError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files), "asking for the limit of open files")
	flood := int(min(1400, files.Cur/2))
	s := newSite(t, 1)
	s.set("log.level", "info")
	d := s.start()
	d.register(0, "a")
	s.sellers.Handle("a/*", fakeseller.Quick("done"))
	base := runtimeSamples(d)

	conns, hangUp := openConns(t, d.api, flood)
	metrics, hangUpThere := openConns(t, d.metrics, 100)
	var sent atomic.Int64
	for i, c := range append(conns, metrics...) {
		text := [...]string{
			"",
			"POST /v1/orders HTTP/1.1\r\nHost: localhost\r\n",
			"POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{",
			strings.Repeat("GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
			strings.Repeat("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
		}[i%5]
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		n, _ := io.WriteString(c, text) // it may be closed by now
		sent.Add(int64(n))
	}

	for i := range 20 {
		began := time.Now()
		d.submit("a", fmt.Sprintf("o-%d", i))
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			if a := d.get(path); a.status != http.StatusOK {
				t.Errorf("%s: %d", path, a.status)
			}
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("beside the flood an order and three questions took %s", took)
		}
	}
	if v := d.sweep(); v.Outcomes["completed"] != 20 {
		t.Errorf("the sweep beside the flood: %+v", v)
	}
	// Kept: 1024 of the API, 32 of the metrics; and some that poller itself needs.
	if now := d.openFiles(); now > base["process_open_fds"]+1024+32+64 {
		t.Errorf("%v open files, %v before", now, base["process_open_fds"])
	}
	hangUp()
	hangUpThere()
	settledBy(t, func() string {
		now := runtimeSamples(d)
		if g, f := now["go_goroutines"], now["process_open_fds"]; g > base["go_goroutines"]+50 || f > base["process_open_fds"]+50 {
			return fmt.Sprintf("%v goroutines and %v open files, before it %v and %v", g, f, base["go_goroutines"], base["process_open_fds"])
		}
		return ""
	})
	t.Logf("%d connections and %d bytes", flood+100, sent.Load())
	d.stop()
}

// runtimeSamples are what must not grow.
func runtimeSamples(d *daemon) map[string]float64 {
	all := map[string]float64{}
	for line := range bytes.Lines(d.get("/metrics").body) {
		name, value, ok := strings.Cut(strings.TrimSpace(string(line)), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		all["series"]++
		switch name {
		case "go_goroutines", "process_open_fds", "process_resident_memory_bytes":
			all[name], _ = strconv.ParseFloat(value, 64)
		}
	}
	return all
}

// openFiles is how many files poller has open.
func (d *daemon) openFiles() float64 {
	d.t.Helper()
	return runtimeSamples(d)["process_open_fds"]
}

// settledBy waits until what says that nothing is wrong.
func settledBy(t *testing.T, wrong func() string) {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		what := wrong()
		if what == "" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(what)
		}
	}
}
