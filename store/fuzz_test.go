package store

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"poller/order"
)

// fullOrder has every field set.
func fullOrder() order.Order {
	f := 12.5
	return order.Order{
		Ref: order.Ref{Seller: 3, Order: 4}, ID: "o", RemoteID: "r", SubmittedAt: testNow, Deadline: testNow.Add(time.Hour), Metadata: map[string]string{"k": "v"},
		State: order.StateProcessing, Tick: 5, NotBefore: testNow, Held: &order.Failure{Code: "x", Message: "y"},
		Progress: &f, ToldProgress: &f, ETASeconds: &f, Message: "m", Polls: 300, LastOutcome: order.Timeout, LastDetail: "d", LastPolledAt: testNow, LastUnanswered: true,
		Trouble:       &order.Trouble{Outcome: order.Timeout, Since: testNow, Told: []order.Outcome{order.Timeout, "unheard_of"}},
		Clocks:        order.Clocks{NotFound: order.Clock{Elapsed: time.Second, Polls: 1}},
		RecentTrouble: []order.Incident{{At: testNow, Outcome: order.Blocked, Detail: "d", HTTPStatus: 200, Duration: time.Second}},
		TroubleToldAt: testNow,
	}
}

// decoders read every kind of record; each must survive any payload, and what it takes for whole must encode again.
var decoders = map[string]func(d *decoder) (again []byte, ok bool){
	"cold": func(d *decoder) ([]byte, bool) {
		var o order.Order
		var c cold
		ok := decodeCold(d, &o, &c)
		e := encodeCold(newEncoder(0), &o, &c)
		return e.b, ok
	},
	"hot": func(d *decoder) ([]byte, bool) {
		var o order.Order
		var t told
		decodeHot(d, &o, &t)
		e := newEncoder(0)
		encodeHot(&e, &o, &t)
		return e.b, d.ok()
	},
	"ended": func(d *decoder) ([]byte, bool) {
		var o order.Order
		var x ended
		var t told
		ok := decodeEnded(d, &o, &x, &t)
		e := encodeEnded(&o, &x, &t)
		return e.b, ok
	},
	"name": func(d *decoder) ([]byte, bool) {
		var n nameRecord
		ok := n.decode(d)
		e := n.encode(newEncoder(0))
		return e.b, ok
	},
	"event": func(d *decoder) ([]byte, bool) {
		ev, ok := decodeEvent(d)
		e := encodeEvent(newEncoder(0), &ev)
		return e.b, ok
	},
	"delivery": func(d *decoder) ([]byte, bool) {
		var x delivery
		ok := x.decode(d)
		e := x.encode(newEncoder(0))
		return e.b, ok
	},
	"health": func(d *decoder) ([]byte, bool) {
		h, ok := decodeHealth(d)
		e := encodeHealth(newEncoder(0), &h)
		return e.b, ok
	},
	"sweep":    func(d *decoder) ([]byte, bool) { s, ok := decodeSweep(d); e := encodeSweep(&s); return e.b, ok },
	"fuse":     func(d *decoder) ([]byte, bool) { f, ok := decodeFuse(d); e := encodeFuse(&f); return e.b, ok },
	"counters": func(d *decoder) ([]byte, bool) { var c counters; ok := c.decode(d); e := c.encode(); return e.b, ok },
	"seller": func(d *decoder) ([]byte, bool) {
		x := decodeSellerHead("s", d)
		return nil, !d.bad && x.Number != 0
	},
}

func FuzzRecords(f *testing.F) {
	o := fullOrder()
	c := encodeCold(newEncoder(0), &o, &cold{submitted: 9})
	f.Add(c.b)
	hot := newEncoder(0)
	encodeHot(&hot, &o, &told{n: 2, numbers: [maxTold]uint64{5, 900}})
	f.Add(hot.b)
	o.State, o.EndedAt, o.Failure, o.Erased = order.StateCompleted, testNow, &order.Failure{Code: "not_found"}, true
	text := "t"
	o.Result = &order.Result{OutputType: order.OutputText, Text: &text, URL: "u", Files: []order.File{{Filename: "f", Size: 3}}}
	end := encodeEnded(&o, &ended{stored: 3, event: 7}, &told{})
	f.Add(end.b)
	ev := encodeEvent(newEncoder(0), &order.Event{Type: order.EventProgress, Progress: o.Progress, Message: "m", OrderID: "o", At: testNow})
	f.Add(ev.b)
	row := delivery{ref: o.Ref, attempts: 3, queuedAt: testNow, dueAt: testNow.Add(time.Hour)}
	out := row.encode(newEncoder(0))
	f.Add(out.b)
	sw := encodeSweep(&order.Sweep{Tick: 1, Outcomes: map[order.Outcome]int64{order.Timeout: 3}})
	f.Add(sw.b)
	fuse := encodeFuse(&order.Fuse{Losers: map[uint32]time.Time{3: testNow}})
	f.Add(fuse.b)
	f.Fuzz(func(t *testing.T, payload []byte) {
		// The checksum is right, the content anything.
		key := []byte("key")
		for kind, decode := range decoders {
			e := encoder{append([]byte{recordFormat}, payload...)}
			d, ok := open(7, key, e.seal(7, key))
			if !ok {
				t.Fatalf("%s: own checksum refused", kind)
			}
			again, ok := decode(&d)
			if !ok || again == nil {
				continue
			}
			// Whole: what was understood survives another round.
			d = decoder{b: again[1:]}
			twice, ok := decode(&d)
			if kind != "sweep" && kind != "fuse" && !bytes.Equal(again, twice) || !ok {
				t.Errorf("%s: %x, then %x", kind, again, twice)
			}
		}
		// The same bytes as a record: refused, but for one in four billion.
		if _, ok := open(7, key, payload); ok {
			t.Errorf("foreign bytes taken for a record: %x", payload)
		}
	})
}

func FuzzCursor(f *testing.F) {
	s := &Store{id: "store"}
	f.Add("")
	f.Add(s.cursor("sellers", []byte("acme")))
	f.Fuzz(func(t *testing.T, after string) {
		key, err := s.parseCursor("sellers", after)
		if err == nil && after != "" && s.cursor("sellers", key) != after {
			t.Errorf("%q was never given out", after)
		}
	})
}

// A flipped bit anywhere in a record, or another key or bucket, is noticed.
func TestChecksum(t *testing.T) {
	o := fullOrder()
	key := refKey(o.Ref)
	e := encodeCold(newEncoder(0), &o, &cold{})
	rec := e.seal(bCold.seed, key)
	if _, ok := open(bCold.seed, key, rec); !ok {
		t.Fatal("refused")
	}
	for i := range len(rec) * 8 {
		bad := bytes.Clone(rec)
		bad[i/8] ^= 1 << (i % 8)
		if _, ok := open(bCold.seed, key, bad); ok {
			t.Errorf("bit %d flipped, not noticed", i)
		}
	}
	if _, ok := open(bHot.seed, key, rec); ok {
		t.Error("in another bucket, not noticed")
	}
	if _, ok := open(bCold.seed, refKey(order.Ref{Seller: 3, Order: 5}), rec); ok {
		t.Error("under another key, not noticed")
	}
	for n := range rec {
		if _, ok := open(bCold.seed, key, rec[:n]); ok {
			t.Errorf("cut to %d bytes, not noticed", n)
		}
	}
}

// A scan must come to the same answer as order.Due on the whole order, whatever that asks for.
func TestDecodeDueReadsWhatDueAsksFor(t *testing.T) {
	o := fullOrder()
	var tt told
	for _, edit := range []func(*order.Order){
		func(*order.Order) {},
		func(o *order.Order) { o.NotBefore = time.Time{} },
		func(o *order.Order) { o.NotBefore = testNow.Add(2 * time.Minute) },
		func(o *order.Order) {
			o.NotBefore, o.LastPolledAt = testNow.Add(48*time.Hour), testNow.Add(47*time.Hour)
		},
		func(o *order.Order) { o.LastPolledAt = time.Time{} },
		func(o *order.Order) { o.Tick = 9 },
	} {
		x := o
		edit(&x)
		e := newEncoder(0)
		encodeHot(&e, &x, &tt)
		d := decoder{b: e.b[1:]}
		var part, whole order.Order
		decodeDue(&d, &part)
		d = decoder{b: e.b[1:]}
		decodeHot(&d, &whole, &tt)
		for tick := range uint64(12) {
			for _, byHand := range []bool{false, true} {
				if part.Due(tick, testNow, byHand) != whole.Due(tick, testNow, byHand) || whole.Due(tick, testNow, byHand) != x.Due(tick, testNow, byHand) {
					t.Errorf("tick %d, by hand %v: %+v", tick, byHand, x)
				}
			}
		}
		if part.LastUnanswered != x.LastUnanswered {
			t.Error("LastUnanswered")
		}
	}
}

func TestZeroTimesAndEdgesSurvive(t *testing.T) {
	for _, at := range []time.Time{{}, time.UnixMilli(0).UTC(), time.UnixMilli(-1).UTC(), time.UnixMilli(1).UTC(), time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC), time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)} {
		var e encoder
		e.time(at)
		d := decoder{b: e.b}
		if got := d.time(); !reflect.DeepEqual(got, at) || !d.ok() {
			t.Errorf("%v became %v", at, got)
		}
	}
	for _, f := range []float64{0, 1, 99, 100, 12.5, -1, 1e300, 1 << 50, 1<<50 - 1} {
		var e encoder
		e.float(f)
		d := decoder{b: e.b}
		if got := d.float(); got != f || !d.ok() {
			t.Errorf("%v became %v", f, got)
		}
	}
}
