package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// stored is an order with all that the store keeps of it.
type stored struct {
	order.Order
	cold  cold
	ended ended // of ended orders
	told  told
}

// reader reads orders in one transaction, of reading or of writing.
type reader struct {
	s                       *Store
	cold, hot, ended, names *bolt.Bucket
	sellerID                func(uint32) string

	key               []byte // of the order being read
	nextCold, nextHot follower
	// In a writing transaction: how often cold was changed, after which the follower must seek.
	changes *int
	seen    int
}

func (s *Store) reader(tx *bolt.Tx) *reader {
	return &reader{
		s: s, cold: tx.Bucket(bCold.name), hot: tx.Bucket(bHot.name), ended: tx.Bucket(bEnded.name),
		names: tx.Bucket(bNames.name), sellerID: s.sellerID,
	}
}

func (t *txn) reader() *reader {
	return &reader{
		s: t.s, cold: t.bucket(bCold), hot: t.bucket(bHot), ended: t.bucket(bEnded),
		names: t.bucket(bNames), sellerID: t.sellerID, changes: &t.coldChanges,
	}
}

// order reads an order. Errors: order.ErrNotFound, order.ErrDamaged.
func (r *reader) order(ref order.Ref) (*stored, error) {
	x := new(stored)
	if err := r.orderInto(x, ref); err != nil {
		return nil, err
	}
	return x, nil
}

// orderInto is order without a new place: what x held before is gone.
func (r *reader) orderInto(x *stored, ref order.Ref) error {
	err := r.processing(x, ref)
	if errors.Is(err, order.ErrEnded) {
		return r.readEnded(x, ref)
	}
	return err
}

// processing reads an order in processing. Errors: order.ErrEnded if it has no
// hot record, which also an order has that does not exist; order.ErrDamaged.
func (r *reader) processing(x *stored, ref order.Ref) error {
	r.key = appendRef(r.key[:0], ref)
	if r.nextHot.c == nil {
		r.nextHot.c = r.hot.Cursor()
	}
	if r.changes != nil { // hot is changed all the time
		r.nextHot.at = nil
	}
	rec := r.nextHot.get(r.key)
	if rec == nil {
		return refErr(ref, order.ErrEnded)
	}
	*x = stored{}
	d, ok := r.s.open(bHot, r.key, rec)
	if ok {
		decodeHot(&d, &x.Order, &x.told)
		ok = r.s.whole(d.ok(), bHot, r.key)
	}
	return r.complete(x, ref, ok)
}

// readEnded reads an ended order. Errors: order.ErrNotFound, order.ErrDamaged.
func (r *reader) readEnded(x *stored, ref order.Ref) error {
	r.key = appendRef(r.key[:0], ref)
	d, found, ok := r.s.get(r.ended, bEnded, r.key)
	if !found {
		return refErr(ref, order.ErrNotFound)
	}
	*x = stored{}
	if ok {
		ok = r.s.whole(decodeEnded(&d, &x.Order, &x.ended, &x.told), bEnded, r.key)
	}
	return r.complete(x, ref, ok)
}

// complete adds what was submitted. Both halves are looked at, so that both are
// known if both are damaged.
func (r *reader) complete(x *stored, ref order.Ref, ok bool) error {
	if !r.readCold(r.key, x) || !ok {
		return refErr(ref, order.ErrDamaged)
	}
	x.Ref, x.SellerID = ref, r.sellerID(ref.Seller)
	return nil
}

func (r *reader) readCold(key []byte, x *stored) bool {
	if r.nextCold.c == nil {
		r.nextCold.c = r.cold.Cursor()
	}
	if r.changes != nil && *r.changes != r.seen {
		r.nextCold.at, r.seen = nil, *r.changes
	}
	rec := r.nextCold.get(key)
	if rec == nil {
		return r.s.whole(false, bCold, key)
	}
	d, ok := r.s.open(bCold, key, rec)
	return ok && r.s.whole(decodeCold(&d, &x.Order, &x.cold), bCold, key)
}

// follower reads records that are mostly asked for in their order: the next one is mostly the one wanted.
type follower struct {
	c  *bolt.Cursor
	at []byte // where it stands; nil: nowhere
}

// get returns a record, nil if there is none.
func (f *follower) get(key []byte) (rec []byte) {
	k := f.at
	if k != nil {
		k, rec = f.c.Next()
	}
	if !bytes.Equal(k, key) {
		k, rec = f.c.Seek(key)
	}
	if f.at = k; !bytes.Equal(k, key) {
		return nil
	}
	return rec
}

func refErr(ref order.Ref, err error) error {
	return fmt.Errorf("order %d/%d: %w", ref.Seller, ref.Order, err)
}

// name reads a name; one that stands for nothing is empty. Error: order.ErrDamaged.
func (r *reader) name(name string) (n nameRecord, err error) {
	d, found, ok := r.s.get(r.names, bNames, []byte(name))
	if found && !(ok && r.s.whole(n.decode(&d), bNames, []byte(name))) {
		return n, fmt.Errorf("name %q: %w", name, order.ErrDamaged)
	}
	return n, nil
}

// byID reads an order by its order_id. Errors: order.ErrNotFound, order.ErrDamaged.
func (r *reader) byID(id string) (*stored, error) {
	n, err := r.name(id)
	if err != nil {
		return nil, err
	}
	if (n.order == order.Ref{}) {
		return nil, fmt.Errorf("order %q: %w", id, order.ErrNotFound)
	}
	x, err := r.named(id, n.order)
	if err != nil {
		return nil, fmt.Errorf("order %q: %w", id, err)
	}
	return x, nil
}

// named reads the order that a name stands for; that there is none is damage.
func (r *reader) named(name string, ref order.Ref) (*stored, error) {
	x, err := r.order(ref)
	if errors.Is(err, order.ErrNotFound) {
		r.s.damaged(bNames, []byte(name))
		err = refErr(ref, order.ErrDamaged)
	}
	return x, err
}

// Order returns an order by its order_id. Errors: order.ErrNotFound, order.ErrDamaged.
func (s *Store) Order(ctx context.Context, id string) (o order.Order, err error) {
	err = s.view(ctx, func(tx *bolt.Tx) error {
		x, err := s.reader(tx).byID(id)
		if err == nil {
			o = x.Order
		}
		return err
	})
	return o, err
}

// Load returns those of the orders that are still in processing, in the order
// asked for. Damaged ones are left out.
func (s *Store) Load(ctx context.Context, refs []order.Ref) ([]order.Order, error) {
	list := make([]order.Order, 0, len(refs))
	err := s.view(ctx, func(tx *bolt.Tx) error {
		r := s.reader(tx)
		var x stored
		for _, ref := range refs {
			if r.processing(&x, ref) == nil {
				list = append(list, x.Order)
			}
		}
		return nil
	})
	return list, err
}

// UpdateOrder has fn decide about the order as it is at the commit, and writes
// what follows. fn's error aborts and is returned; a dropped decision changes
// nothing. It returns the order as it is then. fn may be called again, and must not call the store.
// Errors: order.ErrNotFound, order.ErrDamaged; order.ErrEnded if fn would change an ended order.
func (s *Store) UpdateOrder(ctx context.Context, id string, fn func(order.Order) (order.Decision, error)) (order.Order, error) {
	var o order.Order
	err := s.update(ctx, 1, func(t *txn) error {
		x, err := t.reader().byID(id)
		if err != nil {
			return err
		}
		d, err := fn(x.Order)
		if err != nil {
			return err
		}
		if d.Dropped {
			o = x.Order
			return nil
		}
		if err := t.check(x, &d); err != nil {
			return err
		}
		t.apply(x, &d)
		o = d.Order
		return nil
	})
	if err != nil {
		return order.Order{}, err
	}
	return o, nil
}
