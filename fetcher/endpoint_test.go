package fetcher

import (
	"runtime"
	"testing"

	"poller/order"
)

func TestSellerIsJudgedOnce(t *testing.T) {
	builds := 0
	var known endpoints
	build := func(*order.Seller) *endpoint { builds++; return &endpoint{} }
	a, b := &order.Seller{ID: "s"}, &order.Seller{ID: "s"}
	of := known.of(a, build)
	if known.of(a, build) != of || builds != 1 {
		t.Errorf("made %d times", builds)
	}
	if known.of(b, build) == of || builds != 2 {
		t.Error("a seller that was replaced is not made anew")
	}
	known.clear()
	if known.of(a, build) == of || builds != 3 {
		t.Error("not cleared")
	}
	runtime.KeepAlive(b)
}

// A seller that is replaced or deleted takes its headers, which are credentials, out of memory with it.
func TestEndpointGoesWithItsSeller(t *testing.T) {
	s := newSeller(t, says(`{"status":"processing"}`))
	for range 10 {
		s.fetch(t, s.ask())
	}
	kept := s.ask()
	s.fetch(t, kept)
	count := func() (n int) {
		s.c.settings.Load().endpoints.m.Range(func(any, any) bool { n++; return true })
		return n
	}
	for i := 0; count() > 1 && i < 1000; i++ {
		runtime.GC() // cleanups run soon after
		runtime.Gosched()
	}
	runtime.KeepAlive(kept.Seller)
	if n := count(); n != 1 {
		t.Errorf("%d endpoints, want that of the seller in use", n)
	}
}

func TestSharedHeadersStayAsTheyAre(t *testing.T) {
	s := newSeller(t, answers(302, "", "Location: /elsewhere"), func(o *Options) { o.Redirects = 1 })
	ask := s.ask()
	set := s.c.settings.Load()
	for range 2 {
		s.fetch(t, ask)
	}
	if h := set.endpoints.of(ask.Seller, nil).headers; len(h) != 5 || h.Get("Authorization") != sentinel {
		t.Error("net/http wrote to a seller's headers")
	}
	if len(set.ownHeaders) != 4 || set.ownHeaders.Get("Authorization") != "" {
		t.Error("a seller's headers are among our own")
	}
}
