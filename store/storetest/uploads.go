package storetest

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"poller/order"
)

// slot reports whether a key is an upload slot of an order in processing.
func (e *env) slot(key string) bool {
	e.Helper()
	_, _, err := e.Upload(e.ctx, key)
	if err != nil && !errors.Is(err, order.ErrNotFound) && !errors.Is(err, order.ErrEnded) {
		e.Errorf("upload %s: %v", key, err)
	}
	return err == nil
}

func (e *env) add(id string, keys ...string) {
	e.Helper()
	for _, k := range keys {
		_, err := e.AddUpload(e.ctx, id, k, 10, 1000)
		e.must(err)
	}
}

func (e *env) trash() []string {
	e.Helper()
	keys, err := e.PendingDeletes(e.ctx, 1000)
	e.must(err)
	return keys
}

func (e *env) named(key string) bool {
	e.Helper()
	is, err := e.Named(e.ctx, key)
	e.must(err)
	return is
}

var uploadTests = map[string]func(*env){
	"uploads/a slot is the order's own": func(e *env) {
		e.seller("a")
		o := e.submit("a", "o", "p")
		got, err := e.AddUpload(e.ctx, "o", "orders/o/1", 150<<20, 150<<20)
		if err != nil || got.Ref != o[0].Ref || got.ID != "o" {
			e.Errorf("%+v, %v", got, err)
		}
		e.reopen()
		got, size, err := e.Upload(e.ctx, "orders/o/1")
		if err != nil || size != 150<<20 || got.Ref != o[0].Ref || got.RemoteID != "o" {
			e.Errorf("%+v, %d, %v", got, size, err)
		}
		if !e.named("orders/o/1") || e.named("orders/o/2") {
			e.Error("the sweep of orphans would take it, or spare all")
		}
		// No other order can name it, nor have the key for itself.
		c := e.complete(o[1].Ref, "orders/o/1")
		e.must(e.Record(e.ctx, &order.Batch{Changes: []*order.Change{c}, Now: e.now}))
		if !errors.Is(c.Err, order.ErrConflict) || e.ended("p") {
			e.Errorf("named by another: %v", c.Err)
		}
		for _, id := range []string{"o", "p"} {
			if _, err := e.AddUpload(e.ctx, id, "orders/o/1", 1, 1000); !errors.Is(err, order.ErrConflict) {
				e.Errorf("the same key for %s: %v", id, err)
			}
		}
	},
	"uploads/the result keeps what it names, the rest goes": func(e *env) {
		s := e.seller("a")
		o := e.submit("a", "o", "p")
		e.add("o", "orders/o/1", "orders/o/2", "orders/o/3")
		e.add("p", "orders/p/1")
		e.record(e.complete(o[0].Ref, "orders/o/2", "orders/o/own"))
		e.reopen()
		if got := e.trash(); !slices.Equal(got, []string{"orders/o/1", "orders/o/3"}) {
			e.Errorf("to be deleted: %v", got)
		}
		for key, want := range map[string]bool{"orders/o/1": false, "orders/o/2": true, "orders/o/3": false, "orders/o/own": true, "orders/p/1": true} {
			if e.named(key) != want || e.slot(key) != (key == "orders/p/1") {
				e.Errorf("%s: named %v, want %v", key, !want, want)
			}
		}
		if _, _, err := e.Upload(e.ctx, "orders/o/2"); !errors.Is(err, order.ErrEnded) {
			e.Errorf("a file of a result: %v", err)
		}
		if _, bytes := e.SellerUsage(s.Number); bytes != 200 {
			e.Errorf("%d bytes", bytes)
		}
		if _, err := e.AddUpload(e.ctx, "o", "orders/o/4", 1, 1000); !errors.Is(err, order.ErrEnded) {
			e.Errorf("after the end: %v", err)
		}
		// A key that is to be deleted is not given again, and can't be named.
		if _, err := e.AddUpload(e.ctx, "p", "orders/o/1", 1, 1000); !errors.Is(err, order.ErrConflict) {
			e.Errorf("a key that is to be deleted: %v", err)
		}
		c := e.complete(o[1].Ref, "orders/o/1")
		e.must(e.Record(e.ctx, &order.Batch{Changes: []*order.Change{c}, Now: e.now}))
		if !errors.Is(c.Err, order.ErrConflict) || e.ended("p") {
			e.Errorf("a file that is to be deleted was named: %v", c.Err)
		}
	},
	"uploads/go with any other end": func(e *env) {
		a := e.seller("a")
		ends := map[string]func(order.Order){
			"failed": func(o order.Order) {
				e.record(e.poll(o.Ref, 1, order.Observation{Outcome: order.SellerFailed}))
			},
			"cancelled": func(o order.Order) {
				_, err := e.UpdateOrder(e.ctx, o.ID, func(o order.Order) (order.Decision, error) { return order.Cancel(o, e.now), nil })
				e.must(err)
			},
			"seller": func(order.Order) {
				_, _, err := e.CancelSeller(e.ctx, a.Number, 10, e.now)
				e.must(err)
			},
		}
		for _, name := range []string{"failed", "cancelled", "seller"} {
			o := e.submit("a", name)[0]
			key := "orders/" + name + "/1"
			e.add(name, key)
			ends[name](o)
			if !e.ended(name) || e.slot(key) || e.named(key) || !slices.Contains(e.trash(), key) {
				e.Errorf("%s: its upload stays", name)
			}
		}
	},
	"uploads/refused": func(e *env) {
		e.seller("a")
		o := e.submit("a", "o", "gone", "many")
		e.record(e.complete(o[1].Ref))
		e.must(e.Erase(e.ctx, "gone"))
		for name, c := range map[string]struct {
			id, key     string
			size, limit int64
			want        error
		}{
			"unknown order":  {"nope", "k", 1, 10, order.ErrNotFound},
			"erased":         {"gone", "k", 1, 10, order.ErrErased},
			"no key":         {"o", "", 1, 10, order.ErrConflict},
			"key too long":   {"o", strings.Repeat("k", 2049), 1, 10, order.ErrConflict},
			"negative":       {"o", "k", -1, 10, order.ErrConflict},
			"too large":      {"o", "k", 11, 10, order.ErrConflict},
			"much too large": {"o", "k", math.MaxInt64, 10, order.ErrConflict},
		} {
			if _, err := e.AddUpload(e.ctx, c.id, c.key, c.size, c.limit); !errors.Is(err, c.want) {
				e.Errorf("%s: %v", name, err)
			}
		}
		for _, key := range []string{"", "k", strings.Repeat("k", 70_000)} {
			if _, _, err := e.Upload(e.ctx, key); !errors.Is(err, order.ErrNotFound) {
				e.Errorf("upload %q: %v", key[:min(len(key), 3)], err)
			}
		}
		// Together with those before.
		e.add("o", "orders/o/1")
		if _, err := e.AddUpload(e.ctx, "o", "orders/o/2", 91, 100); !errors.Is(err, order.ErrConflict) {
			e.Errorf("101 of 100 bytes: %v", err)
		}
		if _, err := e.AddUpload(e.ctx, "o", "orders/o/2", 90, 100); err != nil {
			e.Errorf("100 of 100 bytes: %v", err)
		}
		var wg sync.WaitGroup
		var made, refused atomic.Int32
		for i := range 210 {
			wg.Go(func() {
				_, err := e.AddUpload(e.ctx, "many", fmt.Sprint("orders/many/", i), 1, 1000)
				if errors.Is(err, order.ErrConflict) {
					refused.Add(1)
				} else if err == nil {
					made.Add(1)
				}
			})
		}
		wg.Wait()
		if made.Load() != 200 || refused.Load() != 10 {
			e.Errorf("%d slots, %d refused", made.Load(), refused.Load())
		}
		e.record(e.complete(o[2].Ref))
		if got := len(e.trash()); got != 200 {
			e.Errorf("%d files to be deleted", got)
		}
	},
	"uploads/a named one goes with its order": func(e *env) {
		e.seller("a")
		e.now = Now.Add(-3 * retention)
		o := e.submit("a", "o")[0]
		e.add("o", "orders/o/1")
		e.record(e.complete(o.Ref, "orders/o/1"))
		e.delivered(order.Attempt{Number: 2, Taken: true})
		keys, n, err := e.Expire(e.ctx, Now.Add(-retention), 10)
		if n != 1 || err != nil || !slices.Equal(keys, []string{"orders/o/1"}) || !slices.Equal(e.trash(), keys) || e.named("orders/o/1") {
			e.Errorf("%v, %d, %v", keys, n, err)
		}
	},
}
