package fetcher

import (
	"context"
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
	transport *http.Transport
	memory    *memory
	ifaces    *interfaces

	// Shared by all requests; net/http only reads them.
	accept, acceptEncoding, cacheControl, userAgent []string
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
		Options: o, guard: g, transport: newTransport(o, g), memory: newMemory(o.MaxMemory),
		ifaces: &interfaces{list: o.Interfaces},
		accept: []string{"application/json"}, acceptEncoding: []string{"gzip"},
		cacheControl: []string{"no-cache"}, userAgent: []string{"poller/" + o.Version},
	}
}

// Reload puts new options in force for the polls that begin from now on; Files
// stays as it was. Kept connections are closed: they may lead where the new
// options don't allow.
func (c *Client) Reload(o Options) {
	old := c.settings.Swap(newSettings(o))
	old.transport.CloseIdleConnections()
}

// Close closes the kept connections. The client may still be used.
func (c *Client) Close() { c.settings.Load().transport.CloseIdleConnections() }

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
