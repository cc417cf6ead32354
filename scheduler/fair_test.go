package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"poller/order"
)

// seen returns all polls since the given time, in the order in which they began.
func (w *world) seen(since time.Time) (out []seenPoll) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.polls {
		if !p.began.Before(since) {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b seenPoll) int { return a.began.Compare(b.began) })
	return out
}

// mostAtOnce is how many of the polls were in flight at the same time, by key. No poll may have taken no time.
func mostAtOnce(polls []seenPoll, key func(seenPoll) string) map[string]int {
	type change struct {
		at  time.Time
		key string
		by  int
	}
	var all []change
	for _, p := range polls {
		all = append(all, change{p.began, key(p), 1}, change{p.ended, key(p), -1})
	}
	// Of one instant ends come first: they make the room that the next poll takes.
	slices.SortFunc(all, func(a, b change) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.by, b.by)) })
	now, most := map[string]int{}, map[string]int{}
	for _, c := range all {
		now[c.key] += c.by
		most[c.key] = max(most[c.key], now[c.key])
	}
	return most
}

// GUARANTEES, G13: after an outage of a day each order gets one poll, under the usual caps.
func TestADaysOutageIsCaughtUpWithoutAStorm(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.Workers, w.cfg.PerHost = 40, 6
		const sellers, each = 40, 50
		host := func(seller string) string { return "host" + seller[len(seller)-1:] } // ten, of four sellers each
		caps := map[string]int{}
		for i := range sellers {
			id := fmt.Sprintf("s%02d", i)
			caps[id] = 1 + i%5 // 5: the seller has said nothing, and per_seller holds
			w.seller(id, func(s *order.Seller) {
				s.StatusURL = "https://" + host(id) + ".example/" + id + "/{order_id}"
				if caps[id] < 5 {
					s.MaxConcurrency = caps[id]
				}
			})
			caps[id] = min(caps[id], w.cfg.PerSeller)
			w.submit(id, each)
		}
		w.script(func(_, _ string, n int) (order.Observation, time.Duration) {
			return processing(), time.Duration(200+100*(n%4)) * time.Millisecond
		})
		w.start()
		w.toTick()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		w.stop()
		time.Sleep(24 * time.Hour)
		again := time.Now()
		w.start()
		time.Sleep(4 * time.Minute) // the next tick comes after five
		synctest.Wait()

		polls, times := w.seen(again), map[string]int{}
		for _, p := range polls {
			times[p.order]++
		}
		for id, n := range times {
			if n != 1 {
				t.Errorf("%s was polled %d times", id, n)
			}
		}
		if len(times) != sellers*each {
			t.Errorf("%d orders of %d were polled", len(times), sellers*each)
		}
		for id, most := range mostAtOnce(polls, func(p seenPoll) string { return p.seller }) {
			if most > caps[id] {
				t.Errorf("%s saw %d polls at once, its cap is %d", id, most, caps[id])
			}
		}
		for name, most := range mostAtOnce(polls, func(p seenPoll) string { return host(p.seller) }) {
			if most > w.cfg.PerHost {
				t.Errorf("%s saw %d polls at once, its cap is %d", name, most, w.cfg.PerHost)
			}
		}
		if most := mostAtOnce(polls, func(seenPoll) string { return "" })[""]; most > w.cfg.Workers {
			t.Errorf("%d polls at once by %d workers", most, w.cfg.Workers)
		}
		w.close()
	})
}

// SPEC §4, "One sweep at a time": what a sweep left goes first in the next. It holds for one seller's orders
// whatever the others do; and for all orders if no seller has more to do than a quantum, or there is only one.
func TestACarriedOverSweepTakesWhatIsLeftFirst(t *testing.T) {
	for _, c := range []struct {
		name          string
		big           int // orders of the seller that has more than the others
		sellers, each int
		takes         time.Duration // each poll; all together one and a half times the minute between ticks
		workers       int
		all           bool // it holds for all orders
	}{
		{name: "one big lane", big: 9000, takes: 10 * time.Millisecond, workers: 1, all: true},
		{name: "one big lane, four at once", big: 9000, takes: 40 * time.Millisecond, workers: 4, all: true},
		{name: "many small lanes", sellers: 500, each: 10, takes: 18 * time.Millisecond, workers: 1, all: true},
		{name: "many small lanes, four at once", sellers: 500, each: 10, takes: 72 * time.Millisecond, workers: 4, all: true},
		{name: "a big lane beside many small ones", big: 3000, sellers: 300, each: 10, takes: 15 * time.Millisecond, workers: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.cfg.Cron, w.cfg.Workers, w.cfg.PerSeller = "* * * * *", c.workers, 2*c.workers
				if c.big > 0 {
					w.seller("big")
					w.submit("big", c.big)
				}
				for i := range c.sellers {
					id := fmt.Sprintf("s%03d", i)
					w.seller(id)
					w.submit(id, c.each)
				}
				w.script(func(string, string, int) (order.Observation, time.Duration) { return processing(), c.takes })
				w.start()
				time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(5*time.Minute - time.Second)))
				synctest.Wait()

				total, sweeps := c.big+c.sellers*c.each, w.sweeps()
				if first := sweeps[len(sweeps)-1]; first.State != order.SweepOverrun || first.Remaining < int64(total)/4 || first.Remaining > int64(total)/2 {
					t.Fatalf("the first sweep did not leave about a third of %d: %+v", total, first)
				}
				polls, polled, latest := w.seen(time.Time{}), map[string]bool{}, map[string]time.Time{}
				for _, p := range polls { // latest is when the last of the first polls began: of a seller's orders, and of all
					if !polled[p.order] {
						polled[p.order] = true
						latest[p.seller], latest[""] = p.began, p.began
					}
				}
				clear(polled)
				early, inLane := 0, 0
				for _, p := range polls {
					if polled[p.order] && p.began.Before(latest[""]) {
						early++
					}
					if polled[p.order] && p.began.Before(latest[p.seller]) {
						inLane++
					}
					polled[p.order] = true
				}
				// A poll in flight at the tick counts for the sweep that was closed; the order is due again, and goes to the end.
				if len(polled) != total || inLane > 0 {
					t.Errorf("%d orders of %d were polled; %d polls were a second one while the seller had orders that waited for their first", len(polled), total, inLane)
				}
				if c.all && early > 0 {
					t.Errorf("%d polls were a second one while orders waited for their first", early)
				}
				w.close()
			})
		})
	}
}

// GUARANTEES, G15: sellers that used to answer all hang from one sweep to the next, more of them than there are
// workers. That nobody answers meanwhile looks like a fault of ours; it must not make the others wait for longer
// than the one timeout that fills the workers, in this sweep or in later ones.
func TestSellersThatHangTogetherDelayTheOthersByOneTimeout(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.Workers = 16
		const hanging, quick, each = 20, 100, 10
		for i := range hanging { // in turn before the others
			id := fmt.Sprintf("h%03d", i)
			w.seller(id)
			w.submit(id, each)
		}
		for i := range quick {
			id := fmt.Sprintf("q%03d", i)
			w.seller(id)
			w.submit(id, each)
		}
		w.script(func(string, string, int) (order.Observation, time.Duration) {
			return processing(), 5 * time.Millisecond
		})
		w.start()
		w.toTick()
		time.Sleep(time.Minute)
		synctest.Wait()
		w.script(func(seller, _ string, _ int) (order.Observation, time.Duration) {
			if seller[0] == 'h' {
				return timedOut(), 8 * time.Second
			}
			return processing(), 5 * time.Millisecond
		})
		for sweep := range 4 {
			tick := w.toTick()
			time.Sleep(14 * time.Minute)
			synctest.Wait()
			polled, last := map[string]bool{}, time.Duration(0)
			for _, p := range w.seen(tick) {
				if p.seller[0] == 'q' {
					polled[p.order] = true
					last = max(last, p.ended.Sub(tick))
				}
			}
			if limit := 8*time.Second + 2*time.Second; len(polled) != quick*each || last > limit {
				t.Errorf("sweep %d: %d orders of the sellers that answer were polled, the last after %v; want %d within %v", sweep+1, len(polled), last, quick*each, limit)
			}
		}
		w.close()
	})
}
