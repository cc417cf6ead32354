package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

// run serves and polls until ctx ends, and then stops in the order of SPEC §4:
// not ready, no new polls, those in flight finish or are cut off, then the outbox, the API,
// the store, all within shutdown_timeout. It returns nil when ctx was what
// ended it, else what did: a part that failed, or the database that can't be
// trusted any more (order.ErrBroken). The app is closed then.
func (a *app) run(ctx context.Context) error {
	// intake ends when no new work may begin; work when what has begun must end.
	intake, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()

	// deliver ends once no poll can bring another event.
	deliver, rest := context.WithCancel(work)
	defer rest()

	var polling, delivering, serving sync.WaitGroup
	begin := func(wg *sync.WaitGroup, name string, f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				stop(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	begin(&polling, "scheduler", func() error { return a.scheduler.Run(intake) })
	begin(&polling, "housekeeping", func() error {
		select {
		case <-a.scheduler.ClockLooked(): // what was done before would find the clock doubted, and rest for a minute
			return a.housekeeping().run(intake)
		case <-intake.Done():
			return nil
		}
	})
	begin(&delivering, "outbox", func() error { return a.outbox.Run(deliver) })
	begin(&serving, "cancelling", func() error { return a.api.Canceller().Run(work) })
	begin(&serving, "api", func() error { return serve(a.apiServer, a.apiListener) })
	begin(&serving, "metrics", func() error { return serve(a.metricsServer, a.metricsListener) })
	if a.uploadServer != nil {
		begin(&serving, "uploads", func() error { return serve(a.uploadServer, a.uploadListener) })
	}
	a.ready.Store(true)
	a.log.Info("serving", zap.String("version", version), zap.String("store", a.store.ID()),
		zap.String("api", a.apiURL()), zap.String("metrics", a.metricsURL()+"/metrics"), a.uploadsField())

	select {
	case <-intake.Done():
	case <-a.store.Failed():
		stop(a.store.Err())
	}
	begun := time.Now()
	a.ready.Store(false)
	stop(nil) // unless it was
	timeout := a.live.Load().ShutdownTimeout
	a.log.Info("stopping", zap.Duration("shutdown_timeout", timeout))
	polling.Wait()
	rest()
	delivering.Wait()

	until, done := context.WithDeadline(context.WithoutCancel(ctx), begun.Add(timeout))
	defer done()
	a.shutDown(until)
	cut()
	serving.Wait()
	a.handlers.Lock() // nobody asks the store any more
	defer a.handlers.Unlock()

	err := context.Cause(intake)
	if errors.Is(err, context.Canceled) {
		err = nil // we were asked to stop
	}
	if failed := a.store.Err(); failed != nil {
		err = failed // what the parts say follows from it
	}
	err = errors.Join(err, a.close())
	a.log.Info("stopped", zap.Duration("took", time.Since(begun)), zap.Error(err))
	return err
}

// stopReserve is the part of shutdown_timeout that polls in flight don't get:
// their last commit, the API and the store need some of it too.
func stopReserve(c *Config) time.Duration { return min(2*time.Second, c.ShutdownTimeout/4) }

func (a *app) housekeeping() *housekeeping {
	return &housekeeping{
		store: a.store, files: a.files, config: a.live.Load, doubted: a.scheduler.ClockDoubted,
		now: a.now, log: a.log.Named("housekeeping"),
	}
}

// serve serves until the server is shut down.
func serve(s *http.Server, l net.Listener) error {
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// shutDown ends the servers: requests finish until ctx ends, the rest is cut off.
func (a *app) shutDown(ctx context.Context) {
	var wg sync.WaitGroup
	for name, s := range map[string]*http.Server{"api": a.apiServer, "metrics": a.metricsServer, "uploads": a.uploadServer} {
		if s == nil {
			continue
		}
		wg.Go(func() {
			if err := s.Shutdown(ctx); err != nil {
				a.log.Warn("requests were cut off", zap.String("server", name), zap.Error(err))
				_ = s.Close() // says only which connections were closed already
			}
		})
	}
	wg.Wait()
}
