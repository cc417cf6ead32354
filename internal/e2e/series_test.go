package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"poller/internal/fakeseller"
)

// series returns the names and labels of all samples, those of Go and of the process too.
func (d *daemon) series() (all []string) {
	d.t.Helper()
	for line := range strings.Lines(string(d.get("/metrics").body)) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// The set of metric series is the same after many sellers and orders of every
// outcome as before the first: no label says which (SPEC §7; GUARANTEES, G21).
func TestSeriesDoNotGrow(t *testing.T) {
	t.Parallel()
	const sellers, each = 100, 5
	s := newSite(t, 2)
	platform := newReceiver(t)
	s.tells(platform)
	s.set("fetch.timeout", "1s", "fetch.breaker_probes", "[]")
	s.sellers.Handle("*/o-0-*", fakeseller.Failed("an error of its own kind"))
	s.sellers.Handle("*/o-1-*", fakeseller.NotFound())
	s.sellers.Handle("*/o-2-*", fakeseller.Drop())
	s.sellers.Handle("*/o-3-*", fakeseller.Status(http.StatusTeapot))
	s.sellers.Handle("*/o-4-*", fakeseller.Quick("done"))
	s.sellers.Handle("seller-1/*", fakeseller.InvalidJSON())
	s.sellers.Handle("seller-2/*", fakeseller.Redirect(http.StatusFound, "https://127.0.0.1:1/"))
	s.sellers.Handle("seller-3/*", fakeseller.URLResult("http://localhost/"))
	s.sellers.Handle("seller-4/*", fakeseller.Script{{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}}, fakeseller.Quick("done")[0]})
	s.sellers.Handle("seller-5/*", fakeseller.Hang())
	s.sellers.Handle("seller-6/*", fakeseller.Failed("no"))
	d := s.start()
	before := d.series()
	for i := range sellers {
		seller := fmt.Sprint("seller-", i)
		d.register(i%2, seller)
		var orders []string
		for kind := range each {
			orders = append(orders, fmt.Sprintf("o-%d-%d", kind, i))
		}
		d.submitMany(seller, orders...)
	}
	d.sweep()
	d.call(http.MethodPost, "/v1/orders/o-1-7/cancel", nil, http.StatusOK, nil)
	d.waitPending(0)
	d.sweep()
	if after := d.series(); !slices.Equal(before, after) || len(before) < 100 {
		var grown []string
		for _, name := range after {
			if !slices.Contains(before, name) {
				grown = append(grown, name)
			}
		}
		t.Errorf("%d series before, %d after; new: %q", len(before), len(after), grown)
	}
}
