package fetcher

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"syscall"
	"time"
)

const (
	maxHeaderBytes = 64 << 10
	// idleTimeout is how long a connection is kept: one seller's orders go
	// together within a sweep; most servers hang up long before the next one.
	idleTimeout = 90 * time.Second
)

// newTransport makes the one transport that all polls share: HTTP/1.1 only, no
// proxy, no transparent decompression (the limit on bodies counts what comes out of it).
func newTransport(o Options, g *guard) *http.Transport {
	dialer := &net.Dialer{Resolver: o.Resolver, ControlContext: func(ctx context.Context, network, address string, c syscall.RawConn) error {
		if h := hopOf(ctx); h != nil {
			h.resolved()
		}
		return g.control(ctx, network, address, c)
	}}
	conf := &tls.Config{
		MinVersion: tls.VersionTLS12,
		RootCAs:    o.RootCAs,
		NextProtos: []string{"http/1.1"},
		Time:       o.Now,
		// A resumed session costs a third of a full handshake, which is what most of a poll's CPU goes into.
		ClientSessionCache: tls.NewLRUClientSessionCache(o.SessionCache),
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Protocols:              protocols,
		DisableCompression:     true,
		MaxIdleConns:           o.MaxIdleConns,
		MaxIdleConnsPerHost:    o.MaxIdleConns,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, &blockedError{"not https"} // for http URLs, which never get here
		},
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dialTLS(ctx, dialer, conf, network, address)
		},
	}
}

// dialTLS dials and shakes hands for as long as the poll that asked for the
// connection lasts. net/http would go on behind its back, for later requests:
// a server that stalls would then hold a socket after the poll (GUARANTEES, G14).
func dialTLS(ctx context.Context, dialer *net.Dialer, conf *tls.Config, network, address string) (net.Conn, error) {
	h := hopOf(ctx)
	if h == nil {
		return nil, &blockedError{"not dialled by a poll"}
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	h.dialing()
	raw, err := dialer.DialContext(h, network, address)
	if err != nil {
		return nil, err
	}
	h.connected()
	c := conf.Clone()
	c.ServerName = host
	conn := tls.Client(raw, c)
	if err := conn.HandshakeContext(h); err != nil {
		raw.Close()
		return nil, &handshakeError{err}
	}
	return conn, nil
}

// handshakeError marks an error as one of the TLS handshake.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "TLS: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// hop is one request of a poll, and its context: what happens on the way is
// noted here, also by a dial that outlives the request it was begun for.
type hop struct {
	context.Context // the poll's
	begun           time.Time
	trace           httptrace.ClientTrace

	giveUp context.CancelFunc // ends the request alone

	mu sync.Mutex
	hopFacts
}

// hopFacts is how far a request came.
type hopFacts struct {
	dialled   bool // a dial was begun
	lookedUp  bool // ... and the name resolved
	connectIn time.Duration
	isConn    bool // TCP is connected
	got       bool // the request has a connection
	reused    bool // ... a kept one
	tries     int  // connections that the request was sent on
	gaveUp    bool // ... more than maxTries
	firstByte bool
}

func newHop(ctx context.Context) *hop {
	h := &hop{begun: time.Now()}
	h.Context, h.giveUp = context.WithCancel(ctx)
	h.trace = httptrace.ClientTrace{GotConn: h.gotConn, GotFirstResponseByte: h.gotFirstByte}
	return h
}

// Value finds the hop itself, by hopKey, in every context derived from it.
func (h *hop) Value(key any) any {
	if key == (hopKey{}) {
		return h
	}
	return h.Context.Value(key)
}

type hopKey struct{}

// maxTries bounds on how many connections one request is sent. net/http sends it again when a kept connection turns out to be
// closed, and would do so on every one that is kept to the host: a seller that hangs up on every request
// would use up its neighbours' connections, and see many requests for one poll.
const maxTries = 2

func hopOf(ctx context.Context) *hop {
	h, _ := ctx.Value(hopKey{}).(*hop)
	return h
}

func (h *hop) note(f func(*hopFacts)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(&h.hopFacts)
}

func (h *hop) dialing() {
	h.note(func(f *hopFacts) { f.dialled, f.lookedUp, f.isConn = true, false, false })
}
func (h *hop) resolved() { h.note(func(f *hopFacts) { f.lookedUp = true }) }
func (h *hop) connected() {
	d := time.Since(h.begun)
	h.note(func(f *hopFacts) { f.isConn, f.connectIn = true, d })
}
func (h *hop) gotConn(i httptrace.GotConnInfo) {
	gaveUp := false
	h.note(func(f *hopFacts) {
		f.tries++
		f.got, f.reused, f.firstByte = true, i.Reused, false
		f.gaveUp = i.Reused && f.tries > maxTries
		gaveUp = f.gaveUp
	})
	if gaveUp {
		h.giveUp()
	}
}
func (h *hop) gotFirstByte() { h.note(func(f *hopFacts) { f.firstByte = true }) }

func (h *hop) facts() hopFacts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hopFacts
}
