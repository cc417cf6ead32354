package fakeseller

import (
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// TLSFault is what is wrong with a host's TLS.
type TLSFault string

// The faults of BreakTLS.
const (
	TLSSound     TLSFault = ""           // nothing is wrong
	TLSExpired   TLSFault = "expired"    // the certificate has expired, an hour before the server was started
	TLSUntrusted TLSFault = "untrusted"  // the certificate is from a CA that nobody knows
	TLSWrongName TLSFault = "wrong name" // the certificate is for another name
	TLSOld       TLSFault = "old"        // nothing newer than TLS 1.1 is spoken
	TLSNone      TLSFault = "none"       // the answer to the ClientHello is not TLS
)

// mode is what a host does with its connections.
type mode int

const (
	serving mode = iota
	refusing
	silent
)

// host is one listener. It is also the net.Listener that is served: Accept
// hands out only the connections of which the mode allows.
type host struct {
	server   *Server
	listener net.Listener

	mu     sync.Mutex
	mode   mode
	fault  TLSFault
	closed bool
	conns  map[*conn]struct{}
}

// conn is a connection that its host can cut.
type conn struct {
	net.Conn
	host *host
}

func newHost(s *Server, l net.Listener) *host {
	return &host{server: s, listener: l, conns: make(map[*conn]struct{})}
}

// Addr implements net.Listener.
func (h *host) Addr() net.Addr { return h.listener.Addr() }

// Close implements net.Listener.
func (h *host) Close() error { return h.listener.Close() }

// Accept implements net.Listener.
func (h *host) Accept() (net.Conn, error) {
	for {
		raw, err := h.listener.Accept()
		if err != nil {
			return nil, err
		}
		h.server.traffic.connections.Add(1)
		if c := h.admit(raw); c != nil {
			return c, nil
		}
	}
}

// admit returns nil if the connection is not to be served.
func (h *host) admit(raw net.Conn) net.Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.mode == refusing {
		reset(raw)
		return nil
	}
	c := &conn{Conn: raw, host: h}
	h.conns[c] = struct{}{}
	switch {
	case h.mode == silent:
		return nil // held open, unread, until the mode changes
	case h.fault == TLSNone:
		_, _ = raw.Write([]byte("220 mail.example ESMTP\r\n")) // doesn't block: the socket's buffer is empty
		return nil                                             // held open, so that the client can read it
	}
	return c
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.host.mu.Lock()
	delete(c.host.conns, c)
	c.host.mu.Unlock()
	return c.Conn.Close()
}

// reset closes a connection the hard way: the other side reads "connection reset by peer".
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // without it the other side reads EOF, which is as good
	}
	_ = c.Close()
}

// set changes what the host does, and breaks off the connections it has.
func (h *host) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
	for c := range h.conns {
		reset(c.Conn) // whoever serves it reads an error and closes it again
		delete(h.conns, c)
	}
}

// shut ends the host for good.
func (h *host) shut() {
	_ = h.listener.Close()
	h.set(func() { h.closed = true })
}

// Cut breaks off all connections of the hosts and resets every new one before
// TLS, as if nobody were there. Without arguments it is all hosts.
func (s *Server) Cut(hosts ...int) { s.setMode(refusing, hosts) }

// Blackhole breaks off all connections of the hosts; new ones are taken but
// nothing is ever read or answered. Without arguments it is all hosts.
func (s *Server) Blackhole(hosts ...int) { s.setMode(silent, hosts) }

// Restore ends Cut and Blackhole. Without arguments it is all hosts.
func (s *Server) Restore(hosts ...int) { s.setMode(serving, hosts) }

func (s *Server) setMode(m mode, hosts []int) {
	for _, h := range s.pick(hosts) {
		h.set(func() { h.mode = m })
	}
}

// BreakTLS gives the hosts a fault, or takes it away (TLSSound), and breaks
// off their connections. Without hosts it is all of them.
func (s *Server) BreakTLS(fault TLSFault, hosts ...int) {
	for _, h := range s.pick(hosts) {
		h.set(func() { h.fault = fault })
	}
}

func (s *Server) pick(hosts []int) []*host {
	if len(hosts) == 0 {
		return s.hosts
	}
	picked := make([]*host, len(hosts))
	for i, n := range hosts {
		picked[i] = s.hosts[n]
	}
	return picked
}

// makeTLS makes the CA and a configuration for each kind of certificate.
func (s *Server) makeTLS() error {
	now := time.Now() // not s.now: clients judge certificates by the real clock
	ca, err := newAuthority(now)
	if err != nil {
		return err
	}
	stranger, err := newAuthority(now)
	if err != nil {
		return err
	}
	s.ca = ca
	names := append([]string{"localhost"}, s.options.Names...)
	loopback := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	year := now.Add(365 * 24 * time.Hour)
	config := func(a *authority, names []string, addresses []net.IP, until time.Time) *tls.Config {
		certificate, issueErr := a.issue(names, addresses, until)
		if issueErr != nil {
			err = issueErr
			return nil
		}
		return &tls.Config{
			Certificates: []tls.Certificate{*certificate},
			MinVersion:   tls.VersionTLS12,
			NextProtos:   []string{"http/1.1"},
			// Clients don't check a certificate again when they resume.
			SessionTicketsDisabled: true,
		}
	}
	s.tls = config(ca, names, loopback, year)
	s.faulty = map[TLSFault]*tls.Config{
		TLSExpired:   config(ca, names, loopback, now.Add(-time.Hour)),
		TLSUntrusted: config(stranger, names, loopback, year),
		TLSWrongName: config(ca, []string{"wrong.example"}, nil, year),
		TLSOld:       config(ca, names, loopback, year),
	}
	if err != nil {
		return err
	}
	if s.options.Addresses > 0 {
		sellers, err := newIssuer(ca, year)
		if err != nil {
			return err
		}
		s.tls.Certificates, s.tls.GetCertificate = nil, sellers.certificate
	}
	s.faulty[TLSOld].MinVersion, s.faulty[TLSOld].MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	s.tls.SessionTicketsDisabled = false
	s.tls.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c, ok := hello.Conn.(*conn)
		if !ok {
			return nil, nil //nolint:nilnil // as tls.Config says: nil is the configuration itself
		}
		c.host.mu.Lock()
		defer c.host.mu.Unlock()
		return s.faulty[c.host.fault], nil
	}
	s.tls.VerifyConnection = func(state tls.ConnectionState) error {
		s.traffic.handshakes.Add(1)
		if state.DidResume {
			s.traffic.resumptions.Add(1)
		}
		return nil
	}
	return nil
}
