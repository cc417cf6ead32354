package store

import (
	"fmt"
	"maps"

	"poller/order"
)

// maxObjectKey bounds the key of a result file, in bytes.
const maxObjectKey = 2048

// check says whether a decision about x may be applied. After a nil, apply can't be refused.
// Errors: order.ErrEnded; order.ErrConflict if a file of the result belongs to another order.
func (t *txn) check(x *stored, d *order.Decision) error {
	if x.Ended() {
		return refErr(x.Ref, order.ErrEnded)
	}
	if d.Order.State != order.StateCompleted {
		return nil
	}
	for _, key := range d.Order.Result.Keys() {
		if len(key) > maxObjectKey {
			return fmt.Errorf("%w: the key of a result file is longer than %d bytes", order.ErrConflict, maxObjectKey)
		}
		if t.belongsToAnother(key, x.Ref) {
			return fmt.Errorf("%w: %s belongs to another order", order.ErrConflict, key)
		}
	}
	return nil
}

// belongsToAnother reports whether a result file is another order's. A damaged claim is somebody's,
// and a file that is to be deleted was.
func (t *txn) belongsToAnother(key string, ref order.Ref) bool {
	if t.bucket(bTrash).Get([]byte(key)) != nil {
		return true
	}
	d, found, ok := t.get(bObjects, []byte(key))
	if !found {
		return false
	}
	return !ok || ref != (order.Ref{Seller: uint32(d.uint()), Order: d.uint()})
}

// apply writes what follows from a decision about x, which check has passed:
// order, events, outbox row, claims and indexes, all in this transaction. d.Order is then as written.
func (t *txn) apply(x *stored, d *order.Decision) {
	n := &d.Order
	// These can't be decided.
	n.Ref, n.ID, n.RemoteID, n.SellerID, n.SubmittedAt = x.Ref, x.ID, x.RemoteID, x.SellerID, x.SubmittedAt
	// Whoever is answered with n sees what readers will see.
	n.Deadline, n.NotBefore, n.EndedAt = kept(n.Deadline), kept(n.NotBefore), kept(n.EndedAt)
	key := refKey(n.Ref)
	end := t.tell(x, d.Events)
	if n.Ended() {
		t.end(x, n, end)
	} else {
		e := t.encoder()
		encodeHot(&e, n, &x.told)
		t.put(bHot, key, e)
	}
	if !n.Deadline.Equal(x.Deadline) || !maps.Equal(n.Metadata, x.Metadata) {
		t.put(bCold, key, encodeCold(t.encoder(), n, &x.cold))
	}
	switch held := n.Held != nil && !n.Ended(); {
	case held && x.Held == nil:
		t.mark(bHeld, key)
		t.held++
	case !held && x.Held != nil:
		t.delete(bHeld, key)
		t.held--
	}
}

// tell records the events of a decision, and returns the number of the one that tells of the end.
func (t *txn) tell(x *stored, events []order.Event) (end uint64) {
	for i := range events {
		ev := events[i]
		ev.Ref, ev.OrderID = x.Ref, x.ID
		number := t.event(&ev)
		switch ev.Type {
		case order.EventProgress:
			x.told.add(number)
		case order.EventTrouble, order.EventRecovered:
			t.put(bHistory, historyKey(x.Ref, number), encodeEvent(t.encoder(), &ev))
		case order.EventCompleted, order.EventFailed, order.EventCancelled:
			end = number
		}
	}
	return end
}

// event records one event.
func (t *txn) event(ev *order.Event) uint64 {
	t.counters.events++
	key := numberKey(t.counters.events)
	t.put(bEvents, key, encodeEvent(t.encoder(), ev))
	return t.counters.events
}

// end makes the one transition of an order.
func (t *txn) end(x *stored, n *order.Order, event uint64) {
	key := refKey(n.Ref)
	if n.State != order.StateCompleted {
		n.Result = nil
	}
	out := ended{stored: n.Result.Stored(), event: event}
	t.delete(bHot, key)
	t.put(bEnded, key, encodeEnded(n, &out, &x.told))
	t.mark(bEnds, endsKey(n.EndedAt, n.Ref))
	keys := n.Result.Keys()
	for _, k := range keys {
		t.claim(k, n.Ref)
	}
	t.endUploads(n.Ref, keys)
	if event != 0 && t.webhook[endEvent(n.State)] {
		t.queue(event, n.Ref, n.EndedAt)
	}
	// A damaged name stays as it is: nothing is known of it.
	if name, err := t.reader().name(n.RemoteID); err == nil && name.active == n.Ref.Order {
		name.active = 0
		t.put(bNames, []byte(n.RemoteID), name.encode(t.encoder()))
	}
	t.count(n.Ref.Seller, -1, out.stored)
	t.states[order.StateProcessing]--
	t.states[n.State]++
	if t.s.opts.ObserveEnd != nil {
		t.ends = append(t.ends, n)
	}
}
