package hostile

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options say where a World stands.
type Options struct {
	// Listen opens the n-th listener.
	Listen  func(ctx context.Context, n int) (net.Listener, error)
	DNS     string         // address of the name server, host:port
	Inner   netip.AddrPort // an address that must not be dialled, though it can be reached
	Timeout time.Duration  // fetch.timeout of the client
}

// A World is one seller per behaviour, the name server that knows them, and a
// record of every request.
type World struct {
	Options
	Sellers []*Seller
	Other   *Seller // well behaved: where redirects to another host lead
	CA      *CA

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	names  *nameServer
	closed []func()

	mu       sync.Mutex
	conns    map[net.Conn]bool
	requests []Request
}

// A Seller is a behaviour at its own name and address.
type Seller struct {
	Behaviour
	Host string // its name
	Addr netip.AddrPort
	cert *tls.Certificate
	ln   net.Listener
}

// StatusURL is its template; {order_id} stands in a segment and in the query.
func (s *Seller) StatusURL() string {
	return "https://" + s.authority() + "/status/{order_id}?o={order_id}"
}

// Secret is the value of its Authorization header.
func (s *Seller) Secret() string { return "Bearer sentinel-of-" + s.Name }

func (s *Seller) authority() string {
	if s.Addr.Port() == 443 {
		return s.Host
	}
	return s.Host + ":" + itoa(int(s.Addr.Port()))
}

// A Request is one that arrived.
type Request struct {
	At     *Seller
	Target string // as it was sent
	Head   string // all of it
}

// Start brings the world up. Close ends it.
func Start(ctx context.Context, o Options, behaviours []Behaviour) (*World, error) {
	w := &World{Options: o, conns: map[net.Conn]bool{}}
	w.ctx, w.cancel = context.WithCancel(ctx)
	var err error
	if w.CA, err = newCA(); err != nil {
		return nil, err
	}
	other := Behaviour{Name: "other", Keeps: true, Serve: says(processing)}
	for n, b := range append([]Behaviour{other}, behaviours...) {
		s, err := w.open(n, b)
		if err != nil {
			w.Close()
			return nil, fmt.Errorf("%s: %w", b.Name, err)
		}
		if n == 0 {
			w.Other = s
		} else {
			w.Sellers = append(w.Sellers, s)
		}
	}
	w.Sellers = slices.Clip(w.Sellers) // whoever appends gets a copy
	if w.names, err = startNames(w); err != nil {
		w.Close()
		return nil, err
	}
	for _, s := range append(w.Sellers, w.Other) {
		if s.NoListener {
			_ = s.ln.Close() // its address stays known
			continue
		}
		w.wg.Go(func() { w.accept(s) })
	}
	return w, nil
}

func (w *World) open(n int, b Behaviour) (*Seller, error) {
	ln, err := w.Listen(w.ctx, n)
	if err != nil {
		return nil, err
	}
	w.closed = append(w.closed, func() { _ = ln.Close() })
	addr, err := netip.ParseAddrPort(ln.Addr().String())
	if err != nil {
		return nil, err
	}
	s := &Seller{Behaviour: b, Host: b.Name + ".sellers.test", Addr: addr, ln: ln}
	s.cert, err = w.CA.issue(leaf{name: s.Host, addr: addr.Addr().AsSlice()})
	return s, err
}

// Close ends all connections and waits for everybody.
func (w *World) Close() {
	w.cancel()
	for _, f := range w.closed {
		f()
	}
	w.mu.Lock()
	for c := range w.conns {
		_ = c.Close()
	}
	w.mu.Unlock()
	if w.names != nil {
		w.names.close()
	}
	w.wg.Wait()
}

func (w *World) accept(s *Seller) {
	for {
		plain, err := s.ln.Accept()
		if err != nil {
			return
		}
		w.mu.Lock()
		w.conns[plain] = true
		w.mu.Unlock()
		w.wg.Go(func() {
			defer func() {
				_ = plain.Close()
				w.mu.Lock()
				delete(w.conns, plain)
				w.mu.Unlock()
			}()
			w.serve(s, plain)
		})
	}
}

// DNSAddr is where the name server listens.
func (w *World) DNSAddr() string { return w.names.addr }

// Requests returns what has arrived so far, and forgets it.
func (w *World) Requests() []Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.requests
	w.requests = nil
	return all
}

// Leaked says which seller's secret a request carries that did not arrive at it, or "".
func (r Request) Leaked() string {
	_, rest, found := strings.Cut(r.Head, "sentinel-of-")
	if !found {
		return ""
	}
	name, _, _ := strings.Cut(rest, "\r\n")
	if name == r.At.Name {
		return ""
	}
	return name
}

func itoa(n int) string { return strconv.Itoa(n) }
