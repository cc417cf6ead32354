package fetcher

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"poller/order"
)

// requests are those that a server got, by the number of their connection.
type requests struct {
	mu    sync.Mutex
	conns int
	got   []int
}

// serve answers each request with what answer gives for its number (from 1), and calls then (nil: nothing) after that.
func (r *requests) serve(conn net.Conn, answer func(n int) string, then func(n int, conn net.Conn)) {
	r.mu.Lock()
	r.conns++
	id := r.conns
	r.mu.Unlock()
	in := bufio.NewReader(conn)
	for {
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		r.mu.Lock()
		r.got = append(r.got, id)
		n := len(r.got)
		r.mu.Unlock()
		io.WriteString(conn, answer(n))
		if then != nil {
			then(n, conn)
		}
	}
}

const (
	processing = "HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n{\"status\":\"processing\"}"
	notFound   = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
)

// TestKept says on which connection each of three polls is asked.
func TestKept(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer string
		want   []int
	}{
		{"length", processing, []int{1, 1, 1}},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n17\r\n{\"status\":\"processing\"}\r\n0\r\nX: y\r\n\r\n", []int{1, 1, 1}},
		{"after 1xx", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + processing, []int{1, 1, 1}},
		{"no body", notFound, []int{1, 1, 1}},
		{"a body that does not matter", "HTTP/1.1 500 x\r\nContent-Length: 5\r\n\r\nsorry", []int{1, 1, 1}},
		{"too long a body that does not matter", "HTTP/1.1 500 x\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100_000), []int{1, 2, 3}},
		{"asked not to", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 23\r\n\r\n{\"status\":\"processing\"}", []int{1, 2, 3}},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 23\r\n\r\n{\"status\":\"processing\"}", []int{1, 2, 3}},
		{"something after the answer", processing + "x", []int{1, 2, 3}},
		{"an answer that nobody asked for", processing + notFound, []int{1, 2, 3}},
		{"coding not asked for, body not read", "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx", []int{1, 2, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r requests
			s := rawServer(t, func(conn net.Conn) { r.serve(conn, func(int) string { return c.answer }, nil) })
			first := s.fetch(t, s.ask())
			for range 2 {
				if obs := s.fetch(t, s.ask()); obs.Outcome != first.Outcome || obs.Detail != first.Detail {
					t.Errorf("%+v, at first %+v", obs, first)
				}
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if !slices.Equal(r.got, c.want) {
				t.Errorf("%v, want %v", r.got, c.want)
			}
		})
	}
}

// A poll is one GET; a kept connection that breaks under it is made up for once.
func TestKeptConnectionThatBreaks(t *testing.T) {
	var r requests
	s := rawServer(t, func(conn net.Conn) {
		r.serve(conn, func(n int) string {
			if n == 2 {
				conn.Close()
			}
			return processing
		}, nil)
	})
	for range 2 {
		if obs := s.fetch(t, s.ask()); obs.Outcome != order.Processing {
			t.Errorf("%+v", obs)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.got, []int{1, 1, 2}) {
		t.Errorf("%v", r.got)
	}
}

// TestHeadCutShort: a connection that ends in the middle of a head's line is broken; what ended there is no malformed answer.
func TestHeadCutShort(t *testing.T) {
	for head, want := range map[string]order.Outcome{
		"HTTP/1.1 200 O":                order.Unreachable,
		"HTTP/1.1 200 OK\r\nA: b\r\nCo": order.Unreachable,
		"HTTP/1.1 000 OK\r\n\r\n{":      order.InvalidResponse,
		"HTTP/1.1 200 OK\r\nno\r\n\r\n": order.InvalidResponse,
	} {
		s := rawServer(t, func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, head)
		})
		if obs := s.fetch(t, s.ask()); obs.Outcome != want {
			t.Errorf("%q: %s %q, want %s", head, obs.Outcome, obs.Detail, want)
		}
	}
}
