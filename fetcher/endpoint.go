package fetcher

import (
	"net/http"
	"runtime"
	"sync"
	"weak"

	"poller/order"
)

// endpoint is what all polls of one seller have in common.
type endpoint struct {
	template template
	headers  http.Header // for the seller's own origin; shared, net/http only reads it
	problem  error       // why the seller may not be asked
}

// endpoints remembers what was made of each seller under the same settings: a
// seller is never changed, only replaced, so judging it again would find the
// same. An entry goes when its seller is garbage.
type endpoints struct {
	m sync.Map // of *endpoint by weak.Pointer[order.Seller]
}

// of is the seller's endpoint; build makes it at the first poll.
func (e *endpoints) of(s *order.Seller, build func(*order.Seller) *endpoint) *endpoint {
	key := weak.Make(s)
	if v, ok := e.m.Load(key); ok {
		return v.(*endpoint)
	}
	v, known := e.m.LoadOrStore(key, build(s))
	if !known {
		runtime.AddCleanup(s, e.forget, key)
	}
	return v.(*endpoint)
}

func (e *endpoints) forget(key weak.Pointer[order.Seller]) { e.m.Delete(key) }

// clear forgets all: the headers hold credentials.
func (e *endpoints) clear() { e.m.Clear() }

// newEndpoint checks a seller and prepares what is sent to it.
func (s *settings) newEndpoint(seller *order.Seller) *endpoint {
	t, errs := s.guard.parseTemplate(seller.StatusURL)
	if errs == nil {
		errs = checkHeaders(seller)
	}
	if errs != nil {
		return &endpoint{problem: errs[0]}
	}
	return &endpoint{template: t, headers: s.withSeller(seller.Headers)}
}
