package scheduler

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"poller/order"
)

// SPEC §4, "Ticks": every due order is polled once per tick; a new order is taken by the next sweep.
func TestEachDueOrderIsPolledOncePerTick(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		for i := range 20 {
			id := fmt.Sprintf("s%d", i)
			w.seller(id)
			w.submit(id, 30)
		}
		w.start()
		for tick := range 3 {
			w.toTick()
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := w.total(); n != 600*(tick+1) {
				t.Fatalf("after tick %d: %d polls, want %d", tick+1, n, 600*(tick+1))
			}
		}
		list := w.sweeps()
		if len(list) != 3 || list[0].State != order.SweepDone || list[0].Due != 600 || list[0].Polled != 600 || list[0].Outcomes[order.Processing] != 600 {
			t.Errorf("sweeps: %+v", list)
		}
		w.seller("late")
		w.submit("late", 1)
		tick := w.toTick()
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(w.pollsOf("late", tick)); n != 1 {
			t.Errorf("a new order was polled %d times in the next sweep", n)
		}
		w.close()
	})
}

// SPEC §4, "Breaker": a dead seller costs 5 polls in its first sweep and 3 in later ones.
func TestADeadSellerCostsFivePollsLaterThree(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.seller("dead")
		w.submit("dead", 200)
		w.seller("well")
		w.submit("well", 50)
		w.script(func(seller, _ string, _ int) (order.Observation, time.Duration) {
			if seller == "dead" {
				return timedOut(), 8 * time.Second
			}
			return processing(), 10 * time.Millisecond
		})
		w.start()
		for i, want := range []int{5, 3, 3} {
			tick := w.toTick()
			time.Sleep(14 * time.Minute)
			synctest.Wait()
			if n := len(w.pollsOf("dead", tick)); n != want {
				t.Errorf("sweep %d: %d polls of the dead seller, want %d", i+1, n, want)
			}
			wells := w.pollsOf("well", tick)
			if len(wells) != 50 {
				t.Errorf("sweep %d: %d polls of the seller that is well, want 50", i+1, len(wells))
			}
			for _, p := range wells {
				if p.ended.Sub(tick) > 2*time.Second {
					t.Errorf("sweep %d: a quick poll ended %s after the tick", i+1, p.ended.Sub(tick))
				}
			}
		}
		if h, b := w.s.SellerHealth(1); b != order.BreakerOpen || h.FailuresInARow < 3 {
			t.Errorf("health %+v, breaker %s", h, b)
		}
		// It answers again: the first probe of the next sweep lets the lane go on.
		w.script(func(string, string, int) (order.Observation, time.Duration) { return processing(), 0 })
		tick := w.toTick()
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(w.pollsOf("dead", tick)); n != 200 {
			t.Errorf("back again: %d of 200 orders polled", n)
		}
		w.close()
	})
}

// Issue: one seller that answers after a second and has more orders than fit between two ticks, beside quick
// ones, over five ticks: the quick ones keep their cadence, each order of the slow one gets its turn.
func TestASlowSellerMakesOnlyItsOwnOrdersWait(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.seller("slow")
		w.submit("slow", 5000) // 4 at once, 1 s each: 3,600 in 15 minutes
		w.seller("quick")
		w.submit("quick", 100)
		w.script(func(seller, _ string, _ int) (order.Observation, time.Duration) {
			if seller == "slow" {
				return processing(), time.Second
			}
			return processing(), 5 * time.Millisecond
		})
		w.start()
		for range 5 {
			tick := w.toTick()
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if n := len(w.pollsOf("quick", tick)); n != 100 {
				t.Errorf("%d quick polls in the first two seconds, want 100", n)
			}
		}
		w.toTick()
		polled := map[string]int{}
		for _, p := range w.pollsOf("slow", time.Time{}) {
			polled[p.order]++
		}
		least, most := 1<<30, 0
		for _, n := range polled {
			least, most = min(least, n), max(most, n)
		}
		if len(polled) != 5000 || most-least > 1 {
			t.Errorf("%d of 5000 slow orders polled, %d to %d times each", len(polled), least, most)
		}
		for _, s := range w.sweeps()[1:] {
			if s.State != order.SweepDone || s.LeftToSeller == 0 || s.Remaining != 0 {
				t.Errorf("a seller's own slowness is in the books as %+v", s)
			}
		}
		w.close()
	})
}

// SPEC §4: a tick that comes before the sweep is through closes it; what it left goes first.
func TestAnOverlongSweepIsClosedAndCarriedOver(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.Workers = 2
		for i := range 4 {
			id := fmt.Sprintf("s%d", i)
			w.seller(id)
			w.submit(id, 600) // 2 workers, 1 s each: 1,800 of 2,400 in 15 minutes
		}
		w.script(func(string, string, int) (order.Observation, time.Duration) { return processing(), time.Second })
		w.start()
		w.toTick()
		w.toTick()
		list := w.sweeps()
		if first := list[1]; first.State != order.SweepOverrun || first.Remaining < 590 || first.Remaining > 602 {
			t.Errorf("the first sweep's books: %+v", first)
		}
		time.Sleep(5*time.Minute + 5*time.Second)
		synctest.Wait()
		polled := map[string]int{}
		w.mu.Lock()
		for _, p := range w.polls {
			polled[p.order]++
		}
		w.mu.Unlock()
		if len(polled) != 2400 {
			t.Errorf("five minutes into the second sweep %d of 2400 orders were polled at all: what is left over goes first", len(polled))
		}
		w.close()
	})
}

// SPEC §4, "Throttling": a seller that allows ten polls a second and answers 429 with Retry-After: 1 to the rest.
func TestAThrottledLaneRestsAndGoesOnInTheSameSweep(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.seller("picky")
		w.submit("picky", 500)
		var window time.Time
		used := 0
		w.script(func(string, string, int) (order.Observation, time.Duration) {
			if now := time.Now(); now.Sub(window) >= time.Second {
				window, used = now, 0
			}
			if used++; used > 10 {
				return throttled(time.Second), time.Millisecond
			}
			return processing(), time.Millisecond
		})
		w.start()
		w.toTick()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		s := w.sweeps()[0]
		if s.State != order.SweepDone || s.Polled != 500 || s.Outcomes[order.Processing] != 500 || s.Outcomes[order.Throttled] == 0 {
			t.Errorf("books: %+v", s)
		}
		w.close()
	})
}

// SPEC §4, "Throttling": without a readable Retry-After 5 s, doubling to 60 s.
func TestARestWithoutRetryAfterDoubles(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.seller("picky")
		w.submit("picky", 1)
		w.script(func(_, _ string, n int) (order.Observation, time.Duration) {
			if n < 7 {
				return throttled(0), 0
			}
			return processing(), 0
		})
		w.start()
		tick := w.toTick()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		var gaps []time.Duration
		polls := w.pollsOf("picky", tick)
		for i := 1; i < len(polls); i++ {
			gaps = append(gaps, polls[i].began.Sub(polls[i-1].began))
		}
		if got := fmt.Sprint(gaps); got != "[5s 10s 20s 40s 1m0s 1m0s 1m0s]" {
			t.Errorf("rests %s", got)
		}
		w.close()
	})
}

// Issue: at 60 of 100 sellers half of the orders begin to answer 404: orders of 20 sellers fail, those of 40
// are held; one that recovers is freed; release ends the rest.
func TestTheFuseHoldsWhatTooManySellersWouldLose(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		for i := range 100 {
			id := fmt.Sprintf("s%02d", i)
			w.seller(id)
			w.submit(id, 4)
		}
		recovers := ""
		w.script(func(seller, id string, n int) (order.Observation, time.Duration) {
			if seller < "s60" && (id[len(id)-1]-'0')%2 == 0 && n > 0 && id != recovers {
				return notFound(), 0
			}
			return processing(), 0
		})
		w.start()
		for range 12 { // the clock runs out after two hours
			w.toTick()
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		if c, held := w.states(), w.store.Held(); c[order.StateFailed] != 40 || held != 80 {
			t.Fatalf("failed %d, held %d; want 40 (of 20 sellers) and 80 (of 40)", c[order.StateFailed], held)
		}
		for i := range 60 {
			if o := w.order(fmt.Sprintf("s%02d-0", i)); o.Held != nil {
				w.mu.Lock()
				recovers = o.ID
				w.mu.Unlock()
				break
			}
		}
		w.toTick()
		time.Sleep(time.Minute)
		synctest.Wait()
		if o := w.order(recovers); o.Held != nil || o.State != order.StateProcessing {
			t.Errorf("an order that recovered is still held: %+v", o.Held)
		}
		if n, more, err := w.store.Release(t.Context(), "", 1000, w.wallTime()); n != 79 || more || err != nil {
			t.Errorf("released %d, more %v, %v; want 79", n, more, err)
		}
		if c := w.states(); c[order.StateFailed] != 119 {
			t.Errorf("failed after the release: %d, want 119", c[order.StateFailed])
		}
		w.close()
	})
}

// Issue: the network of all sellers is cut for two ticks (SPEC §5, "Ours or theirs").
func TestACutNetworkIsOurOwnFault(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		for i := range 30 {
			id := fmt.Sprintf("s%02d", i)
			w.seller(id)
			w.submit(id, 10)
		}
		cut := false
		w.script(func(string, string, int) (order.Observation, time.Duration) {
			if cut {
				return unreachable(), time.Millisecond
			}
			return processing(), time.Millisecond
		})
		w.start()
		w.toTick()
		time.Sleep(10 * time.Minute)
		w.mu.Lock()
		cut = true
		w.mu.Unlock()
		w.toTick()
		w.toTick()
		time.Sleep(14 * time.Minute)
		synctest.Wait()
		blamed, ours := int64(0), int64(0)
		for _, s := range w.sweeps()[:2] {
			ours += s.Outcomes[order.LocalFault]
		}
		for i := range 30 {
			for j := range 10 {
				o := w.order(fmt.Sprintf("s%02d-%d", i, j))
				if o.Trouble != nil {
					blamed++
				}
				if o.State != order.StateProcessing {
					t.Errorf("%s ended: %+v", o.ID, o.Failure)
				}
			}
		}
		if blamed > 12 {
			t.Errorf("%d orders were blamed on their sellers while the network was cut", blamed)
		}
		if ours < 300 {
			t.Errorf("only %d polls were local faults over half an hour at one in 5 s", ours)
		}
		back := time.Now()
		w.mu.Lock()
		cut = false
		w.mu.Unlock()
		time.Sleep(8 * time.Second)
		synctest.Wait()
		again := map[string]bool{}
		w.mu.Lock()
		for _, p := range w.polls {
			if p.began.After(back) && p.outcome == order.Processing {
				again[p.order] = true
			}
		}
		w.mu.Unlock()
		if len(again) < 250 {
			t.Errorf("eight seconds after the network came back %d of 300 orders were polled", len(again))
		}
		w.close()
	})
}

// SPEC §4: a stop in the middle of a sweep, then a start: the sweep goes on under its id, and only the rest is polled.
func TestAnInterruptedSweepGoesOnUnderItsID(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.Workers = 4
		w.seller("a")
		w.submit("a", 1000)
		w.script(func(string, string, int) (order.Observation, time.Duration) { return processing(), time.Second })
		w.start()
		w.toTick()
		time.Sleep(100 * time.Second)
		w.stop()
		first := len(w.pollsOf("a", time.Time{}))
		if first < 396 || first > 404 {
			t.Fatalf("%d polls before the stop", first)
		}
		w.start()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		polled := map[string]int{}
		for _, p := range w.pollsOf("a", time.Time{}) {
			polled[p.order]++
		}
		for id, n := range polled {
			if n != 1 {
				t.Errorf("%s polled %d times", id, n)
			}
		}
		if s := w.sweeps(); len(polled) != 1000 || len(s) != 1 || s[0].State != order.SweepDone || s[0].Polled != 1000 {
			t.Errorf("%d orders polled, sweeps %+v", len(polled), s)
		}
		w.close()
	})
}

// SPEC §4, "At start": however many ticks were missed, one sweep catches up.
func TestMissedTicksAreCaughtUpOnce(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.seller("a")
		w.submit("a", 10)
		w.start()
		w.toTick()
		time.Sleep(time.Minute)
		w.stop()
		time.Sleep(24 * time.Hour)
		again := time.Now()
		w.start()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(w.pollsOf("a", again)); n != 10 {
			t.Errorf("%d polls after a day's outage, want one per order", n)
		}
		if s := w.sweeps(); len(s) != 2 || s[0].Trigger != order.TriggerCatchUp {
			t.Errorf("sweeps: %+v", s)
		}
		w.close()
	})
}

// SPEC §4, "Spread": each order at its own steady offset, over the window and no longer.
func TestSpreadIsFlatAndSteady(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.Spread = 10 * time.Minute
		w.cfg.PerSeller = 16
		for i := range 20 {
			id := fmt.Sprintf("s%02d", i)
			w.seller(id)
			w.submit(id, 300)
		}
		w.start()
		offsets := map[string]time.Duration{}
		for i := range 2 {
			tick := w.toTick()
			time.Sleep(14 * time.Minute)
			synctest.Wait()
			minutes := [10]int{}
			w.mu.Lock()
			for _, p := range w.polls {
				if p.began.Before(tick) {
					continue
				}
				off := p.began.Sub(tick)
				if off >= 10*time.Minute {
					t.Errorf("a poll %s after the tick", off)
					continue
				}
				minutes[int(off/time.Minute)]++
				if was, ok := offsets[p.order]; ok && (was-off).Abs() > 50*time.Millisecond {
					t.Errorf("%s moved from %s to %s", p.order, was, off)
				}
				offsets[p.order] = off
			}
			w.mu.Unlock()
			for m, n := range minutes {
				if n < 500 || n > 700 { // 600 each on average
					t.Errorf("sweep %d: %d polls in minute %d", i, n, m)
				}
			}
		}
		w.close()
	})
}

// SPEC §4, "Breaker": a host that no connection reaches is left alone once three sellers failed there; and one
// bad seller can't open it for its neighbours.
func TestAHostIsLeftAloneOnlyForThreeSellers(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		at := func(s *order.Seller) { s.StatusURL = "https://shared.example/" + s.ID + "/{order_id}" }
		for i := range 40 {
			id := fmt.Sprintf("s%02d", i)
			w.seller(id, at)
			w.submit(id, 5)
		}
		w.script(func(string, string, int) (order.Observation, time.Duration) {
			return unreachable(), 100 * time.Millisecond
		})
		w.start()
		tick := w.toTick()
		time.Sleep(14 * time.Minute)
		synctest.Wait()
		n := 0
		for i := range 40 {
			n += len(w.pollsOf(fmt.Sprintf("s%02d", i), tick))
		}
		if n > 6 {
			t.Errorf("a dead host of 40 sellers cost %d polls", n)
		}
		w.script(func(seller, _ string, _ int) (order.Observation, time.Duration) {
			if seller == "s00" {
				return unreachable(), 0
			}
			return processing(), 0
		})
		tick = w.toTick()
		time.Sleep(2 * time.Minute) // the bad neighbour had the sweep's first probe, another seller the second
		synctest.Wait()
		for i := 1; i < 40; i++ {
			if got := len(w.pollsOf(fmt.Sprintf("s%02d", i), tick)); got != 5 {
				t.Errorf("s%02d: %d polls beside one bad neighbour", i, got)
			}
		}
		w.close()
	})
}

// Issue: one hanging seller with 2,000 orders beside 50 quick ones, on one host: the quick ones are all polled
// within two seconds of the sweep's start, the hanging one costs 3 polls and its two probes.
func TestAHangingSellerDelaysNobodyOnItsHost(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		at := func(s *order.Seller) { s.StatusURL = "https://shared.example/" + s.ID + "/{order_id}" }
		w.seller("hanging", at)
		w.submit("hanging", 2000)
		for i := range 50 {
			id := fmt.Sprintf("s%02d", i)
			w.seller(id, at)
			w.submit(id, 20)
		}
		w.script(func(seller, _ string, _ int) (order.Observation, time.Duration) {
			if seller == "hanging" {
				return timedOut(), 8 * time.Second
			}
			return processing(), 5 * time.Millisecond
		})
		w.start()
		tick := w.toTick()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for i := range 50 {
			if n := len(w.pollsOf(fmt.Sprintf("s%02d", i), tick)); n != 20 {
				t.Errorf("s%02d: %d of 20 polled within two seconds", i, n)
			}
		}
		time.Sleep(12 * time.Minute)
		synctest.Wait()
		if n := len(w.pollsOf("hanging", tick)); n != 5 {
			t.Errorf("the hanging seller cost %d polls, want 3 and two probes", n)
		}
		if s := w.sweeps()[0]; s.State != order.SweepDone || s.Skipped != 1995 || s.Polled != 1005 {
			t.Errorf("books: %+v", s)
		}
		w.close()
	})
}
