package scheduler

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poller/order"
)

var seedFlag = flag.Uint64("seed", 0, "seed of TestRandomDays; 0: another one each time")

// Whatever sellers do and operators ask for, over ten ticks: the rules of SPEC §4 that hold at all times.
func TestRandomDays(t *testing.T) {
	for i := range 3 {
		seed := *seedFlag
		if seed == 0 {
			seed = rand.Uint64()
		} else if i > 0 {
			break
		}
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) { (&day{world: w, rnd: rand.New(rand.NewPCG(seed, 1))}).run() })
		})
	}
}

// day is a world in which anything happens.
type day struct {
	*world
	rnd *rand.Rand // of the test's goroutine
	st  *faultyStore

	sellers []string
	orders  int
	submits map[string]time.Time // when an order was submitted
	calm    map[string]time.Time // since when nothing was done to a seller
	wg      sync.WaitGroup       // polls by hand

	// guarded by world.mu
	ask      *rand.Rand
	hand     int             // polls by hand that somebody waits for
	handed   map[string]bool // orders polled by hand in this interval
	caps     map[string]int
	refusing int // how many commits are refused still
	counted  map[string]int
	ended    map[string]int
}

func (d *day) run() {
	t, w := d.t, d.world
	d.submits, d.calm = map[string]time.Time{}, map[string]time.Time{}
	d.handed, d.caps, d.counted, d.ended = map[string]bool{}, map[string]int{}, map[string]int{}, map[string]int{}
	d.ask = rand.New(rand.NewPCG(d.rnd.Uint64(), 2))
	d.st = w.faulty()
	d.st.record = d.record
	w.cfg.Workers, w.cfg.PerHost, w.cfg.PerSeller = 4+d.rnd.IntN(30), 2+d.rnd.IntN(8), 1+d.rnd.IntN(4)
	w.cfg.ShutdownTimeout = 5 * time.Second
	w.cfg.Spread = time.Duration(d.rnd.IntN(2)) * 5 * time.Minute
	kinds := []string{"well", "well", "dead", "refuses", "picky", "mixed", "hangs"}
	for i := range 14 {
		id := fmt.Sprintf("%s%d", kinds[i%len(kinds)], i)
		d.sellers = append(d.sellers, id)
		w.seller(id, d.endpoint, func(s *order.Seller) {
			if d.rnd.IntN(4) == 0 && !strings.HasPrefix(id, "well") {
				s.MaxPerMinute = 20
			}
			if d.rnd.IntN(3) == 0 {
				s.MaxConcurrency = 1 + d.rnd.IntN(4)
			}
			n := w.cfg.PerSeller
			if s.MaxConcurrency > 0 {
				n = s.MaxConcurrency
			}
			d.caps[id] = min(n, w.cfg.PerHost)
		})
		d.submitTo(id, 1+d.rnd.IntN(20))
	}
	w.script(d.reply)
	w.start()
	for range 10 {
		tick := w.toTick()
		w.mu.Lock()
		clear(d.handed)
		clear(d.counted)
		w.mu.Unlock()
		for range d.rnd.IntN(8) { // in the first ten minutes; then what is left is done
			sleep(time.Duration(d.rnd.IntN(75_000)) * time.Millisecond)
			d.operate()
			d.checkInside()
		}
		sleep(time.Until(tick.Add(15*time.Minute - time.Second)))
		d.checkInside()
		d.checkInterval(tick)
	}
	d.wg.Wait()
	w.stop()
	d.checkEnd()
	w.closed = true
	if err := w.store.Close(); err != nil {
		t.Error(err)
	}
}

// endpoint puts a seller at one of a few hosts.
func (d *day) endpoint(s *order.Seller) {
	host := fmt.Sprintf("h%d", d.rnd.IntN(6))
	if !strings.HasPrefix(s.ID, "well") && d.rnd.IntN(2) == 0 {
		host = s.ID
	}
	if strings.HasPrefix(s.ID, "well") { // a host may be left alone for its sellers' sake: not these
		host = "well-" + host
	}
	s.StatusURL = fmt.Sprintf("https://%s.example/%s/%d/{order_id}", host, s.ID, d.rnd.IntN(3))
}

func (d *day) submitTo(seller string, n int) {
	for range n {
		id := fmt.Sprintf("%s-%d", seller, d.orders)
		d.orders++
		d.submits[id] = time.Now()
		d.submit(seller, 1, func(s *order.Submission) { s.OrderID = id })
	}
}

// reply is what the sellers do. world.mu is held.
func (d *day) reply(seller, id string, _ int) (order.Observation, time.Duration) {
	if d.now > d.cfg.Workers+d.hand {
		d.t.Errorf("%d polls at once, workers %d, %d by hand", d.now, d.cfg.Workers, d.hand)
	}
	n := 0
	for key, at := range d.at {
		if strings.HasPrefix(key, seller+"/") {
			n += at
		}
	}
	if n > d.caps[seller]+d.hand {
		d.t.Errorf("%d polls of %s at once, its cap is %d, %d by hand", n, seller, d.caps[seller], d.hand)
	}
	quick := time.Duration(d.ask.IntN(300)) * time.Millisecond
	x := d.ask.IntN(100)
	switch {
	case strings.HasPrefix(seller, "well"):
		if x < 5 {
			return completed("done"), quick
		}
		return processing(), quick
	case strings.HasPrefix(seller, "dead"):
		return timedOut(), 8 * time.Second
	case strings.HasPrefix(seller, "refuses"):
		return unreachable(), quick
	case strings.HasPrefix(seller, "picky") && x < 60:
		return throttled(time.Duration(x%3) * time.Second), quick
	case strings.HasPrefix(seller, "hangs") && x < 30:
		return timedOut(), 60 * time.Second
	}
	switch {
	case x < 10:
		return notFound(), quick
	case x < 20:
		return unreachable(), quick
	case x < 30:
		return timedOut(), 8 * time.Second
	case x < 35:
		return throttled(0), quick
	case x < 38:
		return order.Observation{Outcome: order.LocalFault, Detail: "out of files"}, quick
	case x < 42:
		return order.Observation{Outcome: order.Blocked, Detail: "private address"}, quick
	case x < 46:
		return order.Observation{Outcome: order.LocalFault, Detail: "quota", Quota: true, Answered: true, HTTPStatus: 200}, quick
	case x < 50:
		return completed("done"), quick
	case x < 54:
		o, wait := processing(), time.Duration(d.ask.IntN(1800))*time.Second
		o.RetryAfter = &wait
		return o, quick
	}
	return processing(), time.Duration(d.ask.IntN(5000)) * time.Millisecond
}

// record refuses some commits, and counts what is committed.
func (d *day) record(ctx context.Context, b *order.Batch) error {
	d.mu.Lock()
	refuse := d.refusing > 0
	if refuse {
		d.refusing--
	}
	d.mu.Unlock()
	if refuse {
		return order.ErrNoSpace
	}
	if err := d.st.Store.Record(ctx, b); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range b.Changes {
		if c.Err != nil || c.Decision.Dropped {
			continue
		}
		o := &c.Decision.Order
		if c.Decision.Counts {
			d.counted[fmt.Sprint(o.ID, "@", o.Tick)]++
		}
		if o.Ended() {
			d.ended[o.ID]++
		}
	}
	return nil
}

// operate does one thing that an operator or the platform may do.
func (d *day) operate() {
	t, w := d.t, d.world
	seller := d.sellers[d.rnd.IntN(len(d.sellers))]
	switch d.rnd.IntN(10) {
	case 0:
		if _, err := w.s.StartSweep(t.Context(), d.rnd.IntN(2) == 0); err != nil && !errors.Is(err, order.ErrConflict) {
			t.Errorf("StartSweep: %v", err)
		}
	case 1, 2:
		d.pollNow(d.anOrder())
	case 3:
		d.calm[seller] = time.Now()
		x, err := w.store.UpdateSeller(t.Context(), seller, func(s *order.Seller) error { s.Paused = !s.Paused; return nil })
		if err != nil {
			t.Fatal(err)
		}
		w.s.SellerChanged(x)
	case 4:
		x, err := w.store.UpdateSeller(t.Context(), seller, func(s *order.Seller) error { d.endpoint(s); return nil })
		if err != nil {
			t.Fatal(err)
		}
		w.s.SellerChanged(x)
	case 5:
		_, err := w.store.UpdateOrder(t.Context(), d.anOrder(), func(o order.Order) (order.Decision, error) {
			return order.Cancel(o, w.wallTime().Truncate(time.Millisecond)), nil
		})
		if err != nil {
			t.Fatal(err)
		}
	case 6:
		d.submitTo(seller, 1+d.rnd.IntN(10))
	case 7:
		w.stop()
		sleep(time.Duration(d.rnd.IntN(30)) * time.Second)
		w.start()
	case 8:
		w.mu.Lock()
		d.refusing = 1 + d.rnd.IntN(3)
		w.mu.Unlock()
	case 9:
		w.setEnough(false)
		sleep(time.Duration(d.rnd.IntN(30)) * time.Second)
		w.setEnough(true)
	}
}

func (d *day) anOrder() string {
	skip := d.rnd.IntN(len(d.submits))
	for i := range d.orders { // in a steady order, for the seed's sake
		for _, s := range d.sellers {
			if id := fmt.Sprintf("%s-%d", s, i); !d.submits[id].IsZero() {
				if skip == 0 {
					return id
				}
				skip--
			}
		}
	}
	return ""
}

func (d *day) pollNow(id string) {
	d.mu.Lock()
	d.hand++
	d.handed[id] = true
	d.mu.Unlock()
	s := d.s
	d.wg.Go(func() {
		_, o, err := s.PollNow(context.Background(), id)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.hand--
		switch {
		case err == nil && o.Polls == 0:
			d.t.Errorf("poll now of %s: no poll", id)
		case err != nil && !errors.Is(err, order.ErrEnded) && !errors.Is(err, order.ErrStopping) && !errors.Is(err, order.ErrNoSpace):
			d.t.Errorf("poll now of %s: %v", id, err)
		}
	})
}

// checkInside looks at the scheduler's own accounts, at rest.
func (d *day) checkInside() {
	synctest.Wait()
	s := d.s
	s.mu.Lock()
	defer s.mu.Unlock()
	lanes, hosts, queued, flying := 0, 0, int64(0), int64(0)
	for n, l := range s.lanes {
		lanes += l.inFlight
		if l.inFlight > len(l.busy) {
			d.t.Errorf("lane %d: %d in flight, %d busy", n, l.inFlight, len(l.busy))
		}
		if l.place != 0 && (l.place > len(l.host.ready) || l.host.ready[l.place-1].who != l) {
			d.t.Errorf("lane %d is not where it says", n)
		}
		seen := map[uint64]bool{}
		l.queue.each(func(number, _ uint64) {
			if seen[number] {
				d.t.Errorf("lane %d: order %d waits twice", n, number)
			}
			seen[number] = true
		})
		queued += int64(l.queue.len())
		if l.queue.len() != len(seen) || l.fresh != nil && s.run != nil && s.run.scanned {
			d.t.Errorf("lane %d: %d orders wait, it says %d; being read: %v", n, len(seen), l.queue.len(), l.fresh != nil)
		}
		if l.fresh != nil {
			queued += int64(l.fresh.len())
		}
		for _, f := range l.busy {
			if s.run != nil && f.dueIn == s.run {
				flying++
			}
		}
	}
	if queued != s.queued || s.run != nil && flying != s.flying {
		d.t.Errorf("%d orders wait and %d are in flight, the books say %d and %d", queued, flying, s.queued, s.flying)
	}
	for _, h := range s.hosts {
		hosts += h.inFlight
		for i, r := range h.ready {
			l := r.who
			if l.place != i+1 || l.host != h {
				d.t.Errorf("%s: lane at %d says %d of %s", h.name, i+1, l.place, l.host.name)
			}
			if want := l.turnNow(); r.turn != want {
				d.t.Errorf("%s: the turn of lane %d is %+v, want %+v", h.name, l.seller.Number, r.turn, want)
			}
			if i > 0 && r.before(h.ready[(i-1)/2].turn) {
				d.t.Errorf("%s: out of order at %d", h.name, i)
			}
		}
	}
	for i, r := range s.hostsReady {
		if h := r.who; h.place != i+1 || len(h.ready) == 0 || h.ready[0].turn != r.turn {
			d.t.Errorf("%s: at %d of the hosts, says %d, %d lanes, turn %+v", h.name, i+1, h.place, len(h.ready), r.turn)
		} else if i > 0 && r.before(s.hostsReady[(i-1)/2].turn) {
			d.t.Errorf("the hosts are out of order at %d", i)
		}
	}
	if lanes != s.inFlight || hosts != s.inFlight {
		d.t.Errorf("in flight: %d, by lanes %d, by hosts %d", s.inFlight, lanes, hosts)
	}
	if n := 4 * (len(s.lanes) + len(s.hosts)); len(s.wakes) > n {
		d.t.Errorf("%d wakes for %d lanes and %d hosts", len(s.wakes), len(s.lanes), len(s.hosts))
	}
}

// checkInterval: a seller that is well was asked for each of its orders, and by sweeps only once.
func (d *day) checkInterval(tick time.Time) {
	var at uint64
	for _, s := range d.sweeps() {
		if s.Trigger != order.TriggerManual {
			at = max(at, s.Tick)
		}
		if s.Due > int64(d.orders) {
			d.t.Errorf("sweep %d: %d due of %d orders", s.ID, s.Due, d.orders)
		}
	}
	for id, submitted := range d.submits {
		seller, _, _ := strings.Cut(id, "-")
		if !strings.HasPrefix(seller, "well") || !submitted.Before(tick) || !d.calm[seller].Before(tick) {
			continue
		}
		if x, err := d.store.Seller(d.t.Context(), seller); err != nil || x.Paused {
			continue
		}
		if o := d.order(id); !o.Ended() && o.Tick < at {
			d.t.Errorf("%s was last polled for tick %d, %s after tick %d", id, o.Tick, time.Since(tick), at)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, n := range d.counted {
		id, _, _ := strings.Cut(key, "@")
		if n > 1 && !d.handed[id] {
			d.t.Errorf("%s: polled %d times for one tick", key, n)
		}
	}
}

// checkEnd: nothing is left in flight, and each order that ended did so once.
func (d *day) checkEnd() {
	s := d.s
	if s.inFlight != 0 || len(s.pending) != 0 || s.recording != 0 {
		d.t.Errorf("after the stop: %d in flight, %d pending, %d being recorded", s.inFlight, len(s.pending), s.recording)
	}
	for n, l := range s.lanes {
		if l.inFlight != 0 || len(l.busy) != 0 || l.reserved != 0 || l.host.inFlight != 0 {
			d.t.Errorf("lane %d after the stop: %d in flight, %d busy, %d reserved", n, l.inFlight, len(l.busy), l.reserved)
		}
	}
	for id, n := range d.ended {
		if n != 1 {
			d.t.Errorf("%s ended %d times", id, n)
		}
	}
	ends := map[string]int{}
	for after := uint64(0); ; {
		events, err := d.store.Events(d.t.Context(), after, 1000)
		if err != nil {
			d.t.Fatal(err)
		}
		if len(events) == 0 {
			break
		}
		for i := range events {
			switch events[i].Type {
			case order.EventCompleted, order.EventFailed, order.EventCancelled:
				ends[events[i].OrderID]++
			case order.EventSubmitted, order.EventProgress, order.EventTrouble, order.EventRecovered:
			}
			after = events[i].Number
		}
	}
	for id := range d.submits {
		want := 0
		if o := d.order(id); o.Ended() {
			want = 1
		}
		if ends[id] != want {
			d.t.Errorf("%s: %d ends told, want %d", id, ends[id], want)
		}
	}
}
