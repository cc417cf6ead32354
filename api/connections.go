package api

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

// connections bounds how many connections a server has. One more than that
// costs the one that has been of no use for longest: whoever opens many and
// holds them locks nobody out. Only where all are at work the new one is closed.
type connections struct {
	most int
	log  *zap.Logger

	mu     sync.Mutex
	seats  map[net.Conn]*seat
	spare  *list.List // of *seat: those that are not at work, the longest so first
	toldAt time.Time  // when it was last logged that there are too many
}

// seat is the place of one connection.
type seat struct {
	of    *connections
	conn  net.Conn
	spare *list.Element // nil: it is at work, or gone
}

// tellAgain is how often it is logged that there are too many connections.
const tellAgain = time.Minute

// LimitConnections bounds the connections of a server to most. What is at work
// is not closed for another connection: with busy, each on which a request is being answered; else none, and the
// one whose newest request began first goes. It takes the server's ConnState, and its ConnContext.
func LimitConnections(s *http.Server, most int, busy bool, log *zap.Logger) {
	c := &connections{most: most, log: log, seats: make(map[net.Conn]*seat), spare: list.New()}
	s.ConnState = func(conn net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew: // ConnContext comes before
		case http.StateActive:
			if busy {
				c.take(conn).work()
			} else {
				c.take(conn).renew()
			}
		case http.StateIdle:
			c.take(conn).rest()
		case http.StateClosed, http.StateHijacked:
			c.take(conn).leave()
		}
	}
	s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, seatKey{}, c.enter(conn))
	}
}

type seatKey struct{}

// seatOf is the seat of the connection that a request came over; nil: connections are not bounded, or it is closed.
func seatOf(r *http.Request) *seat {
	s, _ := r.Context().Value(seatKey{}).(*seat)
	return s
}

// take finds a connection's seat; nil: it has none any more.
func (c *connections) take(conn net.Conn) *seat {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seats[conn]
}

// enter gives a new connection a seat, or closes it: nil.
func (c *connections) enter(conn net.Conn) *seat {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.seats) >= c.most {
		if time.Since(c.toldAt) > tellAgain {
			c.toldAt = time.Now()
			c.log.Warn("too many connections: those without a request are closed", zap.Int("most", c.most))
		}
		longest := c.spare.Front()
		if longest == nil {
			hangUp(conn)
			return nil
		}
		s := longest.Value.(*seat)
		s.drop()
		hangUp(s.conn)
	}
	s := &seat{of: c, conn: conn}
	s.spare = c.spare.PushBack(s)
	c.seats[conn] = s
	return s
}

// hangUp closes a connection without a word, for which TLS might have to wait.
func hangUp(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	_ = conn.Close() // nothing of it is needed any more
}

// work keeps the connection from being closed for another's sake, until rest.
func (s *seat) work() {
	if s == nil {
		return
	}
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.spare != nil {
		s.of.spare.Remove(s.spare)
		s.spare = nil
	}
}

// renew says that a request has begun.
func (s *seat) renew() {
	if s == nil {
		return
	}
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.spare != nil {
		s.of.spare.MoveToBack(s.spare)
	}
}

// rest says that the request has been answered.
func (s *seat) rest() {
	if s == nil {
		return
	}
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.of.seats[s.conn] == s && s.spare == nil {
		s.spare = s.of.spare.PushBack(s)
	}
}

// leave gives the seat back.
func (s *seat) leave() {
	if s == nil {
		return
	}
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.drop()
}

// drop takes the seat out of the books. The lock is held.
func (s *seat) drop() {
	if s.spare != nil {
		s.of.spare.Remove(s.spare)
		s.spare = nil
	}
	delete(s.of.seats, s.conn)
}
