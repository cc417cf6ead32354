package fakeseller

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
)

// bench serves a host in bench mode. It reads and writes HTTP/1.1 by itself,
// so that on a machine shared with the program under measurement little of the
// time goes to the server. It understands requests without a body, which is all that a poller sends.
func (s *Server) bench(h *host) {
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		len(s.options.Bench), s.options.Bench)
	for {
		c, err := h.Accept()
		if err != nil {
			return // closed
		}
		s.wg.Go(func() {
			secure := tls.Server(c, s.tls)
			defer func() { _ = secure.Close() }() // the client is gone, or is to be
			s.benchConn(secure, answer)
		})
	}
}

// benchConn answers every request of a connection alike, until it breaks.
func (s *Server) benchConn(c net.Conn, answer []byte) {
	r := bufio.NewReaderSize(c, 16<<10) // longer lines than any poller sends end the connection
	for {
		for { // to the empty line that ends a request
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) <= 2 {
				break
			}
		}
		s.traffic.requests.Add(1)
		if !pause(s.ctx, s.options.BenchDelay) {
			return
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}
