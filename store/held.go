package store

import (
	"context"
	"fmt"
	"time"

	"poller/order"
)

// Release ends up to limit held orders of a seller, or of all with "", with the
// failure last decided. more: there are others left. When nothing of all is held any
// more, there is a new fuse. Errors: order.ErrNotFound, order.ErrDamaged (the seller's record).
func (s *Store) Release(ctx context.Context, sellerID string, limit int, now time.Time) (n int, more bool, err error) {
	err = s.update(ctx, limit, func(t *txn) error {
		n, more = 0, false
		var prefix []byte
		if sellerID != "" {
			x, err := t.s.seller(t.bucket(bSellers), sellerID)
			if err != nil {
				return err
			}
			prefix = sellerKey(x.Number)
		}
		n, more = t.endEach(bHeld, prefix, limit, func(o order.Order) order.Decision { return order.Release(o, now) })
		if sellerID == "" && !more {
			*t.theFuse() = order.Fuse{}
		}
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	return n, more, nil
}

// CancelSeller cancels up to limit orders in processing of a seller, and returns
// them. more: there are others left; when there are none, the seller is no longer
// Cancelling. Errors: order.ErrNotFound, order.ErrDamaged (the seller's record).
func (s *Store) CancelSeller(ctx context.Context, number uint32, limit int, now time.Time) (refs []order.Ref, more bool, err error) {
	err = s.update(ctx, limit, func(t *txn) error {
		refs, more = nil, false
		x, err := t.s.seller(t.bucket(bSellers), t.sellerID(number))
		if err == nil && x.Number != number {
			err = fmt.Errorf("seller %d: %w", number, order.ErrNotFound)
		}
		if err != nil {
			return err
		}
		_, more = t.endEach(bHot, sellerKey(number), limit, func(o order.Order) order.Decision {
			refs = append(refs, o.Ref)
			return order.Cancel(o, now)
		})
		if !more && x.Cancelling {
			old := x
			x.Cancelling = false
			return t.putSeller(&old, &x)
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return refs, more, nil
}

// endEach applies decide to up to limit orders of an index of orders in
// processing. Damaged ones are passed over. more: there are others left.
func (t *txn) endEach(b *bucket, prefix []byte, limit int, decide func(order.Order) order.Decision) (n int, more bool) {
	// Read first: a bucket must not be changed while a cursor runs over it.
	var list []*stored
	r := t.reader()
	c := t.bucket(b).Cursor()
	for k, _ := c.Seek(prefix); k != nil && hasPrefix(k, prefix); k, _ = c.Next() {
		x := new(stored)
		if r.processing(x, parseRef(k)) != nil {
			continue
		}
		if len(list) == limit {
			more = true
			break
		}
		list = append(list, x)
	}
	for _, x := range list {
		if d := decide(x.Order); !d.Dropped && t.check(x, &d) == nil {
			t.apply(x, &d)
			n++
		}
	}
	return n, more
}
