package outbox

import (
	"context"
	"errors"
	"maps"
	"time"

	"go.uber.org/zap"

	"poller/order"
)

const (
	// longestSleep bounds how long the loop sleeps: a step of the wall clock is noticed so late at the most.
	longestSleep = time.Minute
	// shortestSleep: the store says that more is due, but does not hand it out. It should not be asked at once.
	shortestSleep = time.Second

	storePause    = 5 * time.Second // after an error of the store, doubling ...
	maxStorePause = time.Minute     // ... to this
)

// Run delivers until ctx ends. Attempts in flight are cut off then and count
// for nothing, so that what was taken at the last moment may be delivered again. It returns an error only if the
// store broke (order.ErrBroken).
func (o *Outbox) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer o.close()
	defer o.workers.Wait()
	defer stop(nil)
	for pause := storePause; ; {
		changed := o.store.OutboxChanged() // asked for before reading, so that nothing comes between
		sleep, err := o.look(ctx, stop)
		switch {
		case ctx.Err() != nil:
			if err := context.Cause(ctx); errors.Is(err, order.ErrBroken) {
				return err
			}
			return nil
		case errors.Is(err, order.ErrBroken):
			return err
		case err != nil:
			o.storeFailed(err)
			changed, sleep = nil, pause
			pause = min(2*pause, maxStorePause)
		default:
			pause = storePause
		}
		timer := time.NewTimer(sleep)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-o.nudge:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// look begins what can begin now, and returns for how long there is nothing more to do unless something happens.
func (o *Outbox) look(ctx context.Context, stop context.CancelCauseFunc) (sleep time.Duration, err error) {
	free, open, sleep := o.room(time.Now())
	if free == 0 {
		return sleep, nil
	}
	// No more is read than begins at once: what waited here in memory would miss an erasure (G29).
	now := o.wall()
	due, next, err := o.store.Deliveries(ctx, now, len(open)+free)
	if err != nil {
		return 0, err
	}
	var begin []order.Delivery
	for _, d := range due {
		// Those open before are passed over even if they are recorded by now: what was read of them may be older.
		if _, ok := open[d.Event.Number]; !ok && len(begin) < free {
			begin = append(begin, d)
		}
	}
	begun := o.begin(ctx, stop, begin)
	switch {
	case begun == free || next.IsZero():
		return longestSleep, nil
	case !next.After(now):
		return shortestSleep, nil
	}
	return min(next.Sub(now), longestSleep), nil
}

// room returns how many attempts may begin now beside the open ones; if none may, when to look again.
func (o *Outbox) room(now time.Time) (free int, open map[uint64]struct{}, sleep time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	width := o.width
	switch {
	case o.sender == nil:
		return 0, nil, longestSleep
	case o.resting && now.Before(o.probeAt):
		return 0, nil, o.probeAt.Sub(now)
	case o.resting:
		width = 1
	}
	return max(min(width-o.inFlight, maxOpen-len(o.open)), 0), maps.Clone(o.open), longestSleep
}

// begin starts an attempt for each of the deliveries, and returns for how many.
func (o *Outbox) begin(ctx context.Context, stop context.CancelCauseFunc, due []order.Delivery) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.sender
	if s == nil || len(due) == 0 { // reloaded meanwhile
		return 0
	}
	if o.resting {
		o.probeAt = time.Now().Add(probeEvery)
	}
	o.inFlight += len(due)
	for _, d := range due {
		o.open[d.Event.Number] = struct{}{}
		o.workers.Go(func() {
			if err := o.deliver(ctx, s, &d); err != nil {
				stop(err)
			}
		})
	}
	return len(due)
}

// deliver makes one attempt and records what came of it. Its error is order.ErrBroken.
func (o *Outbox) deliver(ctx context.Context, s *sender, d *order.Delivery) error {
	a := s.send(ctx, &d.Event, o.wall())
	if ctx.Err() != nil && a.result != Taken {
		return nil // cut off: counts for nothing
	}
	o.observe(a.result)
	result := o.judge(s, d, a)
	result.QueuedAt = d.QueuedAt // a replay asked for since is owed an attempt of its own
	err := o.record(ctx, result)
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.open, d.Event.Number)
	o.poke()
	return err
}

// record tries until the store takes it or ctx ends. Until then the event is open, so that a
// full disk does not have the platform told of it again and again. Its error is order.ErrBroken.
func (o *Outbox) record(ctx context.Context, a order.Attempt) error {
	commit := func() error { // what is known is worth a commit at the end too
		return o.store.Delivered(context.WithoutCancel(ctx), []order.Attempt{a})
	}
	err := commit()
	for pause := storePause; err != nil && ctx.Err() == nil && !errors.Is(err, order.ErrBroken); pause = min(2*pause, maxStorePause) {
		o.storeFailed(err)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		err = commit()
	}
	if errors.Is(err, order.ErrBroken) {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.trouble = err != nil
	return nil
}

// storeFailed logs the first error since something could be recorded.
func (o *Outbox) storeFailed(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.trouble {
		o.trouble = true
		o.log.Warn("webhook deliveries can't be read or recorded; trying until they can", zap.Error(err))
	}
}

// close closes the connections that are kept.
func (o *Outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sender != nil {
		o.sender.close()
	}
}
