package fakeseller

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Poll is one request for the status of an order.
type Poll struct {
	Seller, Order string
	N             int       // its number among the polls of the order, from 1
	At            time.Time // when it came
	Header        http.Header
}

// Stats is what a server saw of an order, or of a seller and all its orders.
type Stats struct {
	Polls       int         // begun
	Answered    int         // ended, in whatever way
	MaxInFlight int         // the most at any one time
	Times       []time.Time // when each poll came
	Header      http.Header // of the latest poll
}

// InFlight returns how many polls are being answered.
func (s *Stats) InFlight() int { return s.Polls - s.Answered }

func (s *Stats) begin(p Poll) {
	s.Polls++
	s.MaxInFlight = max(s.MaxInFlight, s.InFlight())
	s.Times = append(s.Times, p.At)
	s.Header = p.Header
}

// clone returns a copy that the server no longer writes to.
func (s *Stats) clone() Stats {
	c := *s
	c.Times = slices.Clone(s.Times)
	return c
}

// Traffic is what a server saw below the polls, over all its hosts.
type Traffic struct {
	Connections int64 `json:"connections"` // taken, those that were refused or never answered included
	Handshakes  int64 `json:"handshakes"`  // TLS handshakes that succeeded, resumptions included
	Resumptions int64 `json:"resumptions"` // handshakes that resumed a session
	Requests    int64 `json:"requests"`    // HTTP requests
}

type seller struct {
	Stats
	orders map[string]*orderRecord
}

type orderRecord struct {
	Stats
	rule *rule
	next int // step of the rule's script
}

// begin records a poll and returns the step that answers it; done must be called when it was answered.
func (s *Server) begin(sellerID, orderID string, r *http.Request) (step *Step, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.sellers[sellerID]
	if from == nil {
		from = &seller{orders: make(map[string]*orderRecord)}
		s.sellers[sellerID] = from
	}
	of := from.orders[orderID]
	if of == nil {
		of = &orderRecord{}
		from.orders[orderID] = of
	}
	if found := s.rules.find(sellerID, orderID); of.rule != found {
		of.rule, of.next = found, 0
	}
	// The header is the request's own: nobody changes it any more.
	poll := Poll{Seller: sellerID, Order: orderID, N: of.Polls + 1, At: s.now(), Header: r.Header}
	from.begin(poll)
	of.begin(poll)
	s.tell()
	return s.step(of, poll), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		from.Answered++
		of.Answered++
		s.tell()
	}
}

// step chooses the answer to a poll. s.mu is held.
func (s *Server) step(of *orderRecord, p Poll) *Step {
	if name, value := s.Credentials(p.Seller); !s.options.Open && p.Header.Get(name) != value {
		return &Step{Status: http.StatusUnauthorized, JSON: object{"error": "who are you?"}}
	}
	step := of.rule.script[of.next]
	if step.Gate != nil {
		if other := step.Gate(p); other != nil {
			return other
		}
	}
	of.next = min(of.next+1, len(of.rule.script)-1)
	return &step
}

// Stats returns what was seen of "seller" or "seller/order".
func (s *Server) Stats(name string) Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats(name).clone()
}

// stats returns the live record, or an empty one. s.mu is held.
func (s *Server) stats(name string) *Stats {
	sellerID, orderID, one := strings.Cut(name, "/")
	from := s.sellers[sellerID]
	switch {
	case from == nil:
		return &Stats{}
	case !one:
		return &from.Stats
	case from.orders[orderID] == nil:
		return &Stats{}
	}
	return &from.orders[orderID].Stats
}

// Orders returns how many polls each order of a seller has had.
func (s *Server) Orders(seller string) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	polls := make(map[string]int)
	if from := s.sellers[seller]; from != nil {
		for id, of := range from.orders {
			polls[id] = of.Polls
		}
	}
	return polls
}

// Traffic returns what was seen below the polls since the start or the last Reset.
func (s *Server) Traffic() Traffic {
	return Traffic{
		Connections: s.traffic.connections.Load(),
		Handshakes:  s.traffic.handshakes.Load(),
		Resumptions: s.traffic.resumptions.Load(),
		Requests:    s.traffic.requests.Load(),
	}
}

// Reset forgets all that was seen, and with it how far each order's script had
// got; the scripts stay. Polls being answered are not counted afterwards.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sellers = make(map[string]*seller)
	s.traffic.connections.Store(0)
	s.traffic.handshakes.Store(0)
	s.traffic.resumptions.Store(0)
	s.traffic.requests.Store(0)
}

// waiter is a call of Wait.
type waiter struct {
	name string
	want func(*Stats) bool
	done chan struct{}
}

// tell wakes those that have waited for what is now true. s.mu is held.
func (s *Server) tell() {
	s.waiters = slices.DeleteFunc(s.waiters, func(w *waiter) bool {
		if !w.want(s.stats(w.name)) {
			return false
		}
		close(w.done)
		return true
	})
}

// Wait returns when what was seen of "seller" or "seller/order" is as wanted,
// or with an error when ctx has ended. want must be quick; it may not keep the Stats, nor call the server.
func (s *Server) Wait(ctx context.Context, name string, want func(*Stats) bool) error {
	w := &waiter{name: name, want: want, done: make(chan struct{})}
	s.mu.Lock()
	s.waiters = append(s.waiters, w)
	s.tell()
	s.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiters = slices.DeleteFunc(s.waiters, func(other *waiter) bool { return other == w })
	return context.Cause(ctx)
}

// WaitPolls returns when "seller" or "seller/order" has been polled n times,
// answered or not, or with an error when ctx has ended.
func (s *Server) WaitPolls(ctx context.Context, name string, n int) error {
	return s.Wait(ctx, name, func(seen *Stats) bool { return seen.Polls >= n })
}
