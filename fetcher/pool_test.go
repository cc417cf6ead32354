package fetcher

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"poller/order"
)

// pipeConn is a connection to nobody, and whether it was closed.
func pipeConn(t *testing.T, host string) (c *conn, closed func() bool) {
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close(); there.Close() })
	return &conn{Conn: tls.Client(here, &tls.Config{ServerName: host}), host: host}, func() bool {
		return here.SetDeadline(time.Time{}) != nil
	}
}

// Kept connections are bounded in number and time: the one that was longest unused goes first.
func TestKeptConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(2)
		a, aClosed := pipeConn(t, "a:443")
		b, bClosed := pipeConn(t, "b:443")
		b2, b2Closed := pipeConn(t, "b:443")
		p.put(a)
		time.Sleep(time.Second)
		p.put(b)
		if aClosed() || bClosed() {
			t.Fatal("closed within the bound")
		}
		p.put(b2)
		if !aClosed() || p.get("a:443") != nil {
			t.Error("the oldest of three is still kept")
		}
		if p.get("b:443") != b2 {
			t.Error("not the one used last")
		}
		time.Sleep(idleTimeout - time.Second)
		p.put(b2)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !bClosed() || b2Closed() {
			t.Errorf("after the time: the unused one closed %v, the used one closed %v", bClosed(), b2Closed())
		}
		time.Sleep(idleTimeout)
		synctest.Wait()
		if !b2Closed() || len(p.hosts) != 0 || p.timer != nil {
			t.Error("something is left")
		}
		c, cClosed := pipeConn(t, "c:443")
		p.put(c)
		p.drain(false)
		d, dClosed := pipeConn(t, "d:443")
		p.put(d)
		p.drain(true)
		e, eClosed := pipeConn(t, "e:443")
		p.put(e)
		if !cClosed() || !dClosed() || !eClosed() {
			t.Error("kept after the end")
		}
	})
}

const okAnswer = `{"status":"processing"}`

// answerTo reads one request, its body-less head.
func answerTo(r *bufio.Reader) error {
	req, err := http.ReadRequest(r)
	if err == nil {
		_, err = io.Copy(io.Discard, req.Body)
	}
	return err
}

// What a server sends after the end of an answer is never taken for the answer of another order.
func TestWhatFollowsAnAnswerIsNoAnswer(t *testing.T) {
	// So long a body is read past the buffer for lines: what follows stays in TLS.
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + okAnswer + strings.Repeat(" ", 10_000-len(okAnswer))
	forged := "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
	for name, extra := range map[string]struct {
		together, later string
	}{
		"with the answer":            {together: forged},
		"in a record of its own":     {later: forged},
		"an end of the connection":   {later: "close"},
		"nothing (the counter-test)": {},
	} {
		t.Run(name, func(t *testing.T) {
			var conns atomic.Int32
			sent := make(chan struct{}, 2)
			s := rawServer(t, func(conn net.Conn) {
				conns.Add(1)
				r := bufio.NewReader(conn)
				for answerTo(r) == nil {
					io.WriteString(conn, answer+extra.together)
					switch extra.later {
					case "":
					case "close":
						conn.Close()
					default:
						io.WriteString(conn, extra.later)
					}
					sent <- struct{}{}
				}
			}, func(o *Options) { o.Timeout = 5 * time.Second })
			for range 2 {
				if obs := s.fetch(t, s.ask()); obs.Outcome != order.Processing {
					t.Errorf("%s: %s", obs.Outcome, obs.Detail)
				}
				<-sent // over loopback it has arrived
			}
			want := int32(2)
			if extra.together+extra.later == "" {
				want = 1
			}
			if n := conns.Load(); n != want {
				t.Errorf("%d connections, want %d", n, want)
			}
		})
	}
}

// A server may refuse a request before it has read all of it.
func TestAnEarlyRefusalIsRead(t *testing.T) {
	s := rawServer(t, func(conn net.Conn) {
		if _, err := conn.Read(make([]byte, 1000)); err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		io.Copy(io.Discard, conn)
	}, func(o *Options) { o.Timeout = 5 * time.Second })
	ask := s.ask()
	for _, name := range "abcdefghijklmnopqrstuvwxyz" {
		ask.Seller.Headers = append(ask.Seller.Headers, order.Header{Name: "X-" + string(name), Value: strings.Repeat("v", maxHeaderValue)})
	}
	if obs := s.fetch(t, ask); obs.Outcome != order.HTTPError || obs.HTTPStatus != 431 {
		t.Errorf("%s: %s", obs.Outcome, obs.Detail)
	}
}

// The limit in time holds for the request too: a server that reads nothing can't hold a poll.
func TestAServerThatReadsNothing(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	s := rawServer(t, func(conn net.Conn) {
		if err := conn.(*tls.Conn).Handshake(); err == nil {
			<-hold
		}
	})
	ask := s.ask()
	for i := range maxHeaders - 1 {
		ask.Seller.Headers = append(ask.Seller.Headers, order.Header{Name: "X-" + itoa(i), Value: strings.Repeat("v", maxHeaderValue)})
	}
	start := time.Now()
	obs := s.fetch(t, ask)
	if obs.Outcome != order.Timeout || !strings.Contains(obs.Detail, "no first byte") || time.Since(start) > s.opts.Timeout+500*time.Millisecond {
		t.Errorf("%s: %s after %s", obs.Outcome, obs.Detail, time.Since(start))
	}
}
