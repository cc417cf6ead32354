package store

import (
	"context"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// listPart is how many records one read transaction of a list looks at.
const listPart = 4096

// Orders returns up to limit orders, by seller and in order of arrival, from the
// one after the cursor, and the cursor of the next page, "" at the end. It reads in
// short transactions. Damaged orders are left out. Error: order.ErrCursor.
func (s *Store) Orders(ctx context.Context, f order.Filter, after string, limit int) ([]order.Order, string, error) {
	name := fmt.Sprintf("orders\x00%s\x00%s\x00%t", f.State, f.SellerID, f.Held)
	from, err := s.parseCursor(name, after)
	if err != nil {
		return nil, "", err
	}
	l := lister{s: s, f: f, limit: limit, from: from, prefixes: s.prefixes(f.SellerID)}
	for !l.done {
		if err := s.view(ctx, l.part); err != nil {
			return nil, "", err
		}
	}
	if l.more {
		return l.list, s.cursor(name, refKey(l.list[len(l.list)-1].Ref)), nil
	}
	return l.list, "", nil
}

// prefixes returns what the keys of a seller's orders begin with: more than one, if
// a seller of this id was deleted and made anew. "" is every seller.
func (s *Store) prefixes(sellerID string) [][]byte {
	if sellerID == "" {
		return [][]byte{nil}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list [][]byte
	for n, id := range s.ids {
		if id == sellerID {
			list = append(list, sellerKey(n))
		}
	}
	slices.SortFunc(list, slices.Compare)
	return list
}

type lister struct {
	s        *Store
	f        order.Filter
	limit    int
	from     []byte // the last key looked at
	prefixes [][]byte

	list []order.Order
	more bool
	done bool
}

// bucket returns the smallest bucket that has the key of every order wanted.
func (l *lister) bucket() *bucket {
	switch {
	case l.f.Held:
		return bHeld
	case l.f.State == order.StateProcessing:
		return bHot
	case l.f.State != "":
		return bEnded
	}
	return bCold
}

// part looks at some more records.
func (l *lister) part(tx *bolt.Tx) error {
	r := l.s.reader(tx)
	c := tx.Bucket(l.bucket().name).Cursor()
	looked := 0
	for len(l.prefixes) > 0 {
		prefix := l.prefixes[0]
		var k []byte
		if l.from == nil || string(l.from) < string(prefix) {
			k, _ = c.Seek(prefix)
		} else {
			k, _ = seekAfter(c, l.from)
		}
		for ; k != nil && hasPrefix(k, prefix); k, _ = c.Next() {
			if looked++; looked > listPart {
				return nil
			}
			x, err := r.order(parseRef(k))
			if err == nil && l.wants(&x.Order) {
				if len(l.list) == l.limit {
					l.more, l.done = true, true
					return nil
				}
				l.list = append(l.list, x.Order)
			}
			l.from = append(l.from[:0:0], k...)
		}
		l.prefixes = l.prefixes[1:]
	}
	l.done = true
	return nil
}

func (l *lister) wants(o *order.Order) bool {
	return (l.f.State == "" || l.f.State == o.State) && (!l.f.Held || o.Held != nil)
}
