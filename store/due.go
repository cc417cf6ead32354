package store

import (
	"context"
	"time"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// duePart is how many records one read transaction looks at: a few milliseconds.
const duePart = 16 << 10

// DuePage returns up to limit orders that a sweep with this tick, begun at,
// takes (order.Order.Due), in order of their refs, from the one after. It
// reads in short transactions, so a page is no snapshot; an order that is in processing all the while
// is seen. Orders of paused sellers are not left out, damaged ones are.
func (s *Store) DuePage(ctx context.Context, tick uint64, at time.Time, byHand bool, after order.Ref, limit int) (order.DuePage, error) {
	page := order.DuePage{Next: after, More: true}
	var o order.Order
	part := func(tx *bolt.Tx) error {
		c := tx.Bucket(bHot.name).Cursor()
		k, v := seekAfter(c, refKey(page.Next))
		for range duePart {
			if k == nil {
				page.More = false
				return nil
			}
			if len(page.Items) == limit {
				return nil
			}
			page.Next = parseRef(k)
			if d, ok := s.open(bHot, k, v); ok {
				decodeDue(&d, &o)
				if s.whole(!d.bad, bHot, k) && o.Due(tick, at, byHand) {
					page.Items = append(page.Items, order.Due{Ref: page.Next, Tick: o.Tick, Unanswered: o.LastUnanswered})
				}
			}
			k, v = c.Next()
		}
		return nil
	}
	for page.More && len(page.Items) < limit {
		if err := s.view(ctx, part); err != nil {
			return order.DuePage{}, err
		}
	}
	return page, nil
}

// Targets returns those of the orders that a sweep with this tick, begun at, takes (order.Order.Due), in the order
// asked for. It reads no more of them than it must. Damaged ones are left out.
func (s *Store) Targets(ctx context.Context, tick uint64, at time.Time, byHand bool, refs []order.Ref) ([]order.Target, error) {
	list := make([]order.Target, 0, len(refs))
	err := s.view(ctx, func(tx *bolt.Tx) error {
		hot, cold := follower{c: tx.Bucket(bHot.name).Cursor()}, follower{c: tx.Bucket(bCold.name).Cursor()}
		var key []byte
		var o order.Order
		for _, ref := range refs {
			key = appendRef(key[:0], ref)
			rec := hot.get(key)
			if rec == nil {
				continue // ended
			}
			d, ok := s.open(bHot, key, rec)
			if !ok {
				continue
			}
			decodeDue(&d, &o)
			if !s.whole(!d.bad, bHot, key) || !o.Due(tick, at, byHand) {
				continue
			}
			t := order.Target{Ref: ref}
			if d, ok = s.open(bCold, key, cold.get(key)); ok && s.whole(decodeIDs(&d, &t), bCold, key) {
				list = append(list, t)
			}
		}
		return nil
	})
	return list, err
}
