package scheduler

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poller/order"
)

// The defaults are for every run of the tests; bench -mode steady asks for a thousand sweeps of 10,000 orders.
var (
	steadySweeps = flag.Int("steady.sweeps", 60, "sweeps of TestTheDatabaseStaysTheSameSize")
	steadyOrders = flag.Int("steady.orders", 500, "orders in processing in TestTheDatabaseStaysTheSameSize")
)

// steadyBound is how much the database may grow after the first third of the sweeps. Whatever is never deleted,
// or deleted in a way that leaves pages of no use, grows in proportion to the sweeps: threefold.
const steadyBound = 1.1

// A database with as many orders coming as ending, and retention at work, does not grow.
func TestTheDatabaseStaysTheSameSize(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		y := &steady{world: w, ticks: *steadySweeps, orders: *steadyOrders, rnd: rand.New(rand.NewPCG(1, 1)), ask: rand.New(rand.NewPCG(1, 2))}
		y.run()
	})
}

// steady is a world in which each end makes room for a new order. All times are in proportion to the number of
// sweeps, so that the first third of them reaches the steady state: an order is in processing for a 20th of them on
// average, an ended one is kept for a fifth, an event for a tenth. At a thousand sweeps, one each quarter of an
// hour, 2 % of the orders end in each, and retention is about two days and one day.
type steady struct {
	*world
	ticks, orders int
	rnd           *rand.Rand // of the test's goroutine
	ask           *rand.Rand // guarded by world.mu

	sellers                     []string
	submitted, expired, trimmed int
}

const steadyInterval = 15 * time.Minute

func (y *steady) run() {
	t := y.t
	for i := range max(10, y.orders/100) {
		id := fmt.Sprintf("s%03d", i)
		y.sellers = append(y.sellers, id)
		y.seller(id)
	}
	y.cfg.BreakerFailures = 20             // troubles are strewn at random: they are no outage
	y.cfg.Policy.Deadline = y.retention(1) // no end by deadline, which the fuse might hold
	y.submitNew(y.orders)
	y.script(y.reply)
	y.start()
	out := t.Output()
	fmt.Fprintf(out, "%d sweeps of %d orders of %d sellers; retention of orders %v, of events %v\n",
		y.ticks, y.orders, len(y.sellers), y.retention(5), y.retention(10))
	fmt.Fprintf(out, "%8s %10s %12s %10s %10s %10s\n", "sweep", "MiB", "submitted", "kept", "expired", "events")
	var third int64
	for n := 1; n <= y.ticks; n++ {
		y.interval()
		if n == y.ticks/3 {
			third = y.store.Size()
		}
		if n%max(1, y.ticks/10) == 0 || n == y.ticks/3 {
			first, last := y.store.EventRange()
			states := y.states()
			kept := states[order.StateCompleted] + states[order.StateFailed]
			fmt.Fprintf(out, "%8d %10.2f %12d %10d %10d %10d\n", n, float64(y.store.Size())/(1<<20), y.submitted, kept, y.expired, last+1-first)
		}
	}
	y.stop()
	grown := float64(y.store.Size()) / float64(third)
	fmt.Fprintf(out, "the database at the end is %.3f times as large as after a third of the sweeps\n", grown)
	if grown > steadyBound {
		t.Errorf("the database grew to %.3f times its size, more than %v", grown, steadyBound)
	}
	if s := y.sweeps()[0]; s.State != order.SweepDone || s.Polled < int64(y.orders)*9/10 || y.expired < y.orders || y.trimmed < y.orders {
		t.Errorf("the world is not as it should be: sweep %+v, %d orders expired, %d events trimmed", s, y.expired, y.trimmed)
	}
	y.closed = true
	if err := y.store.Close(); err != nil {
		t.Error(err)
	}
}

// retention is a share of all the time that goes by.
func (y *steady) retention(share int) time.Duration {
	return time.Duration(y.ticks) * steadyInterval / time.Duration(share)
}

// interval goes from one tick to just before the next.
func (y *steady) interval() {
	tick := y.toTick()
	for minute := range 15 { // the daemon keeps house once a minute
		time.Sleep(time.Until(tick.Add(time.Duration(minute)*time.Minute + 30*time.Second)))
		synctest.Wait()
		missing := y.orders - int(y.states()[order.StateProcessing])
		y.submitNew(min(missing, max(1, y.orders/20)))
		y.keepHouse()
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.polls = nil
	clear(y.counts)
	clear(y.at)
}

// submitNew submits n orders of any sellers, under names in no order.
func (y *steady) submitNew(n int) {
	if n <= 0 {
		return
	}
	subs := make([]order.Submission, n)
	for i := range subs {
		subs[i] = order.Submission{
			OrderID: fmt.Sprintf("%016x", y.rnd.Uint64()), SellerID: y.sellers[y.rnd.IntN(len(y.sellers))],
			Metadata: map[string]string{"batch": fmt.Sprint(y.submitted)},
		}
	}
	out, err := y.store.Submit(y.t.Context(), subs, y.cfg.Policy.Deadline, y.wallTime().Truncate(time.Millisecond))
	if err != nil {
		y.t.Fatal(err)
	}
	for i := range out {
		if out[i].Err != nil {
			y.t.Fatal(out[i].Err)
		}
	}
	y.submitted += n
}

// keepHouse does to the store what the daemon's housekeeping does, in steps as large.
func (y *steady) keepHouse() {
	ctx, now := y.t.Context(), y.wallTime()
	const chunk = 500
	drain := func(step func() (int, error)) (total int) {
		for {
			n, err := step()
			if err != nil {
				y.t.Fatal(err)
			}
			if total += n; n < chunk {
				return total
			}
		}
	}
	y.expired += drain(func() (int, error) {
		_, n, err := y.store.Expire(ctx, now.Add(-y.retention(5)), chunk)
		return n, err
	})
	y.trimmed += drain(func() (int, error) {
		return y.store.TrimEvents(ctx, now.Add(-y.retention(10)), 10_000_000, chunk)
	})
}

// reply is what the sellers do. world.mu is held.
func (y *steady) reply(string, string, int) (order.Observation, time.Duration) {
	takes := time.Duration(100+y.ask.IntN(200)) * time.Millisecond
	ends := y.ticks / 20 // one in so many
	if y.ask.IntN(ends) == 0 {
		if y.ask.IntN(5) == 0 {
			o := processing()
			o.Outcome, o.SellerError = order.SellerFailed, order.SellerError{Code: "no_stock", Message: "sold out"}
			return o, takes
		}
		return completed(strings.Repeat("result ", 10+y.ask.IntN(400))), takes
	}
	o := processing()
	switch x := y.ask.IntN(100); {
	case x < 10:
		progress := float64(y.ask.IntN(101))
		o.Progress, o.Message = &progress, fmt.Sprintf("step %d of 40", y.ask.IntN(40))
	case x < 12:
		return order.Observation{Outcome: order.HTTPError, Detail: "HTTP 502", Answered: true, HTTPStatus: 502}, takes
	}
	return o, takes
}
