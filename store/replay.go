package store

import (
	"context"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// ReplayOrder has the webhook told of an order's end again, under the same number: due now and with no attempts
// counted, whether the delivery is pending, was made, was set aside or never queued. n is 0 if the order
// has not ended. Errors: order.ErrNotFound, order.ErrDamaged.
func (s *Store) ReplayOrder(ctx context.Context, id string, now time.Time) (n int, err error) {
	err = s.update(ctx, 1, func(t *txn) error {
		n = 0
		x, err := t.reader().byID(id)
		if err != nil || !x.Ended() || x.ended.event == 0 {
			return err
		}
		t.replay(x.ended.event, x.Ref, now)
		n = 1
		return nil
	})
	return n, err
}

// replay queues the delivery of an event again, due at once. By the time at which it is queued Delivered tells it from
// the ones before: several in one millisecond have different times.
func (t *txn) replay(number uint64, ref order.Ref, now time.Time) {
	queuedAt := now
	if row, _, ok := t.outbox().row(number); ok {
		if ahead := row.queuedAt.Sub(now); -time.Millisecond < ahead && ahead < time.Second {
			queuedAt = row.queuedAt.Add(time.Millisecond)
		}
	}
	t.undeliver(number)
	t.retry(number, &delivery{ref: ref, queuedAt: queuedAt, dueAt: now})
	t.change.queued = true
}

// replayPart is how many events one call of ReplayAfter looks at.
const replayPart = 16 << 10

// ReplayAfter has the webhook told again of up to limit of the ends with numbers above after, of those types that it is told of
// (SetWebhookEvents), as ReplayOrder does. It looks at a bounded number of events of the feed, which may
// hold no such end, and returns how many are queued, the number to go on after, and whether there are more events. Ends of orders that
// are gone are left out. Error: *GoneError (order.ErrGone) as with Events.
func (s *Store) ReplayAfter(ctx context.Context, after uint64, now time.Time, limit int) (n int, last uint64, more bool, err error) {
	ends, last, more, err := s.endsAfter(ctx, after, max(limit, 1))
	if err != nil {
		return 0, after, false, err
	}
	if len(ends) == 0 {
		return 0, last, more, nil
	}
	err = s.update(ctx, len(ends), func(t *txn) error {
		n = 0
		for i := range ends {
			ref, number := ends[i].Ref, ends[i].Number
			d, found, ok := t.get(bEnded, refKey(ref))
			if !found || !ok {
				continue
			}
			var o order.Order
			var x ended
			if decodeEnd(&d, &o, &x); x.event == number {
				t.replay(number, ref, now)
				n++
			}
		}
		return nil
	})
	if err != nil {
		return 0, after, false, err
	}
	return n, last, more, nil
}

// endsAfter finds the events for ReplayAfter.
func (s *Store) endsAfter(ctx context.Context, after uint64, limit int) (ends []order.Event, last uint64, more bool, err error) {
	last = after
	wanted := *s.webhook.Load()
	err = s.view(ctx, func(tx *bolt.Tx) error {
		if err := s.checkKept(after); err != nil {
			return err
		}
		c := tx.Bucket(bEvents.name).Cursor()
		looked := 0
		for k, v := c.Seek(numberKey(after + 1)); k != nil; k, v = c.Next() {
			if looked++; looked > replayPart || len(ends) == limit {
				more = true
				return nil
			}
			last = parseNumber(k)
			d, ok := s.open(bEvents, k, v)
			if !ok {
				continue
			}
			if ev := decodeEventHead(&d); wanted[ev.Type] && slices.Contains(order.EndEvents, ev.Type) {
				ev.Number = last
				ends = append(ends, ev)
			}
		}
		return nil
	})
	return ends, last, more, err
}
