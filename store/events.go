package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// GoneError tells that events after a number can't be given out; it is an order.ErrGone.
type GoneError struct{ First uint64 }

func (e *GoneError) Error() string {
	return fmt.Sprintf("%v: the first is %d", order.ErrGone, e.First)
}

// Unwrap returns order.ErrGone.
func (e *GoneError) Unwrap() error { return order.ErrGone }

// FirstEvent returns the number of the oldest event that is kept, or of the next one if none is.
func (e *GoneError) FirstEvent() uint64 { return e.First }

// EventRange returns the numbers of the oldest and the newest event kept. If none is kept, first is last+1.
func (s *Store) EventRange() (first, last uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mem.firstEvent, s.mem.events
}

// EventsChanged is closed at the next commit that adds an event. Ask for it before reading.
func (s *Store) EventsChanged() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.events
}

// Events returns up to limit events after a number, in order of their numbers; none if there is none yet.
// Damaged ones are left out. An event that tells of an end brings the order; if that is
// gone meanwhile, Erased is set instead. Error: *GoneError (order.ErrGone) if the number lies below what is kept, or above the newest.
func (s *Store) Events(ctx context.Context, after uint64, limit int) ([]order.Event, error) {
	var list []order.Event
	err := s.view(ctx, func(tx *bolt.Tx) error {
		if err := s.checkKept(after); err != nil {
			return err
		}
		r := s.reader(tx)
		c := tx.Bucket(bEvents.name).Cursor()
		k, v := c.Seek(numberKey(after + 1))
		for ; k != nil && len(list) < limit; k, v = c.Next() {
			if ev, ok := r.event(k, v); ok {
				list = append(list, ev)
			}
		}
		return nil
	})
	return list, err
}

// checkKept returns a *GoneError if what comes after a number can't be given out. It is asked within a
// transaction: what that sees is at least as new.
func (s *Store) checkKept(after uint64) error {
	if first, last := s.EventRange(); after > last || after+1 < first {
		return &GoneError{First: first}
	}
	return nil
}

// event decodes an event and fills in what others know: the seller's id, the order that ended.
func (r *reader) event(k, v []byte) (order.Event, bool) {
	d, ok := r.s.open(bEvents, k, v)
	if !ok {
		return order.Event{}, false
	}
	ev, whole := decodeEvent(&d)
	if !r.s.whole(whole, bEvents, k) {
		return order.Event{}, false
	}
	ev.Number, ev.SellerID = parseNumber(k), r.sellerID(ev.Ref.Seller)
	if slices.Contains(order.EndEvents, ev.Type) {
		r.withOrder(&ev)
	}
	return ev, true
}

// withOrder gives an event of a transition its order.
func (r *reader) withOrder(ev *order.Event) {
	x := new(stored)
	if r.readEnded(x, ev.Ref) != nil || x.Erased {
		ev.Erased = true
		return
	}
	ev.Order = &x.Order
}

// History returns the events of an order, the oldest first: of order.progress
// the newest 20 that the feed still holds, of all others every one. Errors: order.ErrNotFound, order.ErrDamaged.
func (s *Store) History(ctx context.Context, id string) (list []order.Event, err error) {
	err = s.view(ctx, func(tx *bolt.Tx) error {
		r := s.reader(tx)
		x, err := r.byID(id)
		if err != nil {
			return err
		}
		add := func(ev order.Event) {
			ev.Ref, ev.OrderID, ev.SellerID = x.Ref, x.ID, x.SellerID
			list = append(list, ev)
		}
		add(order.Event{Number: x.cold.submitted, Type: order.EventSubmitted, At: x.SubmittedAt, Erased: x.Erased})
		prefix := refKey(x.Ref)
		c := tx.Bucket(bHistory.name).Cursor()
		for k, v := c.Seek(prefix); k != nil && hasPrefix(k, prefix); k, v = c.Next() {
			if d, ok := s.open(bHistory, k, v); ok {
				if ev, whole := decodeEvent(&d); s.whole(whole, bHistory, k) {
					ev.Number = parseNumber(k[refSize:])
					add(ev)
				}
			}
		}
		feed := tx.Bucket(bEvents.name)
		for _, n := range x.told.numbers[:x.told.n] {
			if v := feed.Get(numberKey(n)); v != nil {
				if ev, ok := r.event(numberKey(n), v); ok {
					add(ev)
				}
			}
		}
		if x.Ended() {
			add(x.endEvent())
		}
		slices.SortFunc(list, func(a, b order.Event) int { return cmp.Compare(a.Number, b.Number) })
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// endEvent returns the event that told of an order's end, from the order alone: the feed may have lost it.
func (x *stored) endEvent() order.Event {
	ev := order.Event{
		Number: x.ended.event, Type: endEvent(x.State), Ref: x.Ref, OrderID: x.ID, SellerID: x.SellerID, At: x.EndedAt, Erased: x.Erased,
	}
	if !x.Erased {
		ev.Order = &x.Order
	}
	return ev
}

// endEvent is the type of the event that tells of this end.
func endEvent(st order.State) order.EventType {
	switch st {
	case order.StateCompleted:
		return order.EventCompleted
	case order.StateCancelled:
		return order.EventCancelled
	}
	return order.EventFailed
}

// TrimEvents deletes up to limit of the oldest events: those from before a time, and
// those beyond max (0: any number). It returns how many; fewer than limit: there are no more.
func (s *Store) TrimEvents(ctx context.Context, before time.Time, max int64, limit int) (int, error) {
	n := 0
	err := s.update(ctx, limit/10, func(t *txn) error {
		n = 0
		var keys [][]byte
		c := t.bucket(bEvents).Cursor()
		kept := int64(t.counters.events - t.counters.firstEvent + 1)
		for k, v := c.First(); k != nil && len(keys) < limit; k, v = c.Next() {
			// A damaged one has no time that could be trusted: it goes with its neighbours after it.
			over := max > 0 && kept-int64(len(keys)) > max
			if d, ok := t.s.open(bEvents, k, v); ok && !over {
				if ev, whole := decodeEvent(&d); whole && !ev.At.Before(before) {
					break
				}
			}
			keys = append(keys, slices.Clone(k))
		}
		for _, k := range keys {
			t.delete(bEvents, k)
		}
		if n = len(keys); n > 0 {
			t.counters.firstEvent = parseNumber(keys[n-1]) + 1
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
