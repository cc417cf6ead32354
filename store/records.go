package store

import (
	"time"

	"poller/order"
)

// nameRecord says what a name stands for. Most orders bring no remote_id of
// their own, so that one name, in one record, is both.
type nameRecord struct {
	order order.Ref // the order with this order_id; zero: none

	// As a remote_id: whose it is, how many kept orders have it, and the one of them in processing.
	seller uint32
	kept   uint64
	active uint64 // 0: none
}

func (n *nameRecord) empty() bool { return n.order == order.Ref{} && n.kept == 0 }

func (n *nameRecord) encode(e encoder) encoder {
	e.uint(uint64(n.order.Seller))
	e.uint(n.order.Order)
	e.uint(uint64(n.seller))
	e.uint(n.kept)
	e.uint(n.active)
	return e
}

func (n *nameRecord) decode(d *decoder) bool {
	n.order = order.Ref{Seller: uint32(d.uint()), Order: d.uint()}
	n.seller = uint32(d.uint())
	n.kept = d.uint()
	n.active = d.uint()
	return d.ok()
}

// encodeEvent leaves out the number (the key), the seller's id (its number
// says it) and the order of a transition (the ended record says it).
func encodeEvent(e encoder, ev *order.Event) encoder {
	enum(&e, eventTable, ev.Type)
	e.uint(uint64(ev.Ref.Seller))
	e.uint(ev.Ref.Order)
	e.string(ev.OrderID)
	e.time(ev.At)
	e.bool(ev.Erased)
	switch ev.Type {
	case order.EventProgress:
		e.bool(ev.Progress != nil)
		if ev.Progress != nil {
			e.float(*ev.Progress)
		}
		e.string(ev.Message)
	case order.EventTrouble:
		enum(&e, outcomeTable, ev.Outcome)
		e.string(ev.Detail)
	}
	return e
}

// decodeEventHead reads no more than what happened and to which order.
func decodeEventHead(d *decoder) order.Event {
	return order.Event{Type: readEnum(d, eventTable), Ref: order.Ref{Seller: uint32(d.uint()), Order: d.uint()}}
}

func decodeEvent(d *decoder) (order.Event, bool) {
	ev := decodeEventHead(d)
	ev.OrderID = d.string()
	ev.At = d.time()
	ev.Erased = d.bool()
	switch ev.Type {
	case order.EventProgress:
		if d.bool() {
			v := d.float()
			ev.Progress = &v
		}
		ev.Message = d.string()
	case order.EventTrouble:
		ev.Outcome = readEnum(d, outcomeTable)
		ev.Detail = d.string()
	}
	return ev, d.ok() && ev.Type != ""
}

func encodeHealth(e encoder, h *order.Health) encoder {
	enum(&e, outcomeTable, h.LastOutcome)
	e.time(h.LastPolledAt)
	e.time(h.LastAnsweredAt)
	e.time(h.LastValidAt)
	e.int(int64(h.FailuresInARow))
	return e
}

func decodeHealth(d *decoder) (order.Health, bool) {
	h := order.Health{
		LastOutcome: readEnum(d, outcomeTable), LastPolledAt: d.time(), LastAnsweredAt: d.time(), LastValidAt: d.time(),
		FailuresInARow: int(d.int()),
	}
	return h, d.ok()
}

func encodeSweep(s *order.Sweep) encoder {
	e := newEncoder(96)
	e.uint(s.Tick)
	enum(&e, triggerTable, s.Trigger)
	enum(&e, sweepTable, s.State)
	e.time(s.StartedAt)
	e.time(s.EndedAt)
	for _, n := range [...]int64{s.Due, s.Polled, s.Skipped, s.LeftToSeller, s.Remaining} {
		e.int(n)
	}
	e.uint(uint64(len(s.Outcomes)))
	for o, n := range s.Outcomes {
		enum(&e, outcomeTable, o)
		e.int(n)
	}
	return e
}

func decodeSweep(d *decoder) (order.Sweep, bool) {
	s := order.Sweep{
		Tick: d.uint(), Trigger: readEnum(d, triggerTable), State: readEnum(d, sweepTable), StartedAt: d.time(), EndedAt: d.time(),
		Due: d.int(), Polled: d.int(), Skipped: d.int(), LeftToSeller: d.int(), Remaining: d.int(),
	}
	if n := d.count(); n > 0 {
		s.Outcomes = make(map[order.Outcome]int64, n)
		for range n {
			o := readEnum(d, outcomeTable)
			s.Outcomes[o] = d.int()
		}
	}
	return s, d.ok()
}

func encodeFuse(f *order.Fuse) encoder {
	e := newEncoder(32 + 10*len(f.Losers))
	e.bool(f.Blown)
	e.time(f.BlownAt)
	e.uint(uint64(len(f.Losers)))
	for n, at := range f.Losers {
		e.uint(uint64(n))
		e.time(at)
	}
	return e
}

func decodeFuse(d *decoder) (order.Fuse, bool) {
	f := order.Fuse{Blown: d.bool(), BlownAt: d.time()}
	if n := d.count(); n > 0 {
		f.Losers = make(map[uint32]time.Time, n)
		for range n {
			k := uint32(d.uint())
			f.Losers[k] = d.time()
		}
	}
	return f, d.ok()
}
