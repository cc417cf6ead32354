package store

import (
	"context"
	"fmt"
	"time"

	"poller/order"
)

// Submit takes orders in, one by one in the order given, and returns what
// became of each; all that were created are on disk. The error tells that none
// was stored. A submission without a deadline gets now plus defaultDeadline.
//
// The rules are those of SPEC §1 and §6: the same again is the existing order,
// other content under the same id is order.ErrConflict, and so is a remote_id that is
// another seller's or that an order in processing has.
func (s *Store) Submit(ctx context.Context, subs []order.Submission, defaultDeadline time.Duration, now time.Time) ([]order.Submitted, error) {
	now = now.Truncate(time.Millisecond)
	var done []order.Submitted
	err := s.update(ctx, len(subs), func(t *txn) error {
		done = make([]order.Submitted, len(subs))
		in := submitter{t: t, r: t.reader(), now: now, deadline: now.Add(defaultDeadline), sellers: make(map[string]uint32)}
		for i := range subs {
			done[i].Order, done[i].Created, done[i].Err = in.submit(&subs[i])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

type submitter struct {
	t        *txn
	r        *reader
	now      time.Time
	deadline time.Time         // for those that bring none
	sellers  map[string]uint32 // numbers of those met
}

func (in *submitter) submit(sub *order.Submission) (o order.Order, created bool, err error) {
	digest := sub.Digest()
	name, err := in.r.name(sub.OrderID)
	if err != nil {
		return o, false, err
	}
	if name.order != (order.Ref{}) {
		o, err = in.again(sub, digest, name.order)
		return o, false, err
	}
	if sub.Fault != nil {
		return o, false, sub.Fault
	}
	remote := sub.RemoteID
	if remote == "" {
		remote = sub.OrderID
	}
	if !order.ValidID(sub.OrderID) || !order.ValidID(remote) {
		return o, false, fmt.Errorf("order_id %q or remote_id %q is not valid", sub.OrderID, remote)
	}
	seller, err := in.seller(sub.SellerID)
	if err != nil {
		return o, false, err
	}
	rname := name
	if remote != sub.OrderID {
		if rname, err = in.r.name(remote); err != nil {
			return o, false, err
		}
	}
	if rname.kept > 0 && rname.seller != seller {
		return o, false, fmt.Errorf("%w: remote_id %q belongs to another seller's orders", order.ErrConflict, remote)
	}
	if rname.active != 0 {
		return o, false, fmt.Errorf("%w: another order with remote_id %q is still in processing", order.ErrConflict, remote)
	}
	return in.create(sub, digest, seller, remote, name, rname), true, nil
}

// again answers a submission under an id that exists.
func (in *submitter) again(sub *order.Submission, digest [32]byte, ref order.Ref) (order.Order, error) {
	x, err := in.r.named(sub.OrderID, ref)
	if err != nil {
		return order.Order{}, err
	}
	if x.Erased {
		return order.Order{}, fmt.Errorf("order %q: %w", sub.OrderID, order.ErrErased)
	}
	if x.cold.digest != digest {
		return order.Order{}, fmt.Errorf("%w: order %q exists with other content", order.ErrConflict, sub.OrderID)
	}
	return x.Order, nil
}

// seller returns the number of a seller. Errors: order.ErrUnknownSeller, order.ErrDamaged.
func (in *submitter) seller(id string) (uint32, error) {
	if n := in.sellers[id]; n != 0 {
		return n, nil
	}
	d, found, ok := in.t.get(bSellers, []byte(id))
	if !found {
		return 0, fmt.Errorf("%w: %q", order.ErrUnknownSeller, id)
	}
	if !ok {
		return 0, fmt.Errorf("seller %q: %w", id, order.ErrDamaged)
	}
	n := decodeSellerHead(id, &d).Number
	in.sellers[id] = n
	return n, nil
}

// create stores a new order.
func (in *submitter) create(sub *order.Submission, digest [32]byte, seller uint32, remote string, name, rname nameRecord) order.Order {
	t := in.t
	t.counters.orders++
	o := order.Order{
		Ref: order.Ref{Seller: seller, Order: t.counters.orders},
		ID:  sub.OrderID, RemoteID: remote, SellerID: sub.SellerID,
		SubmittedAt: in.now, Deadline: in.deadline, Metadata: sub.Metadata, State: order.StateProcessing,
	}
	if sub.Deadline != nil {
		o.Deadline = sub.Deadline.Truncate(time.Millisecond)
	}
	ev := order.Event{Type: order.EventSubmitted, Ref: o.Ref, OrderID: o.ID, At: in.now}
	c := cold{digest: digest, submitted: t.event(&ev)}
	key := refKey(o.Ref)
	t.put(bCold, key, encodeCold(t.encoder(), &o, &c))
	hot := t.encoder()
	encodeHot(&hot, &o, &told{})
	t.put(bHot, key, hot)

	// The order_id, the remote_id, or mostly both in one.
	if remote == sub.OrderID {
		rname.order = o.Ref
	} else {
		name.order = o.Ref
		t.put(bNames, []byte(sub.OrderID), name.encode(t.encoder()))
	}
	rname.seller, rname.active = seller, o.Ref.Order
	rname.kept++
	t.put(bNames, []byte(remote), rname.encode(t.encoder()))

	t.count(seller, 1, 0)
	t.states[order.StateProcessing]++
	return o
}
