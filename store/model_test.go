package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// checkConsistent checks what must hold of every store at every time: bbolt's own
// rules, memory against a fresh count, indexes against records, dense events.
func checkConsistent(t testing.TB, s *Store) {
	t.Helper()
	must(t, s.db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("bbolt: %v", err)
		}
		fresh := &Store{opts: s.opts, log: s.log, key: s.key, id: s.id, ids: map[uint32]string{}}
		if err := fresh.load(t.Context(), tx); err != nil {
			return err
		}
		if got, want := fmt.Sprint(s.mem), fmt.Sprint(fresh.mem); got != want {
			t.Errorf("memory\n%s\nfile\n%s", got, want)
		}
		want := fresh.mem.firstEvent
		c := tx.Bucket(bEvents.name).Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			if n := parseNumber(k); n != want {
				t.Errorf("event %d, want %d", n, want)
			}
			want++
		}
		if want != fresh.mem.events+1 {
			t.Errorf("events end at %d, want %d", want-1, fresh.mem.events)
		}
		checkOrders(t, s, tx)
		return nil
	}))
	if d := s.Damaged(); d != 0 {
		t.Errorf("%d damaged", d)
	}
}

// checkOrders checks that names, claims and held orders are those of the orders, no more and no less.
func checkOrders(t testing.TB, s *Store, tx *bolt.Tx) {
	t.Helper()
	r := s.reader(tx)
	names := map[string]nameRecord{}
	objects, held := 0, 0
	c := tx.Bucket(bCold.name).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		x, err := r.order(parseRef(k))
		if err != nil {
			t.Error(err)
			continue
		}
		n := names[x.ID]
		n.order = x.Ref
		names[x.ID] = n
		n = names[x.RemoteID]
		n.seller = x.Ref.Seller
		n.kept++
		if !x.Ended() {
			n.active = x.Ref.Order
		}
		names[x.RemoteID] = n
		objects += len(x.Result.Keys())
		if x.Held != nil {
			held++
			if tx.Bucket(bHeld.name).Get(k) == nil {
				t.Errorf("%s is not among the held", x.ID)
			}
		}
		both := tx.Bucket(bHot.name).Get(k) != nil && tx.Bucket(bEnded.name).Get(k) != nil
		if both {
			t.Errorf("%s is in processing and has ended", x.ID)
		}
	}
	count := func(b *bucket) (n int) {
		_ = tx.Bucket(b.name).ForEach(func(_, _ []byte) error { n++; return nil })
		return n
	}
	if got := count(bNames); got != len(names) {
		t.Errorf("%d names, want %d", got, len(names))
	}
	for name, want := range names {
		if got, err := r.name(name); err != nil || got != want {
			t.Errorf("name %q: %+v, %v; want %+v", name, got, err, want)
		}
	}
	if got := count(bObjects); got != objects {
		t.Errorf("%d claims, want %d", got, objects)
	}
	if got := count(bHeld); got != held {
		t.Errorf("%d held, want %d", got, held)
	}
}

// model is what the store should be, as simple as can be.
type model struct {
	orders map[string]*modelOrder // by order_id
}

type modelOrder struct {
	seller, remote string
	state          order.State
	endedAt        time.Time
	polls          uint64
	held           bool
}

// submit says what a submission must lead to: created, existing, or refused.
func (m *model) submit(id, seller, remote string) string {
	if o, ok := m.orders[id]; ok {
		if o.seller == seller && o.remote == remote {
			return "existing"
		}
		return "refused"
	}
	for _, o := range m.orders {
		if o.remote == remote && (o.seller != seller || o.state == order.StateProcessing) {
			return "refused"
		}
	}
	m.orders[id] = &modelOrder{seller: seller, remote: remote, state: order.StateProcessing}
	return "created"
}

// TestModel does random things to the store and to a model of it, and compares. The seed is printed.
func TestModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rounds := 600
	if testing.Short() {
		rounds = 150
	}
	run := &modelRun{T: t, rnd: rand.New(rand.NewPCG(seed, 1)), dir: t.TempDir(), m: model{orders: map[string]*modelOrder{}}, now: testNow}
	run.open()
	for _, id := range []string{"s1", "s2", "s3"} {
		putSeller(t, run.s, id)
	}
	for range rounds {
		run.step()
		if t.Failed() {
			break
		}
	}
	run.compare()
	must(t, run.s.Close())
}

type modelRun struct {
	*testing.T
	rnd *rand.Rand
	dir string
	s   *Store
	m   model
	now time.Time
}

func (r *modelRun) open() {
	o := testOptions(r.dir)
	o.Now = func() time.Time { return r.now }
	o.WebhookEvents = nil
	r.s = mustOpen(r.T, o)
}

func (r *modelRun) pick(list ...string) string { return list[r.rnd.IntN(len(list))] }

func (r *modelRun) step() {
	r.now = r.now.Add(time.Minute)
	switch n := r.rnd.IntN(100); {
	case n < 40:
		r.submit()
	case n < 75:
		r.record()
	case n < 80:
		r.cancelSeller()
	case n < 88:
		r.release()
	case n < 94:
		r.expire()
	case n < 97:
		_, err := r.s.TrimEvents(r.Context(), r.now.Add(-time.Hour), 50, 20)
		must(r, err)
	default:
		r.compare()
		must(r, r.s.Close())
		r.open()
	}
}

func (r *modelRun) submit() {
	var subs []order.Submission
	var want []string
	for range 1 + r.rnd.IntN(4) {
		sub := order.Submission{OrderID: fmt.Sprint("o", r.rnd.IntN(60)), SellerID: r.pick("s1", "s2", "s3")}
		remote := sub.OrderID
		if r.rnd.IntN(3) == 0 {
			remote = fmt.Sprint("r", r.rnd.IntN(10))
			sub.RemoteID = remote
		}
		subs = append(subs, sub)
		want = append(want, r.m.submit(sub.OrderID, sub.SellerID, remote))
	}
	done, err := r.s.Submit(r.Context(), subs, time.Hour, r.now)
	must(r, err)
	for i, d := range done {
		got := "refused"
		if d.Err == nil {
			got = "existing"
			if d.Created {
				got = "created"
			}
		}
		if got != want[i] {
			r.Errorf("%+v: %s, want %s: %v", subs[i], got, want[i], d.Err)
		}
	}
}

// record ends, holds or just polls some orders, in one batch.
func (r *modelRun) record() {
	var changes []*order.Change
	for id, o := range r.m.orders {
		if len(changes) == 5 {
			break
		}
		x, err := r.s.Order(r.Context(), id)
		must(r, err)
		what := r.pick("completed", "failed", "cancelled", "held", "poll", "poll", "poll")
		changes = append(changes, change(x.Ref, func(n *order.Order) {
			n.Polls++
			n.Held = nil
			switch what {
			case "completed", "failed", "cancelled":
				n.State = order.State(what)
				if n.State == order.StateCompleted {
					n.Result = &order.Result{OutputType: order.OutputFile, Files: []order.File{{ObjectKey: "orders/" + n.ID + "/" + fmt.Sprint(n.Ref.Order), Size: 7}}}
				}
			case "held":
				n.Held = &order.Failure{Code: order.CodeNotFound}
			}
		}))
		if o.state != order.StateProcessing {
			continue
		}
		o.polls++
		o.held = what == "held"
		if st := order.State(what); slices.Contains(order.States, st) {
			o.state, o.endedAt = st, testNow
		}
	}
	must(r, r.s.Record(r.Context(), &order.Batch{Changes: changes, Now: r.now}))
}

func (r *modelRun) cancelSeller() {
	id := r.pick("s1", "s2", "s3")
	x, err := r.s.Seller(r.Context(), id)
	must(r, err)
	_, more, err := r.s.CancelSeller(r.Context(), x.Number, 1000, r.now)
	must(r, err)
	if more {
		r.Error("more to cancel")
	}
	for _, o := range r.m.orders {
		if o.seller == id && o.state == order.StateProcessing {
			o.state, o.held, o.endedAt = order.StateCancelled, false, r.now
		}
	}
}

func (r *modelRun) release() {
	_, _, err := r.s.Release(r.Context(), "", 1000, r.now)
	must(r, err)
	for _, o := range r.m.orders {
		if o.held {
			o.state, o.held, o.endedAt = order.StateFailed, false, r.now
		}
	}
}

func (r *modelRun) expire() {
	before := r.now.Add(-30 * time.Minute)
	keys, _, err := r.s.Expire(r.Context(), before, 1000)
	must(r, err)
	for id, o := range r.m.orders {
		if o.state != order.StateProcessing && o.endedAt.Before(before) {
			delete(r.m.orders, id)
		}
	}
	must(r, r.s.Deleted(r.Context(), keys))
}

func (r *modelRun) compare() {
	r.Helper()
	counts := map[order.State]int64{}
	for id, want := range r.m.orders {
		counts[want.state]++
		got, err := r.s.Order(r.Context(), id)
		if err != nil || got.State != want.state || got.SellerID != want.seller || got.RemoteID != want.remote || got.Polls != want.polls || (got.Held != nil) != want.held {
			r.Errorf("%s: %+v, %v; want %+v", id, got, err, want)
		}
	}
	for st, n := range r.s.Counts() {
		if n != counts[st] {
			r.Errorf("%d orders %s, want %d", n, st, counts[st])
		}
	}
	checkConsistent(r, r.s)
}
