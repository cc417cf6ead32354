package scheduler

import (
	"fmt"
	"testing"
	"time"

	"poller/order"
)

// SPEC §4, "Turns": within a lane older ticks come first. A new order is no older than the last tick: a
// seller that gets as many new orders as it has time for does not starve those that it has.
func TestNewOrdersDontGoBeforeWhatEarlierTicksLeft(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.seller("slow", func(s *order.Seller) { s.MaxConcurrency = 1 })
		w.submit("slow", 20)
		w.script(func(string, string, int) (order.Observation, time.Duration) { return processing(), 80 * time.Second }) // 11 or 12 a tick
		w.start()
		for tick := range 6 {
			w.toTick()
			sleep(time.Minute)
			w.submit("slow", 10, func(s *order.Submission) { s.OrderID = fmt.Sprintf("new-%d-%s", tick, s.OrderID) })
		}
		w.toTick()
		polled := map[string]int{}
		for _, p := range w.pollsOf("slow", time.Time{}) {
			polled[p.order]++
		}
		for i := range 20 {
			if id := fmt.Sprintf("slow-%d", i); polled[id] == 0 || i < 10 && polled[id] < 2 {
				t.Errorf("%s was polled %d times, while %d others were", id, polled[id], len(polled))
			}
		}
		for i := range 10 { // of the first tick: they came before the others were due again
			if id := fmt.Sprintf("new-0-slow-%d", i); polled[id] == 0 {
				t.Errorf("%s was never polled", id)
			}
		}
		w.close()
	})
}

// SPEC §4, "By hand" and "Ticks": a new order is taken by the next sweep, which may be one that takes no number, once.
func TestDueOnlyTakesNewOrdersAndWhatWasLeft(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.Spread = 10 * time.Minute // only cron sweeps spread
		w.seller("a")
		w.submit("a", 40)
		w.start()
		tick := w.toTick()
		sleep(5 * time.Minute)
		w.submit("a", 10, func(s *order.Submission) { s.OrderID = "new-" + s.OrderID })
		if _, err := w.s.StartSweep(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		sleep(time.Second)
		polled := map[string]int{}
		for _, p := range w.pollsOf("a", tick) {
			polled[p.order]++
		}
		for id, n := range polled {
			if n != 1 {
				t.Errorf("%s was polled %d times", id, n)
			}
		}
		if s := w.sweeps()[0]; len(polled) != 50 || s.State != order.SweepDone || s.Due != s.Polled {
			t.Errorf("%d orders of 50 were polled, books %+v", len(polled), s)
		}
		w.close()
	})
}

// Issue: a tick that comes while orders are left costs their seller no pause, however long its orders take to be
// read, and no second copy of the queue.
func TestWhatIsLeftGoesOnWhileTheNextSweepReads(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.wrap = func(s Store) Store { return laterPage{s, time.Minute} }
		w.seller("big", func(s *order.Seller) { s.MaxConcurrency = 1 })
		const orders = 3 * pageSize
		w.submit("big", orders)
		w.script(func(string, string, int) (order.Observation, time.Duration) { return processing(), time.Second })
		w.start()
		w.toTick()
		tick := w.toTick()
		sleep(2*time.Minute + 30*time.Second)
		if n := len(w.pollsOf("big", tick)); n < 148 {
			t.Errorf("%d polls of 1 s in 150 s while pages were read", n)
		}
		w.s.mu.Lock()
		l := w.s.lanes[1]
		if l.fresh == nil {
			t.Error("the seller's orders are read by now")
		} else if n := l.queue.len() + l.fresh.len(); n > orders {
			t.Errorf("%d orders wait, there are %d", n, orders)
		}
		w.s.mu.Unlock()
		sleep(10 * time.Minute)
		polled := map[string]int{}
		for _, p := range w.pollsOf("big", time.Time{}) {
			if polled[p.order]++; polled[p.order] > 1 {
				t.Fatalf("%s was polled again while %d orders waited for their first poll", p.order, orders-len(polled))
			}
		}
		w.close()
	})
}

// SPEC §4, "One sweep at a time": what a sweep left goes first in the next one and waits for no slot.
func TestWhatIsLeftWaitsForNoSlot(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.Spread = 14 * time.Minute
		w.seller("slow", func(s *order.Seller) { s.MaxConcurrency = 1 })
		w.submit("slow", 200)
		w.script(func(string, string, int) (order.Observation, time.Duration) { return processing(), 6 * time.Second }) // 150 a tick at most
		w.start()
		first := w.toTick()
		tick := w.toTick()
		sleep(14 * time.Minute)
		polled := map[string]bool{}
		for _, p := range w.pollsOf("slow", first) {
			if p.began.Before(tick) {
				polled[p.order] = true
			}
		}
		left := 200 - len(polled)
		if left < 50 {
			t.Fatalf("only %d were left", left)
		}
		again := w.pollsOf("slow", tick)
		if len(again) < left {
			t.Fatalf("%d polls in the next sweep, %d orders were left", len(again), left)
		}
		for i, p := range again[:left] {
			if polled[p.order] || p.began.Sub(tick) > time.Duration(i+1)*6*time.Second {
				t.Errorf("poll %d, %s after the tick, was of %s, polled at the tick before: %v", i, p.began.Sub(tick), p.order, polled[p.order])
			}
		}
		w.close()
	})
}

// SPEC §4, the books: an order that ended while it waited is not due in the next sweep.
func TestAnOrderThatEndedWhileItWaitedIsNotDueAgain(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.BreakerProbes = nil
		w.seller("dead")
		w.submit("dead", 40)
		w.script(func(string, string, int) (order.Observation, time.Duration) { return timedOut(), time.Second })
		w.start()
		w.toTick()
		sleep(time.Minute)
		for i := range 30 {
			_, err := w.store.UpdateOrder(t.Context(), fmt.Sprintf("dead-%d", 10+i), func(o order.Order) (order.Decision, error) {
				return order.Cancel(o, w.wallTime().Truncate(time.Millisecond)), nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		w.toTick()
		sleep(time.Minute)
		if s := w.sweeps()[0]; s.State != order.SweepDone || s.Due != 10 || s.Skipped != 9 {
			t.Errorf("books: %+v, want 10 due, 9 of them skipped after one probe", s)
		}
		w.close()
	})
}
