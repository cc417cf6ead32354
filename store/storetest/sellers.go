package storetest

import (
	"errors"
	"reflect"
	"time"

	"poller/order"
)

var sellerTests = map[string]func(*env){
	"sellers/put, read back, reopened": func(e *env) {
		want := order.Seller{
			ID: "acme", StatusURL: "https://acme.example/{order_id}", Headers: []order.Header{{Name: "X-Key", Value: "s3cret"}, {Name: "Accept", Value: "*/*"}},
			AllowUnauthenticated: true, MaxConcurrency: 3, MaxPerMinute: 60, Note: "näte",
			// Not the caller's to set:
			Number: 99, Paused: true, Cancelling: true, Version: 7, Revision: 7,
		}
		got, created, err := e.PutSeller(e.ctx, want)
		e.must(err)
		want.Number, want.Paused, want.Cancelling, want.Version, want.Revision = 1, false, false, 1, 1
		if !created || !reflect.DeepEqual(got, want) {
			e.Fatalf("created %v:\n%+v\nwant\n%+v", created, got, want)
		}
		e.reopen()
		got, err = e.Seller(e.ctx, "acme")
		e.must(err)
		if !reflect.DeepEqual(got, want) || got.Headers[0].Value != "s3cret" {
			e.Errorf("read back %+v", got)
		}
		if got, err = e.SellerByNumber(e.ctx, 1); err != nil || got.ID != "acme" {
			e.Errorf("by number: %+v, %v", got, err)
		}
		for _, n := range []uint32{0, 2} {
			if _, err := e.SellerByNumber(e.ctx, n); !errors.Is(err, order.ErrNotFound) {
				e.Errorf("number %d: %v", n, err)
			}
		}
		if _, err := e.Seller(e.ctx, "nobody"); !errors.Is(err, order.ErrNotFound) {
			e.Errorf("unknown: %v", err)
		}
	},
	"sellers/replaced: number, paused, cancelling stay": func(e *env) {
		s := e.seller("acme")
		_, err := e.UpdateSeller(e.ctx, "acme", func(s *order.Seller) error {
			s.Paused, s.Cancelling = true, true
			s.ID, s.Number = "other", 77 // can't be changed
			return nil
		})
		e.must(err)
		s.Headers = []order.Header{{Name: "Authorization", Value: "new"}}
		got, created, err := e.PutSeller(e.ctx, s)
		e.must(err)
		if created || got.Number != s.Number || !got.Paused || !got.Cancelling {
			e.Errorf("created %v, %+v", created, got)
		}
	},
	"sellers/version and revision": func(e *env) {
		s := e.seller("acme")
		steps := []struct {
			name              string
			do                func(*order.Seller) error
			version, revision uint64
		}{
			{"paused", func(s *order.Seller) error { s.Paused = true; return nil }, 2, 1},
			{"header value", func(s *order.Seller) error { s.Headers[0].Value = "other"; return nil }, 3, 2},
			{"url", func(s *order.Seller) error { s.StatusURL += "?x=1"; return nil }, 4, 3},
			{"note", func(s *order.Seller) error { s.Note = "n"; return nil }, 5, 3},
		}
		for _, st := range steps {
			got, err := e.UpdateSeller(e.ctx, s.ID, st.do)
			e.must(err)
			if got.Version != st.version || got.Revision != st.revision {
				e.Errorf("%s: version %d, revision %d; want %d, %d", st.name, got.Version, got.Revision, st.version, st.revision)
			}
		}
		refused := errors.New("no")
		if _, err := e.UpdateSeller(e.ctx, s.ID, func(s *order.Seller) error { s.Note = "x"; return refused }); !errors.Is(err, refused) {
			e.Errorf("fn's error: %v", err)
		}
		got, err := e.Seller(e.ctx, s.ID)
		e.must(err)
		if got.Version != 5 || got.Note != "n" {
			e.Errorf("after a refused change: %+v", got)
		}
		if _, err := e.UpdateSeller(e.ctx, "nobody", func(*order.Seller) error { return nil }); !errors.Is(err, order.ErrNotFound) {
			e.Errorf("unknown: %v", err)
		}
		// A replacement with the same endpoint is no new revision.
		put, _, err := e.PutSeller(e.ctx, got)
		e.must(err)
		if put.Version != 6 || put.Revision != 3 {
			e.Errorf("replaced by the same: version %d, revision %d", put.Version, put.Revision)
		}
	},
	"sellers/list in pages": func(e *env) {
		for _, id := range []string{"c", "a", "e", "b", "d"} {
			e.seller(id)
		}
		var ids string
		after := ""
		for pages := 1; ; pages++ {
			list, next, err := e.Sellers(e.ctx, after, 2)
			e.must(err)
			for _, s := range list {
				ids += s.ID
			}
			if after = next; next == "" {
				if pages != 3 {
					e.Errorf("%d pages", pages)
				}
				break
			}
		}
		if ids != "abcde" {
			e.Errorf("got %q", ids)
		}
		for _, bad := range []string{"x", "AAAA", "!!!!", "YWJjZGVmZ2hp"} {
			if _, _, err := e.Sellers(e.ctx, bad, 2); !errors.Is(err, order.ErrCursor) {
				e.Errorf("cursor %q: %v", bad, err)
			}
		}
		// A cursor of one list is none of another.
		_, next, err := e.Sellers(e.ctx, "", 2)
		e.must(err)
		if _, _, err := e.Sweeps(e.ctx, next, 2); !errors.Is(err, order.ErrCursor) {
			e.Errorf("another list's cursor: %v", err)
		}
	},
	"sellers/delete": func(e *env) {
		s := e.seller("acme")
		o := e.submit("acme", "o1")[0]
		if err := e.DeleteSeller(e.ctx, "acme"); !errors.Is(err, order.ErrActive) {
			e.Errorf("with an order in processing: %v", err)
		}
		e.must(e.Record(e.ctx, &order.Batch{Changes: []*order.Change{e.complete(o.Ref)}, Health: map[uint32]order.Health{s.Number: {FailuresInARow: 3}}, Now: e.now}))
		e.must(e.DeleteSeller(e.ctx, "acme"))
		if err := e.DeleteSeller(e.ctx, "acme"); !errors.Is(err, order.ErrNotFound) {
			e.Errorf("again: %v", err)
		}
		if h, err := e.Healths(e.ctx); err != nil || len(h) != 0 {
			e.Errorf("health of a deleted seller: %v, %v", h, err)
		}
		again := e.seller("acme")
		if again.Number == s.Number || again.Version != 1 {
			e.Errorf("made anew: %+v", again)
		}
		if _, err := e.SellerByNumber(e.ctx, s.Number); !errors.Is(err, order.ErrNotFound) {
			e.Errorf("the old number: %v", err)
		}
		if got := e.get("o1"); got.SellerID != "acme" || got.State != order.StateCompleted {
			e.Errorf("its ended order: %+v", got)
		}
		e.reopen()
		if got := e.get("o1"); got.SellerID != "acme" {
			e.Errorf("after reopening, its ended order's seller: %q", got.SellerID)
		}
	},
	"sellers/health": func(e *env) {
		want := map[uint32]order.Health{
			1: {LastOutcome: order.Timeout, LastPolledAt: e.now, LastAnsweredAt: e.now.Add(-time.Hour), LastValidAt: e.now.Add(-2 * time.Hour), FailuresInARow: 3},
			7: {LastOutcome: order.Processing, LastPolledAt: e.now},
		}
		e.must(e.Record(e.ctx, &order.Batch{Health: want, Now: e.now}))
		e.reopen()
		got, err := e.Healths(e.ctx)
		e.must(err)
		if !reflect.DeepEqual(got, want) {
			e.Errorf("got %+v", got)
		}
	},
	"sellers/usage and counts survive": func(e *env) {
		a, b := e.seller("a"), e.seller("b")
		x := e.submit("a", "a1", "a2", "a3")
		y := e.submit("b", "b1")
		e.record(e.complete(x[0].Ref, "orders/a1/k"), e.complete(y[0].Ref, "orders/b1/k1", "orders/b1/k2"))
		for range 2 {
			if n, size := e.SellerUsage(a.Number); n != 2 || size != 100 {
				e.Errorf("a: %d orders, %d bytes", n, size)
			}
			if n, size := e.SellerUsage(b.Number); n != 0 || size != 200 {
				e.Errorf("b: %d orders, %d bytes", n, size)
			}
			want := map[order.State]int64{order.StateProcessing: 2, order.StateCompleted: 2, order.StateFailed: 0, order.StateCancelled: 0}
			if got := e.Counts(); !reflect.DeepEqual(got, want) {
				e.Errorf("counts %v", got)
			}
			if n := e.SellersWithActive(); n != 1 {
				e.Errorf("%d sellers with active orders", n)
			}
			e.reopen()
		}
	},
}
