package store

import (
	"context"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// keptSweeps is how many sweeps are remembered.
const keptSweeps = 1000

// BeginSweep records a new sweep and gives it its ID. With Tick 0 it also takes
// the next tick number; else the tick stays as given (a sweep of what is still due).
func (s *Store) BeginSweep(ctx context.Context, sw order.Sweep) (order.Sweep, error) {
	var begun order.Sweep
	err := s.update(ctx, 1, func(t *txn) error {
		begun = sw
		t.counters.sweeps++
		begun.ID = t.counters.sweeps
		if begun.State == "" {
			begun.State = order.SweepRunning
		}
		if begun.Tick == 0 {
			t.counters.tick++
			begun.Tick = t.counters.tick
			if begun.Trigger == order.TriggerCron || begun.Trigger == order.TriggerCatchUp {
				t.counters.cronAt = begun.StartedAt
			}
		}
		t.put(bSweeps, numberKey(begun.ID), encodeSweep(&begun))
		if begun.ID > keptSweeps {
			t.delete(bSweeps, numberKey(begun.ID-keptSweeps))
		}
		return nil
	})
	if err != nil {
		return order.Sweep{}, err
	}
	return begun, nil
}

// SaveSweep records the books of a sweep as they are now.
func (s *Store) SaveSweep(ctx context.Context, sw order.Sweep) error {
	return s.update(ctx, 1, func(t *txn) error {
		t.put(bSweeps, numberKey(sw.ID), encodeSweep(&sw))
		return nil
	})
}

// Sweeps returns up to limit sweeps, the newest first, from the one after the
// cursor, and the cursor of the next page, "" at the end. Damaged ones are left out. Error: order.ErrCursor.
func (s *Store) Sweeps(ctx context.Context, after string, limit int) (list []order.Sweep, next string, err error) {
	from, err := s.parseCursor("sweeps", after)
	if err != nil {
		return nil, "", err
	}
	err = s.view(ctx, func(tx *bolt.Tx) error {
		c := tx.Bucket(bSweeps.name).Cursor()
		k, v := c.Last()
		if from != nil {
			if k, v = c.Seek(from); k == nil {
				k, v = c.Last() // what the cursor stands on was the newest, and is gone
			}
			for k != nil && string(k) >= string(from) {
				k, v = c.Prev()
			}
		}
		for ; k != nil; k, v = c.Prev() {
			if len(list) == limit {
				next = s.cursor("sweeps", numberKey(list[len(list)-1].ID))
				return nil
			}
			d, ok := s.open(bSweeps, k, v)
			if !ok {
				continue
			}
			if sw, whole := decodeSweep(&d); s.whole(whole, bSweeps, k) {
				sw.ID = parseNumber(k)
				list = append(list, sw)
			}
		}
		return nil
	})
	return list, next, err
}
