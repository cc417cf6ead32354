package store

import (
	"context"
	"errors"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// Record commits a batch: all of it, or nothing. Each change is decided inside
// the transaction, about the order as it is then, in order of refs (two changes of one
// order in the order given), and says in WasHeld, Decision and Err what became
// of it: Err is order.ErrNotFound for an order that does not exist, order.ErrDamaged, or
// order.ErrConflict if the result names another order's file and Rejected is nil.
// An order that has ended is given to Decide like any other; a decision that
// would change it is dropped. The functions of the batch may be called again, if a
// neighbour in the transaction spoils it; what the last call said counts.
func (s *Store) Record(ctx context.Context, b *order.Batch) error {
	changes := slices.Clone(b.Changes)
	slices.SortStableFunc(changes, func(x, y *order.Change) int { return x.Ref.Compare(y.Ref) })
	return s.update(ctx, len(changes), func(t *txn) error {
		w := batchWriter{t: t, r: t.reader(), b: b, limit: order.FuseLimit(b.FuseShare, t.s.mem.active+t.active)}
		for _, c := range changes {
			w.change(c)
		}
		for _, n := range slices.Sorted(maps.Keys(b.Health)) {
			h := b.Health[n]
			t.put(bHealth, sellerKey(n), encodeHealth(t.encoder(), &h))
		}
		if b.Books != nil {
			books := b.Books()
			t.put(bSweeps, numberKey(books.ID), encodeSweep(&books))
		}
		return nil
	})
}

type batchWriter struct {
	t     *txn
	r     *reader
	b     *order.Batch
	x     stored // the order at hand
	limit int    // of sellers that may lose orders; 0: none
}

// change decides and writes one change.
func (w *batchWriter) change(c *order.Change) {
	c.WasHeld, c.Decision, c.Err = false, order.Decision{}, nil
	x := &w.x
	if c.Err = w.r.orderInto(x, c.Ref); c.Err != nil {
		return
	}
	c.WasHeld = x.Held != nil
	d := &c.Decision
	*d = w.decide(c, x)
	if !d.Dropped && d.GiveUp && !w.t.theFuse().Admit(c.Ref.Seller, w.limit, w.b.Now) {
		*d = d.Hold()
	}
	if d.Dropped {
		return
	}
	if err := w.t.check(x, d); err != nil {
		if !errors.Is(err, order.ErrEnded) {
			c.Err = err
		}
		*d = order.Decision{Dropped: true, Order: x.Order}
		return
	}
	w.t.apply(x, d)
}

// decide asks the change what follows, and asks again if the result names a file that is another order's.
func (w *batchWriter) decide(c *order.Change, x *stored) order.Decision {
	if c.Rejected == nil {
		return c.Decide(x.Order)
	}
	taken := func(key string) bool { return w.t.belongsToAnother(key, c.Ref) }
	if i := slices.IndexFunc(c.Uploaded, taken); i >= 0 {
		return c.Rejected(x.Order, c.Uploaded[i])
	}
	d := c.Decide(x.Order)
	if keys := d.Order.Result.Keys(); !d.Dropped && d.Order.State == order.StateCompleted {
		if i := slices.IndexFunc(keys, taken); i >= 0 {
			return c.Rejected(x.Order, keys[i])
		}
	}
	return d
}

// Named reports whether an order owns this file of the result store: as part of its result, or, while it is in processing, as an upload slot.
func (s *Store) Named(ctx context.Context, key string) (named bool, err error) {
	if key == "" {
		return false, nil
	}
	err = s.view(ctx, func(tx *bolt.Tx) error {
		named = tx.Bucket(bObjects.name).Get([]byte(key)) != nil
		return nil
	})
	return named, err
}
