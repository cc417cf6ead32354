package hostile

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"time"
)

// dripEvery is the pace of those who drip.
const dripEvery = 20 * time.Millisecond

// A Conn is one connection as a behaviour has it.
type Conn struct {
	World *World
	At    *Seller
	Plain *net.TCPConn // below TLS
	Head  string       // of the request
	N     int          // requests before it on this connection
	out   io.Writer
	in    io.Reader
	gone  chan struct{} // closed when the client has hung up; nil: nobody looks
}

func (w *World) serve(s *Seller, plain net.Conn) {
	tcp, ok := plain.(*net.TCPConn)
	if !ok {
		return
	}
	c := &Conn{World: w, At: s, Plain: tcp, out: plain, in: plain}
	if s.Before != nil && !s.Before(c) {
		return
	}
	how := &TLS{Config: &tls.Config{Certificates: []tls.Certificate{*s.cert}, MinVersion: tls.VersionTLS12}}
	if s.TLS != nil {
		how = s.TLS(w, s)
	}
	how.Config.DynamicRecordSizingDisabled = true
	secure := tls.Server(plain, how.Config)
	if secure.HandshakeContext(w.ctx) != nil || s.Serve == nil {
		return
	}
	c.out, c.in = secure, secure
	for ; c.readHead(); c.N++ {
		if !s.Keeps {
			c.watch()
			s.Serve(c)
			return
		}
		s.Serve(c)
	}
}

// readHead reads a request's head and records it. It reads byte by byte: what follows is not its own.
func (c *Conn) readHead() bool {
	var head strings.Builder
	b := make([]byte, 1)
	for !strings.HasSuffix(head.String(), "\r\n\r\n") && head.Len() < 64<<10 {
		if _, err := c.in.Read(b); err != nil {
			return false
		}
		head.WriteByte(b[0])
	}
	c.Head = head.String()
	line, _, _ := strings.Cut(c.Head, "\r\n")
	line = strings.TrimSuffix(strings.TrimPrefix(line, "GET "), " HTTP/1.1")
	c.World.mu.Lock()
	c.World.requests = append(c.World.requests, Request{At: c.At, Target: line, Head: c.Head})
	c.World.mu.Unlock()
	return true
}

// watch closes gone when the client hangs up.
func (c *Conn) watch() {
	gone := make(chan struct{})
	c.gone = gone
	c.World.wg.Go(func() {
		_, _ = io.Copy(io.Discard, c.in)
		close(gone)
	})
}

// Say writes text; false: the client is gone.
func (c *Conn) Say(text string) bool {
	_, err := io.WriteString(c.out, text)
	return err == nil
}

// Wait waits for d, or until the client is gone (false).
func (c *Conn) Wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.gone:
		return false
	case <-c.World.ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Tick is the pause between two drips.
func (c *Conn) Tick() bool { return c.Wait(dripEvery) }

// Stall says nothing until the client is gone.
func (c *Conn) Stall() {
	if c.gone == nil {
		c.watch()
	}
	for c.Wait(time.Minute) {
	}
}

// Reset ends the connection with RST.
func (c *Conn) Reset() {
	_ = c.Plain.SetLinger(0)
	_ = c.Plain.Close() // the client is told by it
}

// orderID is the id that was asked for.
func (c *Conn) orderID() string {
	_, rest, _ := strings.Cut(c.Head, "/status/")
	if end := strings.IndexAny(rest, "? "); end >= 0 {
		rest = rest[:end]
	}
	return rest
}
