package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"poller/internal/fakeseller"
)

// hanging answers no poll, and notes when each of them was given up.
type hanging struct {
	mu   sync.Mutex
	ends []time.Time
}

func (h *hanging) script() fakeseller.Script {
	return fakeseller.Script{{Func: func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		h.mu.Lock()
		defer h.mu.Unlock()
		h.ends = append(h.ends, time.Now())
		panic(http.ErrAbortHandler)
	}}}
}

func (h *hanging) firstEnd() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.MinFunc(h.ends, time.Time.Compare)
}

// Issue 3, "Shown by" 4: one hanging seller with 2,000 orders beside 50 quick
// ones, half of which share its host. The quick ones are polled before its first
// poll ends; it costs 3 polls and its two probes, and in the next sweep 3
// (SPEC §4, "Breaker"; GUARANTEES, G15).
func TestHangingSellerBesideQuickOnes(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	s.set("fetch.timeout", "3s", "fetch.breaker_probes", "[1s, 2s]", "log.level", "info")
	d := s.start()
	hang := &hanging{}
	s.sellers.Handle("hang/*", hang.script())
	d.register(0, "hang")
	d.submitMany("hang", names("hanging", 2000)...)
	const quick, each = 50, 4
	for n := range quick {
		seller := fmt.Sprintf("quick-%d", n)
		d.register(n%2, seller)
		d.submitMany(seller, names(seller, each)...)
	}

	books := func(rec sweepView) [6]int {
		return [6]int{rec.Due, rec.Polled, rec.Skipped, rec.LeftToSeller, rec.Remaining, rec.Outcomes["timeout"]}
	}
	first := d.sweep()
	equal(t, "the first sweep's books", books(first), [6]int{2000 + quick*each, 5 + quick*each, 1995, 0, 0, 5})
	equal(t, "its state", first.State, "done")
	var last time.Time
	for n := range quick {
		seen := s.sellers.Stats(fmt.Sprintf("quick-%d", n))
		equal(t, "polls of a quick seller", seen.Polls, each)
		if at := slices.MaxFunc(seen.Times, time.Time.Compare); at.After(last) {
			last = at
		}
	}
	if end := hang.firstEnd(); !last.Before(end) {
		t.Errorf("the last quick poll came %s after the first hanging one had ended", last.Sub(end))
	}
	t.Logf("the quick ones were polled within %s of the sweep's start", last.Sub(first.StartedAt))
	seen := s.sellers.Stats("hang")
	equal(t, "polls of the hanging seller, and the most at once", [2]int{seen.Polls, seen.MaxInFlight}, [2]int{5, 3})
	d.checkSamples(map[string]float64{`poller_breakers_open{scope="seller"}`: 1, `poller_breakers_open{scope="host"}`: 0, "poller_sellers_in_trouble": 1})

	second := d.sweep()
	equal(t, "the second sweep's books", books(second), [6]int{2000 + quick*each, 3 + quick*each, 1997, 0, 0, 3})
	equal(t, "polls of the hanging seller after two sweeps", s.sellers.Stats("hang").Polls, 8)

	s.sellers.Handle("hang/*", fakeseller.Processing())
	third := d.sweep()
	equal(t, "the third sweep's books, when it answers again", books(third), [6]int{2000 + quick*each, 2000 + quick*each, 0, 0, 0, 0})
}

// Issue 3, "Shown by" 4: the network of all sellers is cut for two ticks. All
// but the first few polls are local_fault, no clock moves, no order ends, and
// with the network back the work goes on by itself (GUARANTEES, G28).
func TestCutNetwork(t *testing.T) {
	t.Parallel()
	const hosts, sellers, each = 6, 12, 10
	s := newSite(t, hosts)
	s.set("schedule.cron", `"@every 4s"`,
		"orders.give_up_after", "{not_found: 1ms, invalid_response: 1ms, rejected_result: 1ms}", "log.level", "info")
	d := s.start()
	s.sellers.Handle("*/ends-*", fakeseller.Progressing(1, fakeseller.Quick("done")))
	var ids []string
	for n := range sellers {
		seller := fmt.Sprintf("seller-%d", n)
		d.register(n%hosts, seller)
		mine := append(names(seller, each-1), "ends-"+seller)
		d.submitMany(seller, mine...)
		ids = append(ids, mine...)
	}
	whole := func(l logLine) bool { return l.number("polled") >= len(ids) && l.number("remaining") == 0 }
	d.waitLog("sweep ended", whole)

	s.sellers.Cut()
	cut := d.log.mark()
	var cutSweeps []int
	for range 3 { // the first one that begins and the two ticks after it
		began := d.waitLogAfter(cut, "sweep began", nil)
		cut = d.log.mark()
		cutSweeps = append(cutSweeps, began.number("sweep"))
	}
	polls := 0
	for _, o := range d.orders() {
		polls += o.Polls
		if o.State != "processing" {
			t.Errorf("order %s is %s while the network is cut", o.OrderID, o.State)
		}
		if o.Trouble == nil {
			continue
		}
		for clock, seconds := range o.Trouble.Clocks {
			t.Errorf("order %s: clock %s moved to %v s", o.OrderID, clock, seconds)
		}
	}
	counts := map[string]int{}
	for _, id := range cutSweeps[:2] {
		rec := d.sweepRecord(id)
		for outcome, n := range rec.Outcomes {
			counts[outcome] += n
		}
		if rec.State == "done" || rec.Remaining == 0 {
			t.Errorf("sweep %d, while the network was cut: %+v", id, rec)
		}
	}
	t.Logf("polls while the network was cut: %v", counts)
	if counts["local_fault"] == 0 || counts["unreachable"] > 2*hosts {
		t.Errorf("polls while the network was cut: %v; the first few are unreachable, the rest local_fault", counts)
	}
	for outcome := range counts {
		if outcome != "local_fault" && outcome != "unreachable" {
			t.Errorf("outcome %s while the network was cut", outcome)
		}
	}

	back := d.log.mark()
	s.sellers.Restore()
	d.waitLogAfter(back, "sweep ended", whole)
	ends := d.checkEvents()
	want := map[string]string{}
	for n := range sellers {
		want[fmt.Sprintf("ends-seller-%d", n)] = "completed"
	}
	if !maps.Equal(ends, want) {
		t.Errorf("ends: %v, want %v", ends, want)
	}
}
