package fetcher

import (
	"container/list"
	"sync"
	"time"
)

// idleTimeout is how long a connection is kept: one seller's orders go
// together within a sweep; most servers hang up long before the next one.
const idleTimeout = 90 * time.Second

// pool keeps connections between requests, by host.
type pool struct {
	max int // connections

	mu      sync.Mutex
	hosts   map[string][]*list.Element // of *conn, the one used last at the end
	oldest  *list.List                 // of *conn, the one used last at the end
	timer   *time.Timer                // for the oldest one; nil: none is kept
	retired bool
}

func newPool(most int) *pool {
	return &pool{max: most, hosts: make(map[string][]*list.Element), oldest: list.New()}
}

// get takes the connection to the host that was used last; nil: there is none.
func (p *pool) get(host string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.hosts[host]
	if len(kept) == 0 {
		return nil
	}
	return p.remove(kept[len(kept)-1])
}

// put keeps a connection; beyond the bound the one that was longest unused goes.
func (p *pool) put(c *conn) {
	c.free()
	c.kept, c.idleAt = true, time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.retired {
		c.close()
		return
	}
	p.hosts[c.host] = append(p.hosts[c.host], p.oldest.PushBack(c))
	if p.oldest.Len() > p.max {
		p.remove(p.oldest.Front()).close()
	}
	if p.timer == nil {
		p.timer = time.AfterFunc(idleTimeout, p.expire)
	}
}

// remove takes a connection out. The lock is held.
func (p *pool) remove(e *list.Element) *conn {
	c := p.oldest.Remove(e).(*conn)
	kept := p.hosts[c.host]
	for i := len(kept) - 1; i >= 0; i-- {
		if kept[i] == e {
			copy(kept[i:], kept[i+1:])
			kept[len(kept)-1] = nil
			kept = kept[:len(kept)-1]
			break
		}
	}
	if len(kept) == 0 {
		delete(p.hosts, c.host)
	} else {
		p.hosts[c.host] = kept
	}
	return c
}

// expire closes the connections that have not been used for long.
func (p *pool) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for e := p.oldest.Front(); e != nil; e = p.oldest.Front() {
		left := idleTimeout - now.Sub(e.Value.(*conn).idleAt)
		if left > 0 {
			p.timer.Reset(left)
			return
		}
		p.remove(e).close()
	}
	p.timer = nil
}

// drain closes all kept connections; with retire none is kept from now on either.
func (p *pool) drain(retire bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retired = p.retired || retire
	for e := p.oldest.Front(); e != nil; e = p.oldest.Front() {
		p.remove(e).close()
	}
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}
