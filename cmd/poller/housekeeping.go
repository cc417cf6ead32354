package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"poller/order"
)

// How often housekeeping is done, and in how large steps: short transactions, so that decisions of polls come between.
const (
	housekeepingInterval = time.Minute
	orphanInterval       = 24 * time.Hour
	orphanAge            = 24 * time.Hour // SPEC §4 and HOUSE.md: a file that no order names is swept after a day
	housekeepingChunk    = 500
)

// keptStore is what housekeeping needs of the store.
type keptStore interface {
	// Expire deletes ended orders from before a time; fewer than limit: there are no more.
	Expire(ctx context.Context, before time.Time, limit int) (keys []string, n int, err error)
	// TrimEvents deletes the oldest events; fewer than limit: there are no more.
	TrimEvents(ctx context.Context, before time.Time, max int64, limit int) (int, error)
	// PendingDeletes are keys of files whose orders are gone; Deleted confirms them.
	PendingDeletes(ctx context.Context, limit int) ([]string, error)
	Deleted(ctx context.Context, keys []string) error
	// Named reports whether an order owns the file.
	Named(ctx context.Context, key string) (bool, error)
	// Restored says which backup the database was restored from, and when; zero: none.
	Restored() (backupAt, restoredAt time.Time)
}

// keptFiles is what housekeeping needs of the result store.
type keptFiles interface {
	Remove(ctx context.Context, keys ...string) error
	SweepOrphans(ctx context.Context, olderThan time.Time, named func(context.Context, string) (bool, error)) (int, error)
}

// Housekeeping deletes what is older than its retention: ended orders, events,
// and files that no order names. While the wall clock is doubted nothing ages
// (GUARANTEES, G12).
type housekeeping struct {
	store   keptStore
	files   keptFiles
	config  func() *Config
	doubted func() bool
	now     func() time.Time
	log     *zap.Logger

	orphansAt time.Time // when orphans were last looked for
}

// run works until ctx ends (nil), or the database can't be trusted any more (order.ErrBroken).
func (h *housekeeping) run(ctx context.Context) error {
	tick := time.NewTicker(housekeepingInterval)
	defer tick.Stop()
	for {
		err := h.once(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, order.ErrBroken):
			return fmt.Errorf("housekeeping: %w", err)
		case err != nil:
			h.log.Warn("housekeeping is put off", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// once does all that is to be done now. A step that fails keeps none of the others from being done: on a full disk
// each one may make the room that another lacks.
func (h *housekeeping) once(ctx context.Context) error {
	now := h.now() // before doubt is asked for: a clock that steps in between does no harm
	if h.doubted() {
		return h.deleteFiles(ctx) // their orders are gone already
	}
	return errors.Join(h.deleteRecords(ctx, now), h.deleteFiles(ctx), h.deleteOrphans(ctx, now))
}

// deleteRecords deletes orders and events that are older than their retention.
func (h *housekeeping) deleteRecords(ctx context.Context, now time.Time) error {
	c := h.config()
	expired, err := drain(func(limit int) (int, error) {
		_, n, err := h.store.Expire(ctx, now.Add(-c.Orders.Retention), limit)
		return n, err
	})
	if err != nil {
		err = fmt.Errorf("expired orders: %w", err)
	}
	trimmed, trimErr := drain(func(limit int) (int, error) {
		return h.store.TrimEvents(ctx, now.Add(-c.Events.Retention), int64(c.Events.Max), limit)
	})
	if trimErr != nil {
		err = errors.Join(err, fmt.Errorf("old events: %w", trimErr))
	}
	if expired > 0 || trimmed > 0 {
		h.log.Info("old records deleted", zap.Int("orders", expired), zap.Int("events", trimmed))
	}
	return err
}

// drain calls step, with how much it may do, until it did less, and returns how much it did in all. Deleting takes
// room too: on a full disk the chunks become smaller until one is found that there is room for.
func drain(step func(limit int) (int, error)) (int, error) {
	total := 0
	for limit := housekeepingChunk; ; {
		n, err := step(limit)
		total += n
		switch {
		case errors.Is(err, order.ErrNoSpace) && limit > 1:
			limit = max(1, limit/10)
		case err != nil || n < limit:
			return total, err
		default:
			limit = min(2*limit, housekeepingChunk)
		}
	}
}

// deleteFiles deletes the files of orders that are gone. One that was deleted
// but not confirmed is deleted again.
func (h *housekeeping) deleteFiles(ctx context.Context) error {
	_, err := drain(func(limit int) (int, error) {
		keys, err := h.store.PendingDeletes(ctx, limit)
		if err != nil || len(keys) == 0 {
			return 0, err
		}
		if err := h.files.Remove(ctx, keys...); err != nil {
			return 0, err
		}
		return len(keys), h.store.Deleted(ctx, keys)
	})
	if err != nil {
		return fmt.Errorf("files of expired orders: %w", err)
	}
	return nil
}

func (h *housekeeping) deleteOrphans(ctx context.Context, now time.Time) error {
	if since := now.Sub(h.orphansAt); !h.orphansAt.IsZero() && since >= 0 && since < orphanInterval {
		return nil
	}
	before := now.Add(-orphanAge)
	// The orders of files younger than a backup may come back to them (SPEC §6).
	if backupAt, restoredAt := h.store.Restored(); !restoredAt.IsZero() && now.Before(restoredAt.Add(h.config().Orders.Retention)) && backupAt.Before(before) {
		before = backupAt
	}
	n, err := h.files.SweepOrphans(ctx, before, h.store.Named)
	if n > 0 {
		h.log.Info("files that no order names deleted", zap.Int("files", n))
	}
	if err != nil {
		return fmt.Errorf("files that no order names: %w", err)
	}
	h.orphansAt = now
	return nil
}
