package scheduler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poller/order"
)

// inFlight counts polls in flight, in all and by seller.
type inFlight struct {
	mu        sync.Mutex
	now, most map[string]int
}

// counting wraps a script so that its polls, which take d, are counted.
func (c *inFlight) counting(d time.Duration, answer func(id string, n int) order.Observation) func(seller, id string, n int) (order.Observation, time.Duration) {
	c.now, c.most = map[string]int{}, map[string]int{}
	add := func(seller string, n int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, key := range []string{"all", seller} {
			c.now[key] += n
			c.most[key] = max(c.most[key], c.now[key])
		}
	}
	return func(seller, id string, n int) (order.Observation, time.Duration) {
		add(seller, 1)
		time.AfterFunc(d, func() { add(seller, -1) })
		return answer(id, n), d + time.Millisecond
	}
}

// peaks are the most polls that were in flight at once.
func (c *inFlight) peaks() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.most)
}

// pollAll has orders polled by hand, all at once, and returns how long each took.
func (w *world) pollAll(ids ...string) map[string]time.Duration {
	w.t.Helper()
	var mu sync.Mutex
	took := map[string]time.Duration{}
	began := time.Now()
	var all sync.WaitGroup
	for _, id := range ids {
		all.Go(func() {
			obs, o, err := w.s.PollNow(w.t.Context(), id)
			if err != nil || obs.Outcome != order.Processing || o.Polls == 0 {
				w.t.Errorf("%s: %s, %d polls, %v", id, obs.Outcome, o.Polls, err)
			}
			mu.Lock()
			defer mu.Unlock()
			took[id] = time.Since(began)
		})
	}
	all.Wait()
	return took
}

func list(format string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf(format, i)
	}
	return ids
}

// SPEC §4, "Turns": at most workers polls run at once and per_host to a host, those by hand among them; and they are all made.
func TestPollsByHandObeyWorkersAndPerHost(t *testing.T) {
	for _, c := range []struct {
		workers, perHost int
		hosts            map[string]int
		most             map[string]int
	}{
		{3, 16, nil, map[string]int{"all": 3}},
		{100, 2, nil, map[string]int{"a": 2, "b": 2, "all": 4}},
		{100, 2, map[string]int{"a.example:443": 5}, map[string]int{"a": 5, "b": 2, "all": 7}},
		{1, 1, nil, map[string]int{"all": 1}},
	} {
		t.Run(fmt.Sprint(c.workers, c.perHost, len(c.hosts)), func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.cfg.Workers, w.cfg.PerHost, w.cfg.Hosts = c.workers, c.perHost, c.hosts
				for _, seller := range []string{"a", "b"} {
					w.seller(seller)
					w.submit(seller, 20)
				}
				var seen inFlight
				w.script(seen.counting(time.Second, func(string, int) order.Observation { return processing() }))
				w.start()
				w.pollAll(append(list("a-%d", 20), list("b-%d", 20)...)...)
				if n := w.total(); n != 40 {
					t.Errorf("%d polls of 40 orders", n)
				}
				for key, want := range c.most {
					if got := seen.peaks()[key]; got != want {
						t.Errorf("%s: %d polls at once, want %d", key, got, want)
					}
				}
				w.close()
			})
		})
	}
}

// Beside a sweep that uses all that there is, polls by hand keep to the bounds too, wait for a slot and not for the sweep's end, and none is lost.
func TestPollsByHandBesideASweep(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.Workers, w.cfg.PerHost, w.cfg.PerSeller = 8, 4, 4
		w.seller("a")
		w.seller("b")
		w.seller("c")
		w.submit("a", 200)
		w.submit("b", 200)
		w.submit("c", 1)
		var seen inFlight
		w.script(seen.counting(time.Second, func(string, int) order.Observation { return processing() }))
		w.start()
		tick := w.toTick()
		time.Sleep(10 * time.Second)
		for id, took := range w.pollAll("a-199", "b-199", "c-0") {
			if took > 3*time.Second {
				t.Errorf("%s waited %s for its poll by hand", id, took)
			}
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if most := seen.peaks(); most["all"] > 8 || most["a"] > 4 || most["b"] > 4 {
			t.Errorf("polls at once: %v", most)
		}
		for _, seller := range []string{"a", "b", "c"} {
			polled := map[string]int{}
			for _, p := range w.pollsOf(seller, tick) {
				polled[p.order]++
			}
			for id, n := range polled {
				if n > 2 || n > 1 && !strings.HasSuffix(id, "-199") && id != "c-0" {
					t.Errorf("%s: %d polls", id, n)
				}
			}
			if len(polled) != map[string]int{"a": 200, "b": 200, "c": 1}[seller] {
				t.Errorf("%s: %d orders polled", seller, len(polled))
			}
		}
		if s := w.sweeps(); len(s) == 0 || s[0].State != order.SweepDone {
			t.Errorf("sweeps: %+v", s)
		}
		w.close()
	})
}

// Who waits for a turn is told when the order ended meanwhile, when the disk got full, and when poller stops; who gives up leaves nothing behind.
func TestWhoWaitsForAPollByHand(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.Workers = 1
		w.seller("a")
		w.submit("a", 6)
		w.script(func(_, id string, _ int) (order.Observation, time.Duration) {
			if id == "a-0" {
				return completed("done"), 10 * time.Second
			}
			return processing(), 10 * time.Second
		})
		w.start()
		results := map[string]chan string{}
		began := time.Now()
		ask := func(ctx context.Context, id string) {
			answered := make(chan string, 1)
			results[id] = answered
			go func() {
				_, _, err := w.s.PollNow(ctx, id)
				answered <- fmt.Sprint(time.Since(began), err)
			}()
			synctest.Wait()
		}
		impatient, giveUp := context.WithCancel(t.Context())
		ask(t.Context(), "a-1")
		ask(impatient, "a-2")
		ask(t.Context(), "a-3")
		ask(t.Context(), "a-4")
		expect := func(id string, err error, took time.Duration) {
			t.Helper()
			if got, want := <-results[id], fmt.Sprint(took, err); got != want {
				t.Errorf("%s: %s, want %s", id, got, want)
			}
		}
		time.Sleep(time.Second)
		giveUp()
		expect("a-2", context.Canceled, time.Second)
		if _, err := w.store.UpdateOrder(t.Context(), "a-3", func(o order.Order) (order.Decision, error) { return order.Cancel(o, w.wallTime()), nil }); err != nil {
			t.Fatal(err)
		}
		expect("a-1", nil, 10*time.Second)
		expect("a-3", order.ErrEnded, 10*time.Second)
		expect("a-4", nil, 20*time.Second)
		if n := w.total(); n != 2 {
			t.Errorf("%d polls, want those of a-1 and a-4", n)
		}

		ask(t.Context(), "a-5")
		ask(t.Context(), "a-2")
		w.mu.Lock()
		w.enough = false
		w.mu.Unlock()
		expect("a-5", nil, 30*time.Second)
		expect("a-2", order.ErrNoSpace, 30*time.Second)
		w.mu.Lock()
		w.enough = true
		w.mu.Unlock()

		ask(t.Context(), "a-0")
		ask(t.Context(), "a-2")
		w.cancel()
		expect("a-2", order.ErrStopping, 30*time.Second)
		expect("a-0", nil, 40*time.Second)
		w.close()
	})
}

// However callers give up, no slot is lost.
func TestNoSlotIsLostToThoseWhoGiveUp(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.cfg.Workers, w.cfg.PerHost = 2, 2
		w.seller("a")
		w.submit("a", 40)
		w.script(func(string, string, int) (order.Observation, time.Duration) {
			return processing(), 7 * time.Millisecond
		})
		w.start()
		var all sync.WaitGroup
		for round := range 50 {
			for i := range 40 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration((i*7+round)%50)*time.Millisecond)
				all.Go(func() {
					defer cancel()
					_, _, err := w.s.PollNow(ctx, fmt.Sprint("a-", i))
					if err != nil && !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
				})
			}
			time.Sleep(10 * time.Millisecond)
		}
		all.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		o := w.order("a-0")
		for range 5 { // and those whose turn comes as they give up
			a, waits := w.s.askTurn(&o)
			if waits {
				t.Error("no turn, though nothing is in flight")
			}
			w.s.withdraw(a)
		}
		w.s.mu.Lock()
		if w.s.inFlight != 0 || len(w.s.asks) != 0 {
			t.Errorf("%d in flight, %d waiting when all is over", w.s.inFlight, len(w.s.asks))
		}
		w.s.mu.Unlock()
		if w.most > 2 {
			t.Errorf("%d polls at once", w.most)
		}
		if took := w.pollAll(list("a-%d", 2)...); took["a-0"] > time.Second {
			t.Errorf("afterwards: %v", took)
		}
		w.close()
	})
}
