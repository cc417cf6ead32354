package store

import (
	"context"
	"fmt"
	"math"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// encodeSeller seals the header values: each opens only under this seller's id and the header's name.
func (s *Store) encodeSeller(x *order.Seller) (encoder, error) {
	e := newEncoder(256)
	e.uint(uint64(x.Number))
	e.string(x.StatusURL)
	e.bool(x.AllowUnauthenticated)
	e.int(int64(x.MaxConcurrency))
	e.int(int64(x.MaxPerMinute))
	e.string(x.Note)
	e.bool(x.Paused)
	e.bool(x.Cancelling)
	e.uint(x.Version)
	e.uint(x.Revision)
	e.uint(uint64(len(x.Headers)))
	for _, h := range x.Headers {
		sealed, err := s.key.Encrypt([]byte(h.Value), headerContext(x.ID, h.Name))
		if err != nil {
			return e, fmt.Errorf("seal the headers of %s: %w", x.ID, err)
		}
		e.string(h.Name)
		e.string(string(sealed))
	}
	return e, nil
}

// decodeSeller is the opposite; a value that does not open is damage.
func (s *Store) decodeSeller(id string, d *decoder) (order.Seller, bool) {
	x := decodeSellerHead(id, d)
	for range d.count() {
		h := order.Header{Name: d.string()}
		value, err := s.key.Decrypt([]byte(d.string()), headerContext(id, h.Name))
		if err != nil {
			return order.Seller{}, false
		}
		h.Value = string(value)
		x.Headers = append(x.Headers, h)
	}
	return x, d.ok() && x.Number != 0
}

// decodeSellerHead reads all but the headers.
func decodeSellerHead(id string, d *decoder) order.Seller {
	return order.Seller{
		ID: id, Number: uint32(d.uint()), StatusURL: d.string(), AllowUnauthenticated: d.bool(),
		MaxConcurrency: int(d.int()), MaxPerMinute: int(d.int()), Note: d.string(),
		Paused: d.bool(), Cancelling: d.bool(), Version: d.uint(), Revision: d.uint(),
	}
}

// seller reads a seller. Errors: order.ErrNotFound, order.ErrDamaged.
func (s *Store) seller(b *bolt.Bucket, id string) (order.Seller, error) {
	d, found, ok := s.get(b, bSellers, []byte(id))
	if !found {
		return order.Seller{}, fmt.Errorf("seller %q: %w", id, order.ErrNotFound)
	}
	if ok {
		x, whole := s.decodeSeller(id, &d)
		if s.whole(whole, bSellers, []byte(id)) {
			return x, nil
		}
	}
	return order.Seller{}, fmt.Errorf("seller %q: %w", id, order.ErrDamaged)
}

// PutSeller creates a seller, or replaces one under the same id. Number,
// Paused and Cancelling stay as they were; Version rises, and Revision if the
// endpoint became another. Error: order.ErrDamaged if the record to be replaced can't be read.
func (s *Store) PutSeller(ctx context.Context, x order.Seller) (put order.Seller, created bool, err error) {
	err = s.update(ctx, 1, func(t *txn) error {
		put, created = x, false
		old, err := t.s.findSeller(t.bucket(bSellers), x.ID)
		if err != nil {
			return err
		}
		if old == nil {
			if !order.ValidID(x.ID) {
				return fmt.Errorf("seller_id %q is not valid", x.ID)
			}
			if t.counters.sellers == math.MaxUint32 {
				return fmt.Errorf("seller numbers are used up")
			}
			created = true
			put.Number, put.Paused, put.Cancelling, put.Version, put.Revision = t.counters.sellers+1, false, false, 0, 0
			old = &order.Seller{}
		} else {
			put.Number, put.Paused, put.Cancelling = old.Number, old.Paused, old.Cancelling
		}
		return t.putSeller(old, &put)
	})
	if err != nil {
		return order.Seller{}, false, err
	}
	return put, created, nil
}

// findSeller is seller, with nil for one that does not exist.
func (s *Store) findSeller(b *bolt.Bucket, id string) (*order.Seller, error) {
	if b.Get([]byte(id)) == nil {
		return nil, nil
	}
	x, err := s.seller(b, id)
	return &x, err
}

// putSeller writes what became of old. A seller that is new brings the next number.
func (t *txn) putSeller(old, x *order.Seller) error {
	x.Version, x.Revision = old.Version+1, old.Revision
	if old.Version == 0 || !old.SameEndpoint(x) {
		x.Revision++
	}
	e, err := t.s.encodeSeller(x)
	if err != nil {
		return err
	}
	if x.Number > t.counters.sellers {
		t.counters.sellers = x.Number
		t.ids[x.Number] = x.ID
		n := newEncoder(len(x.ID) + 8)
		n.string(x.ID)
		t.put(bNumbers, sellerKey(x.Number), n)
	}
	t.put(bSellers, []byte(x.ID), e)
	return nil
}

// UpdateSeller changes a seller through fn, whose error aborts and is
// returned. fn must not keep its argument, nor call the store; it may be called
// again. ID and Number can't be changed. Errors: order.ErrNotFound, order.ErrDamaged.
func (s *Store) UpdateSeller(ctx context.Context, id string, fn func(*order.Seller) error) (order.Seller, error) {
	var x order.Seller
	err := s.update(ctx, 1, func(t *txn) error {
		old, err := t.s.seller(t.bucket(bSellers), id)
		if err != nil {
			return err
		}
		x = old
		x.Headers = append([]order.Header(nil), old.Headers...)
		if err := fn(&x); err != nil {
			return err
		}
		x.ID, x.Number = old.ID, old.Number
		return t.putSeller(&old, &x)
	})
	if err != nil {
		return order.Seller{}, err
	}
	return x, nil
}

// DeleteSeller deletes a seller and its health. Its ended orders stay until
// their retention is over. Errors: order.ErrNotFound; order.ErrActive while it has orders in processing.
func (s *Store) DeleteSeller(ctx context.Context, id string) error {
	return s.update(ctx, 1, func(t *txn) error {
		x, err := t.s.seller(t.bucket(bSellers), id)
		if err != nil {
			return err
		}
		if n := t.sellerActive(x.Number); n > 0 {
			return fmt.Errorf("seller %q has %d orders: %w", id, n, order.ErrActive)
		}
		t.delete(bSellers, []byte(id))
		t.delete(bHealth, sellerKey(x.Number))
		return nil
	})
}

// Seller returns a seller by its id. Errors: order.ErrNotFound, order.ErrDamaged.
func (s *Store) Seller(ctx context.Context, id string) (x order.Seller, err error) {
	err = s.view(ctx, func(tx *bolt.Tx) error {
		x, err = s.seller(tx.Bucket(bSellers.name), id)
		return err
	})
	return x, err
}

// SellerByNumber returns a seller by its number. Errors: order.ErrNotFound, also
// for one that was deleted; order.ErrDamaged.
func (s *Store) SellerByNumber(ctx context.Context, number uint32) (order.Seller, error) {
	x, err := s.Seller(ctx, s.sellerID(number))
	if err == nil && x.Number != number { // deleted, and made anew
		err = fmt.Errorf("seller %d: %w", number, order.ErrNotFound)
	}
	if err != nil {
		return order.Seller{}, err
	}
	return x, nil
}

// Sellers returns up to limit sellers in order of their ids, from the one
// after the cursor, and the cursor of the next page, "" at the end. Damaged ones are left out. Error: order.ErrCursor.
func (s *Store) Sellers(ctx context.Context, after string, limit int) (list []order.Seller, next string, err error) {
	from, err := s.parseCursor("sellers", after)
	if err != nil {
		return nil, "", err
	}
	err = s.view(ctx, func(tx *bolt.Tx) error {
		b := tx.Bucket(bSellers.name)
		c := b.Cursor()
		for k, _ := seekAfter(c, from); k != nil; k, _ = c.Next() {
			if len(list) == limit {
				next = s.cursor("sellers", []byte(list[len(list)-1].ID))
				return nil
			}
			if x, err := s.seller(b, string(k)); err == nil {
				list = append(list, x)
			}
		}
		return nil
	})
	return list, next, err
}

// Healths returns what is known of how each seller answers, by number.
func (s *Store) Healths(ctx context.Context) (map[uint32]order.Health, error) {
	all := make(map[uint32]order.Health)
	err := s.view(ctx, func(tx *bolt.Tx) error {
		c := tx.Bucket(bHealth.name).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if d, ok := s.open(bHealth, k, v); ok {
				if h, whole := decodeHealth(&d); s.whole(whole, bHealth, k) {
					all[parseSellerKey(k)] = h
				}
			}
		}
		return nil
	})
	return all, err
}

// seekAfter moves to the first key after from; a nil from is the beginning.
func seekAfter(c *bolt.Cursor, from []byte) (k, v []byte) {
	if from == nil {
		return c.First()
	}
	if k, v = c.Seek(from); k != nil && string(k) == string(from) {
		k, v = c.Next()
	}
	return k, v
}
