package store

import (
	"context"
	"errors"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"poller/order"
)

// maxSetAside is how many damaged deliveries one call of Deliveries sets aside.
const maxSetAside = 100

// Deliveries returns up to limit pending deliveries that are due by now, the longest due first, each with its
// event as the feed gives it out: those under way too, which the caller knows. After them come those that would be due
// so late that the clock must have gone back. next is when the first one
// after those is due; zero: there is none. A delivery whose row or order is damaged is set aside and logged (GUARANTEES, G9).
func (s *Store) Deliveries(ctx context.Context, now time.Time, limit int) (due []order.Delivery, next time.Time, err error) {
	var damaged []uint64
	err = s.view(ctx, func(tx *bolt.Tx) error {
		r, box, ms := s.reader(tx), s.outbox(tx), millis(now)
		fresh, retry := box.walkFresh(), box.walkDue(dueRetry)
		w := longestDue(&fresh, &retry, ms)
		for ; w.due(ms) && len(due) < limit && len(damaged) < maxSetAside; w = longestDue(&fresh, &retry, ms) {
			if d, ok := box.delivery(r, w.number); ok {
				due = append(due, d)
			} else {
				damaged = append(damaged, w.number)
			}
			w.next()
		}
		for w := box.walkLast(); w.postponed(ms) && len(due) < limit && len(damaged) < maxSetAside; w.prev() {
			if d, ok := box.delivery(r, w.number); ok {
				due = append(due, d)
			} else {
				damaged = append(damaged, w.number)
			}
		}
		switch {
		case w.due(ms):
			next = time.UnixMilli(int64(min(w.at, ms))).UTC()
		case w.ok:
			next = time.UnixMilli(int64(w.at)).UTC()
		}
		return nil
	})
	if err == nil && len(damaged) > 0 {
		err = s.setAside(ctx, damaged)
		if errors.Is(err, order.ErrNoSpace) {
			err = nil // they are met again; the others need not wait for that
		}
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	return due, next, nil
}

// setAside takes pending deliveries that can't be made out of the way. Damaged rows are kept as they are, in bDead.
func (s *Store) setAside(ctx context.Context, numbers []uint64) error {
	var dead int64
	err := s.update(ctx, len(numbers), func(t *txn) error {
		r, box := t.reader(), t.outbox()
		before := t.change.dead
		for _, n := range numbers {
			if _, ok := box.delivery(r, n); ok {
				continue // replayed meanwhile
			}
			row, in, ok := box.row(n)
			if in == nil { // keys of a row that is gone
				t.unlistLost(n)
				continue
			}
			bad := slices.Clone(t.bucket(in).Get(numberKey(n)))
			t.unqueue(n, &row, in, ok)
			t.change.dead++
			if ok {
				t.put(bDead, numberKey(n), row.encode(t.encoder()))
			} else {
				t.putRaw(bDead, numberKey(n), bad)
			}
		}
		dead = t.change.dead - before
		return nil
	})
	if err == nil && dead > 0 {
		s.log.Error("webhook deliveries set aside: they, or their orders, are damaged", zap.Int64("deliveries", dead), zap.Uint64("first", numbers[0]))
	}
	return err
}

// Delivered records what came of attempts, in one commit. An attempt of an event without a pending delivery is passed
// over, and so is one at a delivery that was queued at another time: it began before a replay, which asks for one more.
func (s *Store) Delivered(ctx context.Context, attempts []order.Attempt) error {
	return s.update(ctx, len(attempts), func(t *txn) error {
		box := t.outbox()
		for i := range attempts {
			a := &attempts[i]
			row, in, ok := box.row(a.Number)
			if !ok || !a.QueuedAt.IsZero() && !a.QueuedAt.Equal(row.queuedAt) {
				continue
			}
			t.unqueue(a.Number, &row, in, true)
			row.attempts, row.dueAt = a.Attempts, a.DueAt
			switch {
			case a.Taken:
			case a.Dead:
				t.put(bDead, numberKey(a.Number), row.encode(t.encoder()))
				t.change.dead++
			default:
				t.retry(a.Number, &row)
			}
		}
		return nil
	})
}

// OutboxChanged is closed at the next commit that queues or replays a delivery. Ask for it before Deliveries.
func (s *Store) OutboxChanged() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.queued
}

// OutboxCounts returns the numbers of deliveries that are pending and that are set aside. It reads nothing.
func (s *Store) OutboxCounts() (pending, dead int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mem.pending, s.mem.dead
}

// OutboxOldest returns since when the pending delivery waits that waits longest; zero: none is pending. It reads nothing.
func (s *Store) OutboxOldest() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mem.oldest
}
