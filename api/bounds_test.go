package api

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poller/order"
)

// slack is what clients get beyond a timeout: net/http lingers for half a second, and closed looks once a second.
const slack = 3 * time.Second

// GUARANTEES G23: a client that does not come to the end of its request's head is cut off, whatever it holds back.
func TestSlowHeads(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		head string
		drip string
		most time.Duration
	}{
		"nothing":             {"", "", headerTimeout},
		"half a line":         {"GET /v1/st", "", headerTimeout},
		"all but the end":     {head("GET", "/v1/status"), "", headerTimeout},
		"headers without end": {head("GET", "/v1/status"), "X: y\r\n", headerTimeout},
		"empty lines":         {"", "\r\n", headerTimeout},
		"a stranger's":        {"GET / HTTP/1.1\r\nHost: localhost\r\n", "X: y\r\n", headerTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, 8, func(t *testing.T, w *world) {
				c1 := w.dial()
				if c.drip == "" {
					c1.say(c.head)
				} else {
					c1.drip(c.head, c.drip, 500*time.Millisecond)
				}
				if lasted, _ := c1.lasts(); lasted > c.most+slack {
					t.Errorf("open for %s", lasted)
				}
			})
		})
	}
}

// ... nor does one that was answered stay for ever, silent or dripping.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	for _, drip := range []string{"", "GET /v1/status HTTP/1.1\r\nX: "} {
		inWorld(t, 8, func(t *testing.T, w *world) {
			c := w.dial()
			if status, _, err := c.ask(head("GET", "/v1/status") + "\r\n"); status != 200 || err != nil {
				t.Fatal(status, err)
			}
			if drip != "" {
				c.drip("", drip, time.Second)
			}
			lasted, _ := c.lasts()
			if lasted > idleTimeout+headerTimeout+slack || drip == "" && lasted < idleTimeout {
				t.Errorf("with %q: open for %s", drip, lasted)
			}
		})
	}
}

// ... nor does one that holds back the body, on any route, with a token or without.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	inWorld(t, 8, func(t *testing.T, w *world) {
		w.backup.Store(&noBackup)
		for _, route := range append(w.routes(), "POST /v1/nothing", "DELETE /openapi.json", "OPTIONS *") {
			method, path, _ := strings.Cut(route, " ")
			for body, lines := range map[string][]string{
				" ":              {"Content-Length: 100"},
				"1\r\n \r\n":     {"Transfer-Encoding: chunked"},
				"  ":             {"Content-Length: 100", "Expect: 100-continue"},
				"1\r\n \r\n\r\n": {"Content-Type: application/json", "Transfer-Encoding: chunked", "Authorization: a second one is none"},
			} {
				for _, drip := range []bool{false, true} {
					c := w.dial()
					begin := head(method, concrete(path), lines...) + "\r\n"
					if drip {
						c.drip(begin, body, 700*time.Millisecond)
					} else {
						c.say(begin)
					}
					if lasted, _ := c.lasts(); lasted > bodyReadTimeout+slack {
						t.Errorf("%s, %v, dripping %v: open for %s", route, lines, drip, lasted)
					}
				}
			}
		}
	})
}

var noBackup = func(context.Context, string) error { return io.EOF }

// ... nor one that submits lines and falls silent.
func TestSilentLines(t *testing.T) {
	t.Parallel()
	for framing, begin := range map[string]string{"Transfer-Encoding: chunked": "2\r\n\n\n\r\n", "Content-Length: 100": "\n\n"} {
		inWorld(t, 8, func(t *testing.T, w *world) {
			c := w.dial()
			c.say(head("POST", "/v1/orders", "Content-Type: application/x-ndjson", framing) + "\r\n" + begin)
			lasted, answer := c.lasts()
			if lasted > lineTimeout+slack || !strings.Contains(answer, "too slowly") {
				t.Errorf("%s: open for %s: %s", framing, lasted, answer)
			}
		})
	}
}

// ... nor one that does not read its answer, or reads it a byte at a time, on any route.
func TestClientsThatDoNotRead(t *testing.T) {
	t.Parallel()
	inWorld(t, 8, func(t *testing.T, w *world) {
		w.backup.Store(&noBackup)
		for _, route := range append(w.routes(), "GET /v1/nothing") {
			method, path, _ := strings.Cut(route, " ")
			for _, stranger := range []bool{false, true} {
				request := head(method, concrete(path), "Content-Length: 0") + "\r\n"
				if stranger {
					request = strings.Replace(request, "Authorization", "X", 1)
				}
				c := w.dial()
				c.say(strings.Repeat(request, 3)) // more than one: it must not begin anew with each
				if lasted := c.closed(); lasted > writeTimeout+headerTimeout+slack {
					t.Errorf("%s, a stranger %v: open for %s", route, stranger, lasted)
				}
			}
		}
	})
}

// A long answer that is read too slowly is cut; one that is read slowly, but in
// time for each piece, is not. The event feed is one of those that can be long.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		every time.Duration // for 1 KiB
		whole bool
	}{{time.Second, false}, {200 * time.Millisecond, true}} {
		inWorld(t, 8, func(t *testing.T, w *world) {
			w.feed(2000)
			c1 := w.dial()
			c1.say(head("GET", "/v1/events?limit=1000", "Connection: close") + "\r\n")
			var got strings.Builder
			for {
				time.Sleep(c.every)
				if _, err := io.CopyN(&got, c1, 1<<10); err != nil {
					break
				}
			}
			if got.Len() < 128<<10 != !c.whole || strings.HasSuffix(got.String(), "0\r\n\r\n") != c.whole {
				t.Errorf("1 KiB in %s: %d bytes in %s", c.every, got.Len(), time.Since(c1.begun))
			}
		})
	}
}

// Readers of the feed who wait and hang up leave nothing behind; those who stay are answered when the time is over.
func TestWaitingReaders(t *testing.T) {
	t.Parallel()
	inWorld(t, 8, func(t *testing.T, w *world) {
		gone, stays := w.dial(), w.dial()
		for _, c := range []*client{gone, stays} {
			c.say(head("GET", "/v1/events?wait=60s", "Connection: close") + "\r\n")
		}
		time.Sleep(time.Second)
		_ = gone.Close()
		synctest.Wait()
		lasted, answer := stays.lasts()
		if lasted < maxWait || lasted > maxWait+slack || !strings.Contains(answer, `"items":[]`) {
			t.Errorf("after %s: %s", lasted, answer)
		}
	})
}

// GUARANTEES G23: heads, targets and bodies have a bound, however they are framed; a body is never unpacked.
func TestSizes(t *testing.T) {
	t.Parallel()
	const json = "Content-Type: application/json"
	x := func(n int) string { return strings.Repeat("x", n) }
	chunked := func(body string) string {
		var b strings.Builder
		for len(body) > 0 {
			n := min(len(body), 4000)
			fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
			body = body[n:]
		}
		return b.String() + "0\r\n\r\n"
	}
	type request struct {
		text   string
		status int
	}
	all := map[string]request{
		"a long header":   {head("GET", "/v1/status", "X: "+x(maxHeaderBytes+5000)) + "\r\n", 431},
		"many headers":    {head("GET", "/v1/status", strings.Repeat("X: y\r\n", maxHeaderBytes/4)) + "\r\n", 431},
		"a long target":   {head("GET", "/v1/status?x="+x(maxHeaderBytes+5000)) + "\r\n", 431},
		"within it":       {head("GET", "/v1/status", "X: "+x(maxHeaderBytes-1000)) + "\r\n", 200},
		"a long method":   {head(x(maxHeaderBytes+5000), "/v1/status") + "\r\n", 431},
		"two lengths":     {head("POST", "/v1/orders", "Content-Length: 2", "Content-Length: 3") + "\r\n{}", 400},
		"gzip":            {head("POST", "/v1/orders", json, "Content-Encoding: gzip", "Content-Length: 3") + "\r\n\x1f\x8b\x08", 400},
		"chunked trailer": {head("POST", "/v1/orders", json, "Transfer-Encoding: chunked") + "\r\n0\r\nX: " + x(maxHeaderBytes+1<<20) + "\r\n\r\n", 400},
	}
	for _, route := range []string{"POST /v1/orders", "PUT /v1/sellers/s", "PATCH /v1/sellers/s", "PATCH /v1/orders/o", "POST /v1/sweeps", "POST /v1/webhook/replay", "POST /v1/held/release", "POST /v1/orders/o/uploads"} {
		method, path, _ := strings.Cut(route, " ")
		all[route+" long"] = request{head(method, path, json, fmt.Sprint("Content-Length: ", maxBody+1)) + "\r\n" + x(maxBody+1), 413}
		all[route+" chunked"] = request{head(method, path, json, "Transfer-Encoding: chunked") + "\r\n" + chunked(x(maxBody+1)), 413}
		all[route+" endless"] = request{head(method, path, json, "Content-Length: 9223372036854775807") + "\r\n" + x(maxBody+1<<20), 413}
		all[route+" just short"] = request{head(method, path, json, fmt.Sprint("Content-Length: ", maxBody)) + "\r\n" + x(maxBody), 400}
	}
	for name, r := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, 8, func(t *testing.T, w *world) {
				c := w.dial()
				status, answer, err := c.ask(r.text)
				if status != r.status {
					t.Errorf("status %d, want %d: %.200s, %v", status, r.status, answer, err)
				}
				_ = c.Close()
			})
		})
	}
}

// feed fills the event feed.
func (w *world) feed(n int) {
	progress := 1.0
	for range n {
		w.store.tell(order.Event{Type: order.EventProgress, OrderID: "o", SellerID: "s", At: start, Progress: &progress, Message: strings.Repeat("m", 100)})
	}
}
