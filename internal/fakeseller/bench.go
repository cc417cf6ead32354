package fakeseller

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"time"
)

// bench serves a host in bench mode. It reads and writes HTTP/1.1 by itself,
// so that on a machine shared with the program under measurement little of the
// time goes to the server. It understands requests without a body, which is all that a poller sends.
func (s *Server) bench(h *host) {
	for {
		c, err := h.Accept()
		if err != nil {
			return // closed
		}
		s.wg.Go(func() {
			secure := tls.Server(c, s.tls)
			defer func() { _ = secure.Close() }() // the client is gone, or is to be
			s.benchConn(secure)
		})
	}
}

// benchConn answers the requests of a connection until it breaks. It allocates nothing for a request.
func (s *Server) benchConn(c net.Conn) {
	r := bufio.NewReaderSize(c, 4<<10) // a longer line, or a URL that is, ends the connection
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		name, number := asked(line)
		g := s.groups.find(name)
		for len(line) > 2 { // to the empty line that ends the request
			if line, err = r.ReadSlice('\n'); err != nil {
				return
			}
		}
		s.traffic.requests.Add(1)
		record := g.begin(number, time.Now())
		err = s.benchAnswer(c, r, g.behaviour.Load(), number)
		g.end(record, time.Now())
		if err != nil {
			return
		}
	}
}

// benchAnswer answers one request; an error ends the connection.
func (s *Server) benchAnswer(c net.Conn, r io.Reader, b *behaviour, order int) error {
	if b.hang {
		_, _ = io.Copy(io.Discard, r) // until the client has had enough, or Close
		return io.EOF
	}
	if b.delay > 0 && !pause(s.ctx, b.delay) {
		return s.ctx.Err()
	}
	_, err := c.Write(b.answer(order, int(s.groups.round.Load())))
	return err
}

// asked returns what a request is for: the group of its seller (the first
// segment of the path, without its last "-" and what follows) and the digits
// that its order ends in, as a number; -1 without any.
func asked(line []byte) (group []byte, order int) {
	_, path, _ := bytes.Cut(line, []byte(" /"))
	path, _, _ = bytes.Cut(path, []byte(" "))
	seller, _, _ := bytes.Cut(path, []byte("/"))
	if i := bytes.LastIndexByte(seller, '-'); i >= 0 {
		seller = seller[:i]
	}
	order = -1
	for scale := 1; len(path) > 0 && scale < maxOrders; scale *= 10 {
		digit := path[len(path)-1] - '0'
		if digit > 9 {
			break
		}
		order = max(order, 0) + scale*int(digit)
		path = path[:len(path)-1]
	}
	return seller, order
}
