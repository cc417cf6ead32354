package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"poller/order"
)

// Sizes of the canceller's steps: short transactions, so that decisions of polls come between.
const (
	cancelChunk = 1000
	sellerPage  = 1000
	cancelRetry = 5 * time.Second // after an error
)

// Canceller cancels all orders of the sellers for which that was asked. What is
// left to do is in the store (Seller.Cancelling), so it goes on after a restart.
type Canceller struct {
	store     SellerStore
	scheduler Scheduler
	now       func() time.Time
	log       *zap.Logger
	retry     time.Duration
	kicked    chan struct{}
}

func newCanceller(s SellerStore, sch Scheduler, now func() time.Time, log *zap.Logger) *Canceller {
	return &Canceller{store: s, scheduler: sch, now: now, log: log, retry: cancelRetry, kicked: make(chan struct{}, 1)}
}

// kick says that there is something to do.
func (c *Canceller) kick() {
	select {
	case c.kicked <- struct{}{}:
	default:
	}
}

// Run works until ctx ends (nil) or the database can't be trusted any more (order.ErrBroken).
func (c *Canceller) Run(ctx context.Context) error {
	for {
		var again <-chan time.Time
		switch err := c.cancelAll(ctx); {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // told to end
		case errors.Is(err, order.ErrBroken):
			return fmt.Errorf("api: cancelling orders of a seller: %w", err)
		case err != nil:
			c.log.Warn("cancelling orders of a seller waits", zap.Error(err))
			again = time.After(c.retry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.kicked:
		case <-again:
		}
	}
}

// cancelAll does what there is to do. A seller in trouble does not hold up the others.
func (c *Canceller) cancelAll(ctx context.Context) error {
	var errs []error
	for after := ""; ; {
		sellers, next, err := c.store.Sellers(ctx, after, sellerPage)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for i := range sellers {
			if sellers[i].Cancelling {
				if err := c.cancel(ctx, &sellers[i]); err != nil {
					errs = append(errs, fmt.Errorf("seller %s: %w", sellers[i].ID, err))
				}
			}
		}
		if next == "" {
			return errors.Join(errs...)
		}
		after = next
	}
}

func (c *Canceller) cancel(ctx context.Context, s *order.Seller) error {
	total := 0
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		refs, m, err := c.store.CancelSeller(ctx, s.Number, cancelChunk, c.now())
		if err != nil {
			return err
		}
		total, more = total+len(refs), m
	}
	c.log.Info("orders of a seller cancelled", zap.String("seller", s.ID), zap.Int("orders", total))
	fresh, err := c.store.Seller(ctx, s.ID)
	if errors.Is(err, order.ErrNotFound) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	c.scheduler.SellerChanged(fresh)
	return nil
}
