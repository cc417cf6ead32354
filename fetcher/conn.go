package fetcher

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// maxHeadBytes bounds the head of an answer, those of 1xx answers before it included.
const maxHeadBytes = 64 << 10

// errHeadTooLong: the head of an answer is over maxHeadBytes.
var errHeadTooLong = errors.New("head of the answer too long")

// errStatus: a status code that is none; below 100 it is not one that announces another answer.
var errStatus = errors.New("status code below 100")

// conn is one connection to a host, with one request at a time: the poll that
// has it writes and reads in its own goroutine. The messages themselves are
// net/http's (Request.Write, ReadResponse). Its Transport would need two goroutines for each connection and
// six hand-overs for each request, which cost as much as all the rest of a poll.
type conn struct {
	*tls.Conn
	host  string // name:port that was dialled
	raw   syscall.RawConn
	limit *deadline // of the poll that has it
	// left is how many bytes the head of the answer may still have; negative: no head is being read.
	left   int
	broken error // of the connection, while a head was being read; nil: none
	brief  bool  // its time may not be extended
	kept   bool  // it has answered before
	lines  *bufio.Reader
	idleAt time.Time
}

var (
	lineReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}
	lineWriters = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 4<<10) }}
)

// Read implements io.Reader under the limits of the poll.
func (c *conn) Read(p []byte) (int, error) {
	if c.left >= 0 {
		if c.left == 0 {
			return 0, errHeadTooLong
		}
		p = p[:min(len(p), c.left)]
	}
	for {
		n, err := c.Conn.Read(p)
		if c.left >= 0 {
			c.left -= n
			c.broken = err
		}
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || c.brief || !c.limit.late() {
			return n, err
		}
	}
}

// ask sends a request and reads the head of its answer. The body is to be read from the response, whose Close does nothing.
func (c *conn) ask(req *http.Request, h *hop) (*http.Response, error) {
	c.left, c.brief, c.broken = maxHeadBytes, false, nil
	c.lines = lineReaders.Get().(*bufio.Reader)
	c.lines.Reset(c)
	w := lineWriters.Get().(*bufio.Writer)
	w.Reset(c.Conn)
	err := req.Write(w)
	if err == nil {
		err = w.Flush()
	}
	w.Reset(nil)
	lineWriters.Put(w)
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		c.limit.late()
		return nil, err
	}
	// After an error too: a server may refuse a request before it has read all of it.
	if _, e := c.lines.Peek(1); e != nil {
		return nil, errors.Join(err, e)
	}
	h.firstByte = true
	for {
		resp, err := http.ReadResponse(c.lines, req)
		if err != nil {
			if errors.Is(c.broken, io.EOF) {
				// A head cut in the middle of a line reads like a malformed one.
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if resp.StatusCode < 100 {
			return nil, errStatus
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			c.left = -1
			return resp, nil
		}
	}
}

// hush ends the time for the answer's body in d at the latest.
func (c *conn) hush(d time.Duration) {
	c.brief = true
	c.limit.shorten(d)
}

// reusable reports whether nothing came after the answer, which was read to its end.
func (c *conn) reusable() bool {
	if c.lines.Buffered() > 0 || c.SetDeadline(longAgo) != nil {
		return false
	}
	// So late a read takes what TLS has at hand, and nothing from the network.
	var b [1]byte
	_, err := c.Conn.Read(b[:])
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// alive reports whether a kept connection still stands: neither an end nor anything else has come over it.
func (c *conn) alive() bool {
	var n int
	var err error
	var b [1]byte
	failed := c.raw.Read(func(fd uintptr) bool {
		n, err = syscall.Read(int(fd), b[:])
		return true
	})
	return failed == nil && n <= 0 && (errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR))
}

// free gives back what only a request needs.
func (c *conn) free() {
	if c.lines != nil {
		c.lines.Reset(nil)
		lineReaders.Put(c.lines)
		c.lines = nil
	}
	c.limit = nil
}

// close ends the connection without a word: a server that reads nothing would keep a goodbye waiting.
func (c *conn) close() {
	c.free()
	_ = c.NetConn().Close() // what was to be read has been read
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// dial makes a connection to the host for a poll: name, TCP and TLS within its limits.
func (p *poll) dial(host string) (*conn, error) {
	h := &p.hop
	h.dialled = true
	ctx, cancel := context.WithDeadline(p.parent, p.limit.end())
	defer cancel()
	dialer := net.Dialer{Resolver: p.set.Resolver, ControlContext: func(ctx context.Context, network, address string, c syscall.RawConn) error {
		h.lookedUp.Store(true)
		return p.set.guard.control(ctx, network, address, c)
	}}
	conf := p.set.tls
	if p.hops > 0 {
		conf = p.set.tlsAway
	}
	c, err := shake(ctx, &dialer, conf, host, func() { h.isConn, h.connectIn = true, time.Since(h.begun) })
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			p.limit.late()
		}
		return nil, err
	}
	return c, nil
}

// shake dials the host and shakes hands with it; connected is called in between.
func shake(ctx context.Context, dialer *net.Dialer, conf *tls.Config, host string, connected func()) (_ *conn, err error) {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		return nil, err
	}
	plain, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = plain.Close() // the first error is the one that counts
		}
	}()
	connected()
	tcp, ok := plain.(*net.TCPConn)
	if !ok {
		return nil, errors.New("not TCP")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	conf = conf.Clone()
	conf.ServerName = name
	secure := tls.Client(plain, conf)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, &handshakeError{err}
	}
	return &conn{Conn: secure, host: host, raw: raw}, nil
}

// handshakeError marks an error as one of the TLS handshake.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "TLS: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }
