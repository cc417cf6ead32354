package scheduler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"poller/order"
)

// faultyStore is a store whose writes a test delays or refuses.
type faultyStore struct {
	Store
	full     atomic.Bool                               // every write is refused
	record   func(context.Context, *order.Batch) error // instead of Record; nil: as ever
	metAfter func(order.Seller)                        // called once a seller was read
}

func (f *faultyStore) BeginSweep(ctx context.Context, s order.Sweep) (order.Sweep, error) {
	if f.full.Load() {
		return s, order.ErrNoSpace
	}
	return f.Store.BeginSweep(ctx, s)
}

func (f *faultyStore) SaveSweep(ctx context.Context, s order.Sweep) error {
	if f.full.Load() {
		return order.ErrNoSpace
	}
	return f.Store.SaveSweep(ctx, s)
}

func (f *faultyStore) Record(ctx context.Context, b *order.Batch) error {
	if f.full.Load() {
		return order.ErrNoSpace
	}
	if f.record != nil {
		return f.record(ctx, b)
	}
	return f.Store.Record(ctx, b)
}

func (f *faultyStore) SellerByNumber(ctx context.Context, n uint32) (order.Seller, error) {
	x, err := f.Store.SellerByNumber(ctx, n)
	if f.metAfter != nil {
		f.metAfter(x)
	}
	return x, err
}

// faulty puts a faultyStore under the scheduler.
func (w *world) faulty() *faultyStore {
	f := &faultyStore{}
	w.wrap = func(s Store) Store { f.Store = s; return f }
	return f
}

func (w *world) setEnough(enough bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enough = enough
}

func sleep(d time.Duration) { time.Sleep(d); synctest.Wait() }

// SPEC §4, "Our own trouble": with space back the open sweep goes on; and waiting for space costs no processor time.
func TestSpaceRunsOutInTheMiddleOfASweep(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.Workers = 1
		w.seller("a")
		w.submit("a", 100)
		w.script(func(string, string, int) (order.Observation, time.Duration) { return processing(), time.Second })
		w.start()
		w.toTick()
		sleep(10500 * time.Millisecond)
		w.setEnough(false)
		sleep(2 * time.Minute)
		if n := w.total(); n != 11 {
			t.Errorf("%d polls, want 11: none starts below min_free", n)
		}
		w.setEnough(true)
		sleep(2 * time.Minute)
		if s := w.sweeps(); len(s) != 1 || s[0].State != order.SweepDone || s[0].Polled != 100 {
			t.Errorf("with space back: %+v", s)
		}
		w.close()
	})
}

// SPEC §4, "Spread": a new order has a slot of its own; the lane's other orders don't wait for it.
func TestANewOrderHoldsUpNobodysSlot(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.Spread = 10 * time.Minute
		w.seller("a")
		w.submit("a", 100)
		w.start()
		offsets := map[string]time.Duration{}
		for range 2 {
			tick := w.toTick()
			sleep(14 * time.Minute)
			polls := w.pollsOf("a", tick)
			for _, p := range polls {
				off := p.began.Sub(tick)
				if was, ok := offsets[p.order]; ok && (was-off).Abs() > time.Second {
					t.Errorf("%s moved from %s to %s", p.order, was, off)
				}
				offsets[p.order] = off
			}
			if len(polls) < 100 {
				t.Errorf("%d polls", len(polls))
			}
			for i := range 20 {
				w.submit("a", 1, func(s *order.Submission) { s.OrderID = fmt.Sprintf("new-%d", i) })
			}
		}
		w.close()
	})
}

// SPEC §4, "Spread" and "At start": an interrupted sweep goes on with the slots it had.
func TestAResumedSweepKeepsItsSlots(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.Spread = 10 * time.Minute
		w.seller("a")
		w.submit("a", 600)
		w.start()
		tick := w.toTick()
		sleep(2 * time.Minute)
		w.stop()
		w.start()
		sleep(10 * time.Second)
		if n := len(w.pollsOf("a", tick)); n > 160 {
			t.Errorf("%d of 600 polls in the first 130 s of a window of 600", n)
		}
		sleep(10 * time.Minute)
		if n := len(w.pollsOf("a", tick)); n != 600 {
			t.Errorf("%d polls, want 600", n)
		}
		w.close()
	})
}

// SPEC §4, "By hand": due_only before the first tick leaves no order out of it.
func TestDueOnlyBeforeTheFirstTick(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.seller("a")
		w.submit("a", 10)
		w.start()
		if _, err := w.s.StartSweep(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		sleep(time.Second)
		if n := w.total(); n != 10 {
			t.Errorf("%d polls by hand, want 10", n)
		}
		tick := w.toTick()
		sleep(time.Second)
		if n := len(w.pollsOf("a", tick)); n != 10 {
			t.Errorf("%d polls at the first tick, want 10", n)
		}
		w.close()
	})
}

// SPEC §3, SIGHUP: breaker_failures lowered to what a seller has had leaves it probed.
func TestLoweredBreakerFailures(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.BreakerFailures = 6
		w.seller("a", func(s *order.Seller) { s.MaxPerMinute = 4 })
		w.submit("a", 10)
		at := func(s *order.Seller) { s.StatusURL = "https://shared.example/" + s.ID + "/{order_id}" }
		for i := range 4 { // four sellers that reach no host: fewer than six
			id := fmt.Sprintf("h%d", i)
			w.seller(id, at)
			w.submit(id, 1)
		}
		var down atomic.Bool
		down.Store(true)
		w.script(func(seller, _ string, _ int) (order.Observation, time.Duration) {
			switch {
			case !down.Load():
				return processing(), 0
			case seller == "a":
				return timedOut(), 100 * time.Millisecond
			}
			return unreachable(), 0
		})
		w.start()
		w.toTick()
		sleep(10 * time.Second)
		w.cfg.BreakerFailures = 3
		if err := w.s.Reload(w.cfg); err != nil {
			t.Fatal(err)
		}
		down.Store(false)
		tick := w.toTick()
		sleep(5 * time.Minute)
		for _, id := range []string{"a", "h0", "h1", "h2", "h3"} {
			if len(w.pollsOf(id, tick)) == 0 {
				t.Errorf("%s is never polled again", id)
			}
		}
		w.close()
	})
}

// SPEC §4, "Breaker": a probe that fails after somebody else's answer closed the breaker is a failure like any other.
func TestALateProbeOpensTheBreakerAgain(t *testing.T) {
	now := time.Now()
	for _, limit := range []int{1, 2, 3} {
		b := breaker{}
		fail := func(probe bool) { b.failed(now, probe, b.failures+1 >= limit) }
		for range limit {
			fail(false)
		}
		b.newSweep()
		probe := b.begin()
		b.succeeded() // by hand
		for range limit - 1 {
			fail(false)
		}
		fail(probe)
		if !b.open {
			t.Errorf("limit %d: %d failures in a row, and not open", limit, b.failures)
		}
		b.newSweep()
		if ok, wake := b.may(now, limit, 0, nil); !ok {
			t.Errorf("limit %d: the next sweep begins without a probe (wake %s)", limit, wake)
		}
	}
}

// GUARANTEES, G7: a disk that refuses the sweep's own records crashes nothing; with space back one sweep runs, and none stays open.
func TestAFullDiskRefusesSweeps(t *testing.T) {
	for _, restart := range []bool{false, true} {
		virtual(t, func(t *testing.T, w *world) {
			f := w.faulty()
			w.cfg.Workers = 1
			w.seller("a")
			w.submit("a", 1000)
			w.script(func(string, string, int) (order.Observation, time.Duration) { return processing(), time.Second })
			w.start()
			w.toTick()
			sleep(time.Minute)
			f.full.Store(true)
			if restart {
				w.stop()
				sleep(time.Hour)
				w.start()
				sleep(time.Minute)
				select {
				case err := <-w.done:
					t.Fatalf("Run: %v", err)
				default:
				}
			} else {
				w.toTick()
				sleep(time.Minute)
			}
			f.full.Store(false)
			sleep(5 * time.Second)
			list := w.sweeps()
			if len(list) != 2 || list[0].Trigger != order.TriggerCatchUp || list[0].State != order.SweepRunning || list[1].State == order.SweepRunning {
				t.Errorf("restart %v: sweeps %+v", restart, list)
			}
			w.close()
		})
	}
}

// GUARANTEES, G7: a sweep by hand that the disk refuses costs the orders of the sweep that it closed nothing.
func TestARefusedSweepByHandLosesNoTick(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		f := w.faulty()
		w.cfg.Workers = 1
		w.seller("a")
		w.submit("a", 100)
		w.script(func(string, string, int) (order.Observation, time.Duration) { return processing(), time.Second })
		w.start()
		tick := w.toTick()
		sleep(10 * time.Second)
		f.full.Store(true)
		if _, err := w.s.StartSweep(t.Context(), false); !errors.Is(err, order.ErrNoSpace) {
			t.Errorf("StartSweep: %v", err)
		}
		f.full.Store(false)
		sleep(5 * time.Minute)
		polled := map[string]bool{}
		for _, p := range w.pollsOf("a", tick) {
			polled[p.order] = true
		}
		if len(polled) != 100 {
			t.Errorf("%d of 100 orders polled in this tick", len(polled))
		}
		w.close()
	})
}

// A seller that changes while the scheduler meets it for the first time is not polled as it was.
func TestASellerChangesWhileItIsMet(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		f := w.faulty()
		w.seller("a")
		w.submit("a", 10)
		var once sync.Once
		f.metAfter = func(order.Seller) {
			once.Do(func() {
				x, err := w.store.UpdateSeller(t.Context(), "a", func(s *order.Seller) error { s.Paused = true; return nil })
				if err != nil {
					t.Error(err)
				}
				w.s.SellerChanged(x)
			})
		}
		w.start()
		w.toTick()
		sleep(time.Minute)
		if n := w.total(); n != 0 {
			t.Errorf("%d polls of a paused seller", n)
		}
		w.close()
	})
}

// The record of a sweep that has ended is not overwritten by a commit that began before the end.
func TestASlowCommitReopensNoSweep(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		f := w.faulty()
		w.cfg.Workers = 4
		w.cfg.Cron = "@every 10s"
		w.seller("a")
		w.submit("a", 1000)
		w.script(func(string, string, int) (order.Observation, time.Duration) {
			return processing(), 100 * time.Millisecond
		})
		f.record = func(ctx context.Context, b *order.Batch) error {
			if books := b.Books; books != nil {
				b.Books = func() order.Sweep { return books() }
			}
			time.Sleep(700 * time.Millisecond)
			return f.Store.Record(ctx, b)
		}
		w.start()
		for range 30 {
			sleep(10 * time.Second)
		}
		w.stop()
		list := w.sweeps()
		for _, s := range list[1:] {
			if s.State == order.SweepRunning {
				t.Errorf("sweep %d is still running, it says", s.ID)
			}
		}
		w.closed = true
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
}

// SPEC §4: due = polled + skipped + left_to_seller + remaining, each order once, hand polls apart.
func TestAPollByHandIsNoneOfTheSweepsBooks(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.seller("a", func(s *order.Seller) { s.MaxConcurrency = 1 })
		w.submit("a", 10)
		w.seller("paused")
		w.submit("paused", 1)
		if _, err := w.store.UpdateSeller(t.Context(), "paused", func(s *order.Seller) error { s.Paused = true; return nil }); err != nil {
			t.Fatal(err)
		}
		w.script(func(string, string, int) (order.Observation, time.Duration) { return processing(), 20 * time.Minute })
		w.start()
		w.toTick()
		sleep(time.Minute)
		for _, id := range []string{"a-5", "paused-0"} {
			go func() { _, _, _ = w.s.PollNow(context.Background(), id) }()
		}
		sleep(time.Minute)
		if live, ok := w.s.LiveSweep(); !ok || live.Due != 10 {
			t.Errorf("live: due %d, want 10", live.Due)
		}
		w.toTick()
		if s := w.sweeps()[1]; s.Due != 10 || s.LeftToSeller != 10 {
			t.Errorf("books: %+v, want 10 due, all left to the seller", s)
		}
		w.close()
	})
}

// SPEC §4, "Ticks": @every counts from the last cron tick, after a SIGHUP too.
func TestReloadToEveryCountsFromTheLastTick(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.seller("a")
		w.submit("a", 1)
		w.start()
		tick := w.toTick()
		sleep(10 * time.Minute)
		w.cfg.Cron = "@every 12m"
		if err := w.s.Reload(w.cfg); err != nil {
			t.Fatal(err)
		}
		sleep(3 * time.Minute)
		if n := len(w.pollsOf("a", tick)); n != 2 {
			t.Errorf("%d polls, want the second one 12 minutes after the first", n)
		}
		w.close()
	})
}

// SPEC §5, "The deadline": of a sweep that went on after a restart nobody knows all polls; it ends no order that it skipped.
func TestAResumedSweepEndsNobodyItSkipped(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.BreakerProbes = nil
		w.seller("a", func(s *order.Seller) { s.MaxConcurrency = 1 })
		soon := w.wallTime().Add(10 * time.Minute)
		w.submit("a", 100, func(s *order.Submission) { s.Deadline = &soon })
		w.seller("well")
		w.submit("well", 1)
		var down atomic.Bool
		w.script(func(seller, _ string, _ int) (order.Observation, time.Duration) {
			switch {
			case seller != "a":
				return processing(), 0
			case down.Load():
				return timedOut(), time.Second
			}
			o := order.Observation{Outcome: order.HTTPError, Detail: "HTTP 500", Answered: true, HTTPStatus: 500}
			return o, time.Second
		})
		w.start()
		w.toTick() // the deadline is over
		sleep(8 * time.Second)
		w.stop()
		down.Store(true)
		w.start()
		sleep(5 * time.Minute)
		c := w.states()
		if c[order.StateFailed] > 15 {
			t.Errorf("%d orders ended, only those that were polled had their last chance", c[order.StateFailed])
		}
		w.close()
	})
}

// laterPage hands a page of due orders over long after it was read.
type laterPage struct {
	Store
	by time.Duration
}

func (l laterPage) DuePage(ctx context.Context, tick uint64, at time.Time, byHand bool, after order.Ref, limit int) (order.DuePage, error) {
	page, err := l.Store.DuePage(ctx, tick, at, byHand, after, limit)
	time.Sleep(l.by)
	return page, err
}

// SPEC §4, "Turns": older ticks come first, also when a poll is committed between the read of a page and its use.
func TestAPollCommittedWhileItsPageIsReadGoesToTheEnd(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.wrap = func(s Store) Store { return laterPage{s, 2 * time.Minute} }
		w.seller("slow", func(s *order.Seller) { s.MaxConcurrency = 1 })
		w.submit("slow", 3)
		w.script(func(string, string, int) (order.Observation, time.Duration) { return processing(), 7 * time.Minute })
		w.start()
		w.toTick() // order 0 from 2 min on, order 1 from 9 min on
		w.toTick() // the page shows 1 at 15 min as not polled, the scan takes it at 17 min; its poll ends at 16 min
		w.toTick()
		time.Sleep(15 * time.Minute)
		var got []string
		for _, p := range w.pollsOf("slow", time.Time{}) {
			got = append(got, p.order)
		}
		if want := "slow-0 slow-1 slow-2 slow-0 slow-1 slow-2"; strings.Join(got, " ") != want {
			t.Errorf("polled in the order %v, want %s", got, want)
		}
		w.close()
	})
}
