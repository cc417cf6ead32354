package fetcher

import (
	"context"
	"crypto/tls"
	"net/http"
	"sync/atomic"

	"poller/order"
)

// Client asks sellers. It is safe for concurrent use.
type Client struct {
	files    Files
	settings atomic.Pointer[settings]
	long     longBodies
}

// settings is what one poll works with from begin to end: Reload makes new ones.
type settings struct {
	Options
	guard     *guard
	tls       *tls.Config // to sellers' own hosts
	tlsAway   *tls.Config // to hosts that redirects lead to
	pool      *pool
	memory    *memory
	ifaces    *interfaces
	endpoints *endpoints
	// ownHeaders is the head of a request without the seller's headers; shared, net/http only reads it.
	ownHeaders http.Header
}

// New makes a client.
func New(o Options) *Client {
	c := &Client{files: o.Files}
	c.settings.Store(newSettings(o))
	return c
}

func newSettings(o Options) *settings {
	o = o.withDefaults()
	g := &guard{ports: o.AllowPorts, networks: o.AllowNetworks}
	return &settings{
		Options: o, guard: g, tls: newTLS(o, ownSessions), tlsAway: newTLS(o, awaySessions), pool: newPool(o.MaxIdleConns), memory: newMemory(o.MaxMemory),
		ifaces: &interfaces{list: o.Interfaces}, endpoints: new(endpoints), ownHeaders: ownHeaders(o.Version),
	}
}

// Reload puts new options in force for the polls that begin from now on; Files
// stays as it was. Kept connections are closed: they may lead where the new
// options don't allow.
func (c *Client) Reload(o Options) {
	old := c.settings.Swap(newSettings(o))
	old.pool.drain(true)
	old.endpoints.clear()
}

// Close closes the kept connections. The client may still be used.
func (c *Client) Close() { c.settings.Load().pool.drain(false) }

// Fetch polls one order once. Whatever happens is in the observation; it never
// fails otherwise. When ctx ends, so does the poll, as a local_fault. The files
// of a result are in Files then and belong to nobody; with any other outcome
// than completed nothing is left there.
func (c *Client) Fetch(ctx context.Context, ask order.Ask) order.Observation {
	set := c.settings.Load()
	p := &poll{client: c, set: set, ask: ask, parent: ctx}
	p.obs.StartedAt = set.Now()
	return p.run()
}

// How many TLS sessions are remembered at most. Hosts that redirects lead to have a cache of their own, so that
// a seller who invents host names fills no memory and drives out nobody's session.
const (
	ownSessions  = 100_000
	awaySessions = 1024
)

// newTLS is how every connection is made: HTTP/1.1 only.
func newTLS(o Options, sessions int) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		RootCAs:    o.RootCAs,
		NextProtos: []string{"http/1.1"},
		Time:       o.Now,
		// A resumed session costs a third of a full handshake, which is what most of a poll's CPU goes into.
		ClientSessionCache: tls.NewLRUClientSessionCache(sessions),
	}
}
