package scheduler

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"poller/order"
)

// GUARANTEES G12: a step is seen by the first who goes by the wall clock, not when the loop next wakes. Here it falls
// into a poll, while the loop sleeps.
func TestAStepDuringAPollEndsNobody(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.seller("acme")
		w.submit("acme", 3)
		w.script(func(string, string, int) (order.Observation, time.Duration) { return processing(), 5 * time.Second })
		w.start()
		w.toTick()
		w.step(365 * 24 * time.Hour)
		if !w.s.ClockDoubted() {
			t.Error("a step of a year is not seen at once")
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := w.states()[order.StateProcessing]; n != 3 {
			t.Errorf("%d of 3 orders in processing after a step of the clock", n)
		}
		if o := w.order("acme-0"); o.Polls != 1 {
			t.Errorf("%d polls, want 1", o.Polls)
		}
		w.close()
	})
}

// Nothing may age before the clock was compared with the store: housekeeping begins at the same time.
func TestTheClockIsDoubtedUntilItIsLookedAt(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start()
		if w.s.ClockDoubted() {
			t.Error("doubted without a reason")
		}
		s, err := New(Options{Store: w.store, Fetcher: w, Files: w, Metrics: w.m, Config: w.cfg, Log: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-s.ClockLooked():
			t.Error("looked at before it runs")
		default:
		}
		if !s.ClockDoubted() {
			t.Error("trusted before it was looked at")
		}
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- s.Run(ctx) }()
		<-s.ClockLooked()
		if s.ClockDoubted() {
			t.Error("doubted when it was looked at")
		}
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		w.close()
	})
}

// step moves the wall clock.
func (w *world) step(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wallOff += d
}

// GUARANTEES G12: a doubt is over when the step is undone or confirmed. A restart is neither.
func TestARestartDoesNotUndoADoubt(t *testing.T) {
	for _, c := range []struct {
		name string
		step time.Duration
		then func(w *world)
		want bool
	}{
		{"ahead by a year", 365 * 24 * time.Hour, func(*world) {}, true},
		{"ahead by a day", 24 * time.Hour, func(*world) {}, true},
		{"back by a day", -24 * time.Hour, func(*world) {}, true},
		{"after a tick", 365 * 24 * time.Hour, func(w *world) { w.toTick() }, true},
		{"stopped at once", -24 * time.Hour, func(w *world) { w.step(48 * time.Hour) }, true},
		{"undone", 365 * 24 * time.Hour, func(w *world) { w.toTick(); w.step(-365 * 24 * time.Hour); time.Sleep(time.Minute) }, false},
		{"back, and undone", -24 * time.Hour, func(w *world) { w.toTick(); w.step(24 * time.Hour); time.Sleep(time.Minute) }, false},
		{"confirmed", 365 * 24 * time.Hour, func(w *world) {
			if err := w.s.ConfirmClock(w.t.Context()); err != nil {
				w.t.Error(err)
			}
		}, false},
		{"undone by half an hour's less", 24 * time.Hour, func(w *world) { w.step(-23*time.Hour - 30*time.Minute); time.Sleep(time.Minute) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.seller("acme")
				w.submit("acme", 2)
				w.start()
				w.toTick()
				w.step(c.step)
				time.Sleep(time.Minute)
				c.then(w)
				for range 3 {
					w.stop()
					time.Sleep(time.Minute)
					w.start()
					if got := w.s.ClockDoubted(); got != c.want {
						t.Errorf("doubted after a restart: %v, want %v", got, c.want)
					}
					w.toTick()
				}
				w.close()
			})
		})
	}
}
