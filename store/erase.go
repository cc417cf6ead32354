package store

import (
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// erasePart is how many events of the feed one read transaction looks at.
const erasePart = 16 << 10

// Erase removes a buyer's data from an ended order, for good when it returns (SPEC §6, GUARANTEES, G29): metadata, texts,
// failure, and the files of the result, which become PendingDeletes. State, ids, seller and times stay until the order
// expires, and its events with number, type and time. Errors: order.ErrNotFound, order.ErrDamaged;
// order.ErrActive while it is in processing; order.ErrErased if it was erased already.
func (s *Store) Erase(ctx context.Context, id string) error {
	var x *stored
	err := s.view(ctx, func(tx *bolt.Tx) (err error) {
		x, err = s.reader(tx).erasable(id)
		return err
	})
	if err != nil {
		return err
	}
	// An ended order has no more events to come, so that the feed can be searched before the writer is asked.
	numbers, err := s.eventsOf(ctx, x)
	if err != nil {
		return err
	}
	ref := x.Ref
	return s.update(ctx, 1+len(numbers), func(t *txn) error {
		x, err := t.reader().erasable(id)
		if err != nil {
			return err
		}
		if x.Ref != ref { // it expired, and another took its id
			return fmt.Errorf("order %q: %w", id, order.ErrNotFound)
		}
		t.eraseEvents(x, numbers)
		t.erase(x)
		return nil
	})
}

// erasable reads an order that may be erased.
func (r *reader) erasable(id string) (*stored, error) {
	x, err := r.byID(id)
	switch {
	case err != nil:
		return nil, err
	case !x.Ended():
		return nil, fmt.Errorf("order %q: %w", id, order.ErrActive)
	case x.Erased:
		return nil, fmt.Errorf("order %q: %w", id, order.ErrErased)
	}
	return x, nil
}

// eventsOf returns the numbers of an ended order's events that the feed holds. The feed has no index by
// order: all that was recorded while the order lived is looked at, in short transactions.
func (s *Store) eventsOf(ctx context.Context, x *stored) (numbers []uint64, err error) {
	next, last := x.cold.submitted, x.ended.event
	if last == 0 { // no event told of its end
		_, last = s.EventRange()
	}
	part := func(tx *bolt.Tx) error {
		c := tx.Bucket(bEvents.name).Cursor()
		k, v := c.Seek(numberKey(next))
		for range erasePart {
			if k == nil || parseNumber(k) > last {
				next = last + 1
				return nil
			}
			if d, ok := s.open(bEvents, k, v); ok && decodeEventHead(&d).Ref == x.Ref {
				numbers = append(numbers, parseNumber(k))
			}
			next = parseNumber(k) + 1
			k, v = c.Next()
		}
		return nil
	}
	for next <= last {
		if err := s.view(ctx, part); err != nil {
			return nil, err
		}
	}
	return numbers, nil
}

// eraseEvents takes what they tell from an order's events, in the feed and in its history. Damaged ones, and those
// that left the feed meanwhile, are passed over.
func (t *txn) eraseEvents(x *stored, numbers []uint64) {
	wipe := func(b *bucket, key []byte) {
		d, _, ok := t.get(b, key)
		if !ok {
			return
		}
		ev, whole := decodeEvent(&d)
		if t.s.whole(whole, b, key) {
			t.put(b, key, encodeEvent(t.encoder(), &order.Event{Type: ev.Type, Ref: ev.Ref, OrderID: ev.OrderID, At: ev.At, Erased: true}))
		}
	}
	for _, n := range numbers {
		wipe(bEvents, numberKey(n))
	}
	for _, k := range t.keysOf(bHistory, refKey(x.Ref), 1<<20) {
		wipe(bHistory, k)
	}
}

// erase rewrites both records of an ended order. What is to stay is named, so that all else goes.
func (t *txn) erase(x *stored) {
	for _, k := range x.Result.Keys() {
		t.disown(k, x.Ref)
	}
	t.count(x.Ref.Seller, 0, -x.ended.stored)
	x.Order = order.Order{
		Ref: x.Ref, ID: x.ID, RemoteID: x.RemoteID, SellerID: x.SellerID, SubmittedAt: x.SubmittedAt, Deadline: x.Deadline,
		State: x.State, Tick: x.Tick, Polls: x.Polls, LastOutcome: x.LastOutcome, LastPolledAt: x.LastPolledAt, EndedAt: x.EndedAt, Erased: true,
	}
	x.cold.digest, x.ended.stored = [32]byte{}, 0
	key := refKey(x.Ref)
	t.put(bCold, key, encodeCold(t.encoder(), &x.Order, &x.cold))
	t.put(bEnded, key, encodeEnded(&x.Order, &x.ended, &x.told))
}
