// Package fakeseller runs sellers that do as a script says: TLS servers on
// loopback with a CA of their own, for tests, the demo and benchmarks.
//
// A Server listens on any number of ports, each of which is a host to its
// clients. Every host answers for every seller:
//
//	https://127.0.0.1:PORT/{seller}/status/{order_id}
//
// or, with Options.Addresses, at one port of any number of loopback addresses.
//
// What is answered is a Script, set with Handle; without one an order is
// processing for ever. The server counts what it sees, and a test waits for
// that with Wait and WaitPolls rather than by sleeping. Cut, Blackhole and
// BreakTLS are what the network does to sellers.
package fakeseller

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options says how many hosts a Server has and how it answers. The zero value is one host.
type Options struct {
	Hosts int      // listeners; 0: one
	Names []string // DNS names in the certificate, beside localhost and the loopback addresses

	// Open lets sellers answer without credentials. Otherwise every poll needs
	// the header that Credentials returns, or is answered 401.
	Open bool

	// Bench makes the server answer every request with this body and status
	// 200, at the least cost and after BenchDelay: no scripts, no credentials,
	// no record of polls but Requests and Groups. Behave changes the answers.
	Bench      []byte
	BenchDelay time.Duration

	// Addresses, if not 0, takes the place of Hosts: the hosts are so many
	// loopback addresses, 127.1.0.0 and those after it, with one port for all,
	// and a certificate for each beside that of an intermediate CA. The port is open on all
	// addresses of the machine, but who does not come from a loopback address is dropped. Linux
	// answers at all of 127.0.0.0/8 by itself. Cut, Blackhole and BreakTLS are for all
	// of them at once, without an argument. The limit is 1,048,576.
	Addresses int

	// Handler, if not nil, answers in place of the scripts; polls are not recorded.
	Handler http.Handler

	Now func() time.Time // nil: time.Now
}

// Server is a number of fake sellers. Its methods may be called at any time from any goroutine.
type Server struct {
	options Options
	now     func() time.Time
	ca      *authority
	tls     *tls.Config
	faulty  map[TLSFault]*tls.Config
	hosts   []*host
	http    *http.Server
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	wg      sync.WaitGroup // all goroutines
	traffic traffic
	groups  *groups // nil unless in bench mode

	mu      sync.Mutex
	rules   ruleset
	sellers map[string]*seller
	waiters []*waiter
}

// traffic counts what happens below the polls.
type traffic struct{ connections, handshakes, resumptions, requests atomic.Int64 }

// Start opens the listeners and serves until Close is called or ctx ends.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{options: o, now: o.Now, sellers: make(map[string]*seller), rules: newRuleset()}
	if o.Bench != nil {
		s.groups = newGroups(o.Bench, o.BenchDelay)
	}
	if err := s.makeTLS(); err != nil {
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	s.ctx, s.stop = context.WithCancel(ctx)
	handler := o.Handler
	if handler == nil {
		handler = http.HandlerFunc(s.serve)
	}
	s.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.wg.Add(1) // the connection may be taken over (hijacked), and is then no longer counted
			defer s.wg.Done()
			s.traffic.requests.Add(1)
			handler.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(discard{}, "", 0), // clients that break off are what tests are about
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ConnState:         s.connState,
	}
	for _, h := range s.hosts {
		s.wg.Go(func() { s.listen(h) })
	}
	s.wg.Go(func() {
		<-s.ctx.Done()
		s.shut()
	})
	return s, nil
}

// open opens the listeners.
func (s *Server) open(ctx context.Context) error {
	if s.options.Addresses > maxAddresses {
		return fmt.Errorf("%d addresses are too many: the limit is %d", s.options.Addresses, maxAddresses)
	}
	if s.options.Addresses > 0 {
		l, err := listenEverywhere(ctx)
		if err != nil {
			return fmt.Errorf("opening the fake sellers' listener: %w", err)
		}
		s.hosts = []*host{newHost(s, l)}
		return nil
	}
	for range max(s.options.Hosts, 1) {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			for _, h := range s.hosts {
				err = errors.Join(err, h.listener.Close())
			}
			return fmt.Errorf("opening a fake seller's listener: %w", err)
		}
		s.hosts = append(s.hosts, newHost(s, l))
	}
	return nil
}

// listen serves one host until it is closed.
func (s *Server) listen(h *host) {
	if s.options.Bench != nil {
		s.bench(h)
		return
	}
	// The error says that the listener was closed, which is how this ends.
	_ = s.http.Serve(tls.NewListener(h, s.tls))
}

// connState keeps Close waiting for the goroutine of every connection.
func (s *Server) connState(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.wg.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.wg.Done()
	case http.StateActive, http.StateIdle:
	}
}

// shut ends everything without waiting.
func (s *Server) shut() {
	_ = s.http.Close() // nothing is left to do about a listener that can't be closed
	for _, h := range s.hosts {
		h.shut()
	}
}

// Close cuts all connections, ends all answers under way and returns when
// every goroutine of the server has ended. Closing again does nothing.
func (s *Server) Close() {
	s.stop()
	s.wg.Wait()
}

// Hosts returns how many hosts the server has.
func (s *Server) Hosts() int { return max(len(s.hosts), s.options.Addresses) }

// Address returns the host:port of a host, counted from 0.
func (s *Server) Address(host int) string {
	if s.options.Addresses > 0 {
		return net.JoinHostPort(loopbackAddress(host).String(), strconv.Itoa(s.Port(host)))
	}
	return s.hosts[host].Addr().String()
}

// Port returns the port of a host, counted from 0.
func (s *Server) Port(host int) int {
	if s.options.Addresses > 0 {
		host = 0
	}
	address, ok := s.hosts[host].Addr().(*net.TCPAddr)
	if !ok {
		return 0
	}
	return address.Port
}

// URL returns the address of a host, counted from 0: https://127.0.0.1:PORT, or https://127.a.b.c:PORT with Options.Addresses.
func (s *Server) URL(host int) string { return "https://" + s.Address(host) }

// StatusURL returns the status URL of a seller at a host, with the literal
// {order_id} in it: what is registered with the poller.
func (s *Server) StatusURL(host int, seller string) string {
	return s.URL(host) + "/" + seller + "/status/{order_id}"
}

// OrderURL returns the status URL of one order.
func (s *Server) OrderURL(host int, seller, order string) string {
	return strings.Replace(s.StatusURL(host, seller), "{order_id}", order, 1)
}

// Credentials returns the request header that a seller asks for.
func (s *Server) Credentials(seller string) (name, value string) {
	return "Authorization", "Bearer key-of-" + seller
}

// Client returns an HTTP client that trusts the server's CA. The caller closes its idle connections.
func (s *Server) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{
			RootCAs: s.CAPool(), MinVersion: tls.VersionTLS12,
			ClientSessionCache: tls.NewLRUClientSessionCache(s.Hosts() + 1),
		},
		MaxIdleConnsPerHost: 64,
	}}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
