package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener for clients in the same process, whose connections hold
// no byte: what one side does not read the other can't write. In a synctest
// bubble all timeouts pass at once, and to the moment.
type pipes struct {
	conns chan net.Conn
	over  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.over:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.over) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "pipe"} }

// world is a rig behind pipes, in a bubble.
type world struct {
	*rig
	pipes   *pipes
	clients []*client
	talking sync.WaitGroup // clients that still send
}

// inWorld runs f in a bubble with an API of at most so many connections.
func inWorld(t *testing.T, connections int, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{rig: newBareRig(t), pipes: &pipes{conns: make(chan net.Conn), over: make(chan struct{})}}
		s := NewServer(w.api, connections, w.api.log)
		var served sync.WaitGroup
		served.Go(func() { _ = s.Serve(w.pipes) }) // that it was closed
		defer time.Sleep(time.Minute)              // for what net/http still has to close; it takes no time here
		defer served.Wait()
		defer s.Close()
		defer w.api.Stop()
		f(t, w)
		for _, c := range w.clients {
			_ = c.Close()
		}
		w.talking.Wait()
	})
}

// client is the other side of a connection.
type client struct {
	net.Conn
	world *world
	begun time.Time
}

func (w *world) dial() *client {
	ours, theirs := net.Pipe()
	w.pipes.conns <- theirs
	c := &client{ours, w, time.Now()}
	w.clients = append(w.clients, c)
	return c
}

// say writes what it can; in the background, since nobody may read it.
func (c *client) say(text string) {
	c.world.talking.Go(func() { _, _ = io.WriteString(c, text) }) // until the connection is closed
}

// drip writes text again and again, one byte in each pause.
func (c *client) drip(head, text string, pause time.Duration) {
	c.world.talking.Go(func() {
		_, err := io.WriteString(c, head)
		for err == nil {
			for i := 0; i < len(text) && err == nil; i++ {
				time.Sleep(pause)
				_, err = io.WriteString(c, text[i:i+1])
			}
		}
	})
}

// lasts reads until the connection is closed, and returns how long it was open and what came.
func (c *client) lasts() (time.Duration, string) {
	b, _ := io.ReadAll(c) // however it ends
	return time.Since(c.begun), string(b)
}

// closed waits, without reading, until the other side has closed the connection, and returns how long it was open.
func (c *client) closed() time.Duration {
	for {
		_ = c.SetWriteDeadline(time.Now())
		if _, err := c.Write([]byte("\r")); err != nil && strings.Contains(err.Error(), "closed pipe") {
			return time.Since(c.begun)
		}
		time.Sleep(time.Second)
	}
}

// ask sends a request and reads its answer.
func (c *client) ask(text string) (int, string, error) {
	c.say(text)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// head is the head of a request with the token, without its last line.
func head(method, path string, lines ...string) string {
	h := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n", method, path, token)
	for _, l := range lines {
		h += l + "\r\n"
	}
	return h
}
