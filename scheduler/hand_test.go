package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poller/order"
)

// SPEC §6, POST …/poll: polls now, joins a poll in flight, 409 once ended; and the sweep does not poll it again.
func TestPollNow(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.seller("a")
		w.submit("a", 3)
		w.script(func(_, id string, n int) (order.Observation, time.Duration) {
			if id == "a-1" && n == 0 {
				return completed("done"), time.Second
			}
			return processing(), time.Second
		})
		w.start()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				obs, o, err := w.s.PollNow(t.Context(), "a-1")
				if err != nil || obs.Outcome != order.Completed || o.State != order.StateCompleted {
					t.Errorf("PollNow: %s, %s, %v", obs.Outcome, o.State, err)
				}
			})
		}
		wg.Wait()
		if n := len(w.pollsOf("a", time.Time{})); n != 1 {
			t.Errorf("five calls made %d polls, want one that they join", n)
		}
		if _, _, err := w.s.PollNow(t.Context(), "a-1"); !errors.Is(err, order.ErrEnded) {
			t.Errorf("a second poll of an ended order: %v", err)
		}
		if _, _, err := w.s.PollNow(t.Context(), "nobody"); !errors.Is(err, order.ErrNotFound) {
			t.Errorf("an unknown order: %v", err)
		}
		w.toTick() // both others
		time.Sleep(time.Minute)
		if _, err := w.s.StartSweep(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(w.pollsOf("a", time.Time{})); n != 3 {
			t.Errorf("%d polls, want 3: nothing was due for the second sweep", n)
		}
		w.close()
	})
}

// SPEC §4, "By hand": all processing orders, those of paused sellers and with a not_before to come excepted.
func TestASweepByHandTakesEveryOrder(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		for _, id := range []string{"a", "resting", "paused"} {
			w.seller(id)
			w.submit(id, 10)
		}
		pause := time.Duration(0)
		w.script(func(seller, _ string, _ int) (order.Observation, time.Duration) {
			o := processing()
			if seller == "resting" {
				pause = 10 * time.Minute
				o.RetryAfter = &pause
			}
			return o, 0
		})
		w.start()
		w.toTick()
		time.Sleep(time.Minute)
		x, err := w.store.UpdateSeller(t.Context(), "paused", func(s *order.Seller) error { s.Paused = true; return nil })
		if err != nil {
			t.Fatal(err)
		}
		w.s.SellerChanged(x)
		at := time.Now()
		if _, err := w.s.StartSweep(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for id, want := range map[string]int{"a": 10, "resting": 0, "paused": 0} {
			if n := len(w.pollsOf(id, at)); n != want {
				t.Errorf("%s: %d polls by hand, want %d", id, n, want)
			}
		}
		if s := w.sweeps(); s[0].Trigger != order.TriggerManual || s[0].Tick != s[1].Tick+1 || s[0].Due != 10 {
			t.Errorf("sweeps: %+v", s)
		}
		tick := w.toTick() // ten minutes are over
		time.Sleep(time.Minute)
		synctest.Wait()
		for id, want := range map[string]int{"a": 10, "resting": 10, "paused": 0} {
			if n := len(w.pollsOf(id, tick)); n != want {
				t.Errorf("%s: %d polls at the next tick, want %d", id, n, want)
			}
		}
		if p := w.order("paused-0"); !w.s.NextPoll(&p).IsZero() {
			t.Error("an order of a paused seller has a next_poll_at")
		}
		a := w.order("a-0")
		if got := w.s.NextPoll(&a); got.Sub(tick) != 15*time.Minute {
			t.Errorf("next_poll_at %s after the tick", got.Sub(tick))
		}
		w.close()
	})
}

// SPEC §4, "By hand": 409 while another one started by hand still has orders that wait for nobody.
func TestTwoSweepsByHand(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.Workers = 1
		w.seller("a")
		w.submit("a", 100)
		w.script(func(string, string, int) (order.Observation, time.Duration) { return processing(), time.Second })
		w.start()
		if _, err := w.s.StartSweep(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if _, err := w.s.StartSweep(t.Context(), false); !errors.Is(err, order.ErrConflict) {
			t.Errorf("a second sweep by hand: %v", err)
		}
		time.Sleep(100 * time.Second)
		if _, err := w.s.StartSweep(t.Context(), false); err != nil {
			t.Errorf("after the first one ended: %v", err)
		}
		w.close()
	})
}

// SPEC §4, "Our own trouble": below min_free no poll starts and ticks take no number; with space back one sweep starts as at start.
func TestBelowMinFreeNothingStarts(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.seller("a")
		w.submit("a", 10)
		w.start()
		w.mu.Lock()
		w.enough = false
		w.mu.Unlock()
		w.toTick()
		w.toTick()
		if n := w.total(); n != 0 {
			t.Errorf("%d polls without space", n)
		}
		if tick, _, err := w.store.LastTick(t.Context()); tick != 0 || err != nil {
			t.Errorf("tick %d, %v", tick, err)
		}
		if _, _, err := w.s.PollNow(t.Context(), "a-0"); !errors.Is(err, order.ErrNoSpace) {
			t.Errorf("poll now: %v", err)
		}
		w.mu.Lock()
		w.enough = true
		w.mu.Unlock()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if s := w.sweeps(); len(s) != 1 || s[0].Trigger != order.TriggerCatchUp || w.total() != 10 {
			t.Errorf("with space back: %d polls, sweeps %+v", w.total(), s)
		}
		w.close()
	})
}

// SPEC §4: a bad outcome of a poll begun before the endpoint became another one is dropped: breaker closed, order not polled.
func TestABadOutcomeOfAnOldEndpointIsDropped(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.seller("a")
		w.submit("a", 1)
		w.script(func(_, _ string, n int) (order.Observation, time.Duration) {
			if n == 0 {
				return notFound(), 5 * time.Second
			}
			return processing(), 0
		})
		w.start()
		w.toTick()
		time.Sleep(time.Second)
		w.s.SellerChanged(w.seller("a", func(s *order.Seller) { s.StatusURL = "https://other.example/{order_id}" }))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if o := w.order("a-0"); o.Polls != 1 || o.LastOutcome != order.Processing || o.Trouble != nil {
			t.Errorf("polls %d, last outcome %s, trouble %+v", o.Polls, o.LastOutcome, o.Trouble)
		}
		w.close()
	})
}

// SPEC §4, "Stop": polls in flight finish within shutdown_timeout, or are cut off and count for nothing.
func TestStop(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.seller("a")
		w.submit("a", 1)
		w.seller("b")
		w.submit("b", 1)
		w.script(func(seller, _ string, _ int) (order.Observation, time.Duration) {
			if seller == "a" {
				return completed("in time"), 5 * time.Second
			}
			return completed("too late"), 50 * time.Second
		})
		w.start()
		w.toTick()
		time.Sleep(time.Second)
		at := time.Now()
		w.stop()
		if took := time.Since(at); took > 16*time.Second {
			t.Errorf("the stop took %s", took)
		}
		if o := w.order("a-0"); o.State != order.StateCompleted {
			t.Errorf("a poll that ended in time: %s", o.State)
		}
		if o := w.order("b-0"); o.State != order.StateProcessing || o.Polls != 0 {
			t.Errorf("a poll that was cut off: %s, %d polls", o.State, o.Polls)
		}
		if _, _, err := w.s.PollNow(context.Background(), "b-0"); !errors.Is(err, order.ErrStopping) {
			t.Errorf("a poll after the stop: %v", err)
		}
		if _, err := w.s.StartSweep(context.Background(), false); !errors.Is(err, order.ErrStopping) {
			t.Errorf("a sweep after the stop: %v", err)
		}
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
}

// SPEC §2/§4: max_concurrency and max_per_minute (in any 60 s) of a seller hold; workers and per_host too.
func TestCapsHold(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.Workers, w.cfg.PerHost = 10, 6
		w.seller("rated", func(s *order.Seller) { s.MaxPerMinute = 30 })
		w.submit("rated", 100)
		w.seller("single", func(s *order.Seller) { s.MaxConcurrency = 1 })
		w.submit("single", 50)
		shared := func(s *order.Seller) { s.StatusURL = "https://shared.example/" + s.ID + "/{order_id}" }
		for i := range 5 {
			id := fmt.Sprintf("h%d", i)
			w.seller(id, shared)
			w.submit(id, 100)
		}
		w.script(func(string, string, int) (order.Observation, time.Duration) {
			return processing(), 200 * time.Millisecond
		})
		w.start()
		w.toTick()
		time.Sleep(14 * time.Minute)
		synctest.Wait()
		w.mu.Lock()
		most := w.most
		w.mu.Unlock()
		if most > 10 {
			t.Errorf("%d polls at once, workers 10", most)
		}
		rated := w.pollsOf("rated", time.Time{})
		if len(rated) != 100 {
			t.Errorf("rated: %d of 100 polled", len(rated))
		}
		for i := 30; i < len(rated); i++ {
			if d := rated[i].began.Sub(rated[i-30].began); d < time.Minute {
				t.Errorf("31 polls within %s of a seller that allows 30 in any 60 s", d)
			}
		}
		overlap := func(polls []seenPoll) (most int) {
			for _, p := range polls {
				n := 0
				for _, q := range polls {
					if !q.began.After(p.began) && q.ended.After(p.began) {
						n++
					}
				}
				most = max(most, n)
			}
			return most
		}
		if n := overlap(w.pollsOf("single", time.Time{})); n != 1 {
			t.Errorf("single: %d at once", n)
		}
		var host []seenPoll
		for i := range 5 {
			host = append(host, w.pollsOf(fmt.Sprintf("h%d", i), time.Time{})...)
		}
		if n := overlap(host); n > 6 {
			t.Errorf("%d polls at once to one host, per_host 6", n)
		}
		w.close()
	})
}

// SPEC §5, "The deadline": skipped orders past their deadline end at the close of a whole cron sweep, when evidence allows.
func TestDeadlineOfSkippedOrders(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.Policy.Deadline = 20 * time.Minute
		w.seller("dead")
		w.submit("dead", 100)
		w.seller("well")
		w.submit("well", 5, func(s *order.Submission) {
			d := w.wallTime().Add(24 * time.Hour).Truncate(time.Millisecond)
			s.Deadline = &d
		})
		w.script(func(seller, _ string, _ int) (order.Observation, time.Duration) {
			if seller == "dead" {
				return timedOut(), 8 * time.Second
			}
			return processing(), time.Millisecond
		})
		w.start()
		for range 4 {
			w.toTick()
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		if c := w.states(); c[order.StateFailed] != 100 || c[order.StateProcessing] != 5 {
			t.Errorf("states %v: want all 100 orders of the dead seller failed", c)
		}
		if o := w.order("dead-99"); o.Failure == nil || o.Failure.Code != order.CodeDeadlineExceeded {
			t.Errorf("failure %+v", o.Failure)
		}
		w.close()
	})
}

// SPEC §4, "Turns": orders whose last poll got no answer have one turn in ten while others are due.
func TestUnansweredOrdersHaveOneTurnInTen(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.seller("a", func(s *order.Seller) { s.MaxConcurrency = 1 })
		w.submit("a", 120)
		hangs := func(id string) bool { var i int; _, _ = fmt.Sscanf(id, "a-%d", &i); return i%5 == 0 } // 24
		w.script(func(_, id string, _ int) (order.Observation, time.Duration) {
			if hangs(id) {
				return timedOut(), 100 * time.Millisecond
			}
			return processing(), 100 * time.Millisecond
		})
		w.start()
		w.toTick()
		tick := w.toTick()
		time.Sleep(14 * time.Minute)
		synctest.Wait()
		polls := w.pollsOf("a", tick)
		// When the others are done, those that hang come one after the other, which opens the breaker.
		if len(polls) < 105 {
			t.Fatalf("%d of 120 polled", len(polls))
		}
		early := 0
		for _, p := range polls[:100] {
			if hangs(p.order) {
				early++
			}
		}
		if early < 8 || early > 12 {
			t.Errorf("%d of the first 100 turns went to orders that hang, want about 10", early)
		}
		w.close()
	})
}
