package store

import (
	"errors"
	"fmt"
	"iter"
	"maps"
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
		checkOutbox(t, s, tx)
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
		uploads := slices.Collect(keysUnder(tx.Bucket(bUploads.name), k))
		if x.Ended() && len(uploads) > 0 {
			t.Errorf("%s has ended with %d upload slots", x.ID, len(uploads))
		}
		objects += len(uploads)
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

// keysUnder yields the keys of a bucket that begin with prefix.
func keysUnder(b *bolt.Bucket, prefix []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		c := b.Cursor()
		for k, _ := c.Seek(prefix); k != nil && hasPrefix(k, prefix); k, _ = c.Next() {
			if !yield(slices.Clone(k)) {
				return
			}
		}
	}
}

// checkOutbox checks that deliveries are those of ended orders, once each, and that they are listed as they are.
func checkOutbox(t testing.TB, s *Store, tx *bolt.Tx) {
	t.Helper()
	r := s.reader(tx)
	box, dead, listed := s.outbox(tx), tx.Bucket(bDead.name), map[string]bool{}
	for _, b := range []*bucket{bOutbox, bTried} {
		for k := range keysUnder(tx.Bucket(b.name), nil) {
			n := parseNumber(k)
			row, in, _ := box.row(n)
			if _, ok := box.delivery(r, n); !ok || in != b || dead.Get(k) != nil {
				t.Errorf("delivery %d in %s: %+v", n, b.name, row)
			}
			if keys := row.keys(n); in == bTried {
				listed[string(keys[0])], listed[string(keys[1])] = true, true
			}
		}
	}
	for k := range keysUnder(tx.Bucket(bDue.name), nil) {
		if !listed[string(k)] {
			t.Errorf("%x is listed as due", k)
		}
		delete(listed, string(k))
	}
	if len(listed) > 0 {
		t.Errorf("not listed as due: %x", slices.Collect(maps.Keys(listed)))
	}
	for k := range keysUnder(dead, nil) {
		var row delivery
		d, _, ok := s.get(dead, bDead, k)
		var x stored
		if !ok || !row.decode(&d) || r.readEnded(&x, row.ref) != nil || x.ended.event != parseNumber(k) {
			t.Errorf("set aside %x: %+v", k, row)
		}
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
	erased         bool
	lookAt         time.Time // when it is looked at whether it may go
	delivery       string    // "", "pending" or "dead"
}

// end makes the transition.
func (o *modelOrder) end(st order.State, at time.Time) {
	o.state, o.held, o.endedAt, o.lookAt, o.delivery = st, false, at, at, "pending"
}

// submit says what a submission must lead to: created, existing, or refused.
func (m *model) submit(id, seller, remote string) string {
	if o, ok := m.orders[id]; ok {
		if o.seller == seller && o.remote == remote && !o.erased {
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
	r.s = mustOpen(r.T, o)
}

func (r *modelRun) pick(list ...string) string { return list[r.rnd.IntN(len(list))] }

func (r *modelRun) step() {
	r.now = r.now.Add(time.Minute)
	switch n := r.rnd.IntN(100); {
	case n < 32:
		r.submit()
	case n < 60:
		r.record()
	case n < 66:
		r.deliver()
	case n < 70:
		r.replay()
	case n < 74:
		r.erase()
	case n < 78:
		r.upload()
	case n < 81:
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
			o.end(st, testNow)
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
			o.end(order.StateCancelled, r.now)
		}
	}
}

func (r *modelRun) release() {
	_, _, err := r.s.Release(r.Context(), "", 1000, r.now)
	must(r, err)
	for _, o := range r.m.orders {
		if o.held {
			o.end(order.StateFailed, r.now)
		}
	}
}

func (r *modelRun) expire() {
	before := r.now.Add(-30 * time.Minute)
	keys, _, err := r.s.Expire(r.Context(), before, 1000)
	must(r, err)
	for id, o := range r.m.orders {
		switch {
		case o.state == order.StateProcessing || !o.lookAt.Before(before):
		case o.delivery != "" && o.lookAt.Equal(o.endedAt):
			o.lookAt = o.endedAt.Add(30 * time.Minute)
		default:
			delete(r.m.orders, id)
		}
	}
	must(r, r.s.Deleted(r.Context(), keys))
}

// deliver makes attempts of some of what is due.
func (r *modelRun) deliver() {
	due, _, err := r.s.Deliveries(r.Context(), r.now, 1+r.rnd.IntN(20))
	must(r, err)
	var attempts []order.Attempt
	for _, d := range due {
		o := r.m.orders[d.Event.OrderID]
		if o == nil || o.delivery != "pending" || d.Event.Erased != o.erased || d.Event.Type != endEvent(o.state) || (d.Event.Order == nil) != o.erased {
			r.Fatalf("delivery of %+v: %+v", o, d)
		}
		a := order.Attempt{Number: d.Event.Number, Attempts: d.Attempts + r.rnd.IntN(2)}
		switch r.pick("taken", "taken", "failed", "dead", "in flight") {
		case "taken":
			a.Taken, o.delivery = true, ""
		case "failed":
			a.DueAt = r.now.Add(time.Duration(r.rnd.IntN(60)) * time.Minute)
		case "dead":
			a.Dead, o.delivery = true, "dead"
		default:
			continue
		}
		attempts = append(attempts, a)
	}
	must(r, r.s.Delivered(r.Context(), attempts))
}

func (r *modelRun) replay() {
	for id, o := range r.m.orders {
		n, err := r.s.ReplayOrder(r.Context(), id, r.now)
		must(r, err)
		if (n == 1) != (o.state != order.StateProcessing) {
			r.Errorf("replay of %+v: %d", o, n)
		}
		if n == 1 {
			o.delivery = "pending"
		}
		if r.rnd.IntN(3) == 0 {
			return
		}
	}
}

func (r *modelRun) erase() {
	for id, o := range r.m.orders {
		want := map[bool]error{o.erased: order.ErrErased, o.state == order.StateProcessing: order.ErrActive}[true]
		if err := r.s.Erase(r.Context(), id); !errors.Is(err, want) {
			r.Errorf("erase %+v: %v", o, err)
		}
		if o.erased = o.state != order.StateProcessing; o.erased {
			return
		}
	}
}

// upload makes an upload slot; what an order's result does not name goes with its end.
func (r *modelRun) upload() {
	for id, o := range r.m.orders {
		key := fmt.Sprintf("orders/%s/up/%d", o.remote, r.rnd.Uint64())
		if r.rnd.IntN(2) == 0 && o.state == order.StateProcessing {
			x, err := r.s.Order(r.Context(), id)
			must(r, err)
			key = "orders/" + id + "/" + fmt.Sprint(x.Ref.Order) // what its result is going to name
		}
		_, err := r.s.AddUpload(r.Context(), id, key, 7, 1<<20)
		if o.state == order.StateProcessing {
			if got, _, err := r.s.Upload(r.Context(), key); err != nil || got.ID != id {
				r.Errorf("%s: %+v, %v", key, got, err)
			}
			return
		}
		if err == nil {
			r.Errorf("a slot for %+v", o)
		}
	}
}

func (r *modelRun) compare() {
	r.Helper()
	counts := map[order.State]int64{}
	deliveries := map[string]int64{}
	for id, want := range r.m.orders {
		counts[want.state]++
		deliveries[want.delivery]++
		got, err := r.s.Order(r.Context(), id)
		if err != nil || got.State != want.state || got.SellerID != want.seller || got.RemoteID != want.remote || got.Polls != want.polls || (got.Held != nil) != want.held || got.Erased != want.erased {
			r.Errorf("%s: %+v, %v; want %+v", id, got, err, want)
		}
	}
	for st, n := range r.s.Counts() {
		if n != counts[st] {
			r.Errorf("%d orders %s, want %d", n, st, counts[st])
		}
	}
	if pending, dead := r.s.OutboxCounts(); pending != deliveries["pending"] || dead != deliveries["dead"] {
		r.Errorf("%d pending, %d dead, want %v", pending, dead, deliveries)
	}
	checkConsistent(r, r.s)
}
