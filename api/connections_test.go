package api

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const asks = "\r\n" // ends a head

// alive reports whether a connection still stands.
func (c *client) alive() bool {
	synctest.Wait()
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	_ = c.SetReadDeadline(time.Time{})
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

// GUARANTEES G23: connections have a bound. Who holds some without a valid
// token, or without a request, keeps nobody out: the one unused for longest makes room.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	status := head("GET", "/v1/status") + asks
	inWorld(t, 4, func(t *testing.T, w *world) {
		used := w.dial()
		if code, _, err := used.ask(status); code != 200 {
			t.Fatal(code, err)
		}
		holds := map[string]*client{}
		for _, text := range []string{
			"nothing at all", // is said by it
			head("POST", "/v1/orders"),
			head("POST", "/v1/orders", "Content-Length: 9", "Authorization: a second one is none") + asks,
		} {
			time.Sleep(time.Second)
			c := w.dial()
			if text != "nothing at all" {
				c.say(text)
			}
			synctest.Wait()
			holds[text] = c
		}
		if code, _, err := used.ask(status); code != 200 {
			t.Fatalf("with as many as there may be: %d, %v", code, err)
		}
		for _, text := range []string{"nothing at all", head("POST", "/v1/orders"), head("POST", "/v1/orders", "Content-Length: 9", "Authorization: a second one is none") + asks} {
			if !holds[text].alive() {
				t.Errorf("too early: %q", text)
			}
			c := w.dial()
			if code, _, err := c.ask(status); code != 200 {
				t.Fatalf("beside those that are held: %d, %v", code, err)
			}
			if holds[text].alive() {
				t.Errorf("the one unused for longest still stands: %q", text)
			}
		}
		if !used.alive() {
			t.Error("one that was used since was closed for them")
		}
		if n := w.logs.FilterMessageSnippet("too many connections").Len(); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}

// What is being answered is not cut off for a new connection; when it is answered there is room again.
func TestConnectionsAtWorkStay(t *testing.T) {
	t.Parallel()
	inWorld(t, 2, func(t *testing.T, w *world) {
		var waiting []*client
		for range 2 {
			c := w.dial()
			c.say(head("GET", "/v1/events?wait=30s") + asks)
			synctest.Wait()
			waiting = append(waiting, c)
		}
		if w.dial().alive() {
			t.Error("one more than there may be")
		}
		for _, c := range waiting {
			if !c.alive() {
				t.Error("a reader who waits was cut off")
			}
		}
		time.Sleep(31 * time.Second)
		for _, c := range waiting { // answered: it reads, and asks no more
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			if _, answer := c.lasts(); !strings.Contains(answer, "200 OK") {
				t.Errorf("answered %q", answer)
			}
			_ = c.SetReadDeadline(time.Time{})
		}
		synctest.Wait()
		if code, _, err := w.dial().ask(head("GET", "/v1/status") + asks); code != 200 {
			t.Errorf("after them: %d, %v", code, err)
		}
	})
}

// However many come and go, the books hold those that are there.
func TestConnectionsAreForgotten(t *testing.T) {
	t.Parallel()
	inWorld(t, 3, func(t *testing.T, w *world) {
		for range 50 {
			c := w.dial()
			if code, _, err := c.ask(head("GET", "/v1/status", "Connection: close") + asks); code != 200 {
				t.Fatal(code, err)
			}
			_ = c.Close()
			time.Sleep(time.Second)
		}
		if n := w.logs.FilterMessageSnippet("too many connections").Len(); n != 0 {
			t.Error("too many, though there was one at a time")
		}
	})
}
