package store

import (
	"context"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// Expire deletes up to limit orders that ended before a time (now less the
// retention), with their history, names and claims, and returns how many. An order
// of which the webhook is still to be told (its delivery is pending or set aside) lives twice as long; the delivery goes with it. The keys of the
// result files are returned, and kept as PendingDeletes until Deleted confirms them.
// n below limit: there are no more. Damaged orders are left in place.
func (s *Store) Expire(ctx context.Context, before time.Time, limit int) (keys []string, n int, err error) {
	err = s.update(ctx, limit, func(t *txn) error {
		keys, n = nil, 0
		x := expirer{t: t, r: t.reader(), retention: s.opts.Now().Sub(before)}
		for _, k := range x.candidates(before, limit) {
			if x.expire(k) {
				n++
			}
		}
		keys = x.keys
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return keys, n, nil
}

type expirer struct {
	t         *txn
	r         *reader
	retention time.Duration
	keys      []string // of result files
}

// candidates returns the keys of up to limit ends before a time whose orders are whole; those that
// the webhook has not been told of are put off, once.
func (x *expirer) candidates(before time.Time, limit int) [][]byte {
	var list, later [][]byte
	var o stored
	end := endsKey(before, order.Ref{})
	c := x.t.bucket(bEnds).Cursor()
	for k, _ := c.First(); k != nil && string(k) < string(end) && len(list) < limit && len(later) < limit; k, _ = c.Next() {
		if x.r.readEnded(&o, parseRef(k[8:])) != nil {
			continue
		}
		first := string(k) == string(endsKey(o.EndedAt, o.Ref))
		if first && x.t.untold(o.ended.event) {
			later = append(later, slices.Clone(k))
		} else {
			list = append(list, slices.Clone(k))
		}
	}
	for _, k := range later {
		ref := parseRef(k[8:])
		at := time.UnixMilli(int64(parseNumber(k[:8]))).Add(x.retention)
		x.t.delete(bEnds, k)
		x.t.mark(bEnds, endsKey(at, ref))
	}
	return list
}

// expire deletes one order.
func (x *expirer) expire(endsKey []byte) bool {
	t := x.t
	ref := parseRef(endsKey[8:])
	var o stored
	if x.r.readEnded(&o, ref) != nil {
		return false
	}
	key := refKey(ref)
	t.delete(bEnds, endsKey)
	t.delete(bCold, key)
	t.delete(bEnded, key)
	t.undeliver(o.ended.event)
	for _, k := range t.keysOf(bHistory, key, 1<<20) {
		t.delete(bHistory, k)
	}
	for _, k := range o.Result.Keys() {
		if t.disown(k, ref) {
			x.keys = append(x.keys, k)
		}
	}
	x.forget(o.ID, func(n *nameRecord) {
		if n.order == ref {
			n.order = order.Ref{}
		}
	})
	x.forget(o.RemoteID, func(n *nameRecord) {
		if n.kept > 0 {
			n.kept--
		}
		if n.kept == 0 {
			n.seller, n.active = 0, 0
		}
	})
	t.count(ref.Seller, 0, -o.ended.stored)
	t.states[o.State]--
	return true
}

// forget changes a name, and deletes it when it stands for nothing. A damaged one is left in place.
func (x *expirer) forget(name string, change func(*nameRecord)) {
	n, err := x.r.name(name)
	if err != nil {
		return
	}
	if change(&n); n.empty() {
		x.t.delete(bNames, []byte(name))
		return
	}
	x.t.put(bNames, []byte(name), n.encode(x.t.encoder()))
}

// PendingDeletes returns up to limit keys of result files that belong to nobody any more and are to be deleted.
func (s *Store) PendingDeletes(ctx context.Context, limit int) (keys []string, err error) {
	err = s.view(ctx, func(tx *bolt.Tx) error {
		c := tx.Bucket(bTrash.name).Cursor()
		for k, _ := c.First(); k != nil && len(keys) < limit; k, _ = c.Next() {
			keys = append(keys, string(k))
		}
		return nil
	})
	return keys, err
}

// Deleted confirms that these files are gone.
func (s *Store) Deleted(ctx context.Context, keys []string) error {
	return s.update(ctx, len(keys), func(t *txn) error {
		for _, k := range slices.Sorted(slices.Values(keys)) {
			if t.bucket(bTrash).Get([]byte(k)) != nil {
				t.delete(bTrash, []byte(k))
			}
		}
		return nil
	})
}
