package store

import (
	"context"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// An upload slot is the key of a file that a seller may upload for an order in processing: a claim in bObjects, so that
// no other order can name it and no sweep takes it, and a record in bUploads under the order's ref with the size. When the
// order ends, what its result names becomes a result file like any other, and the rest goes.

// MaxUploads is how many upload slots an order in processing may have.
const MaxUploads = 200

func uploadKey(ref order.Ref, key string) []byte {
	return append(appendRef(make([]byte, 0, refSize+len(key)), ref), key...)
}

// AddUpload makes an upload slot for an order in processing: the key, which must be new, is its own from then on. size
// is what may be uploaded, in bytes; with the order's other slots it must not exceed limit. Errors:
// order.ErrNotFound, order.ErrDamaged, order.ErrErased, order.ErrEnded; order.ErrConflict if the key was given
// already, the order has MaxUploads slots, or they would exceed limit.
func (s *Store) AddUpload(ctx context.Context, orderID, key string, size, limit int64) (o order.Order, err error) {
	err = s.update(ctx, 1, func(t *txn) error {
		x, err := t.reader().byID(orderID)
		switch {
		case err != nil:
			return err
		case x.Erased:
			return fmt.Errorf("order %q: %w", orderID, order.ErrErased)
		case x.Ended():
			return fmt.Errorf("order %q: %w", orderID, order.ErrEnded)
		}
		if err := t.checkUpload(x.Ref, key, size, limit); err != nil {
			return fmt.Errorf("order %q: %w", orderID, err)
		}
		t.claim(key, x.Ref)
		e := t.encoder()
		e.int(size)
		t.put(bUploads, uploadKey(x.Ref, key), e)
		o = x.Order
		return nil
	})
	if err != nil {
		return order.Order{}, err
	}
	return o, nil
}

// checkUpload says whether an order may have one slot more. Errors: order.ErrConflict, order.ErrDamaged.
func (t *txn) checkUpload(ref order.Ref, key string, size, limit int64) error {
	if key == "" || len(key) > maxObjectKey || size < 0 {
		return fmt.Errorf("%w: an upload needs a key of at most %d bytes and a size", order.ErrConflict, maxObjectKey)
	}
	if t.bucket(bObjects).Get([]byte(key)) != nil || t.bucket(bTrash).Get([]byte(key)) != nil {
		return fmt.Errorf("%w: the key %s was given already", order.ErrConflict, key)
	}
	keys := t.keysOf(bUploads, refKey(ref), MaxUploads)
	if len(keys) == MaxUploads {
		return fmt.Errorf("%w: it has %d uploads already", order.ErrConflict, MaxUploads)
	}
	left := limit
	for _, k := range keys {
		n, ok := t.s.uploadSize(t.bucket(bUploads), k)
		if !ok {
			return order.ErrDamaged
		}
		left -= n
	}
	if size > left {
		return fmt.Errorf("%w: its uploads would exceed %d bytes together", order.ErrConflict, limit)
	}
	return nil
}

// uploadSize reads the size of a slot; false: there is none, or its record is damaged.
func (s *Store) uploadSize(b *bolt.Bucket, k []byte) (size int64, ok bool) {
	d, found, ok := s.get(b, bUploads, k)
	if !found || !ok {
		return 0, false
	}
	size = d.int()
	return size, s.whole(d.ok() && size >= 0, bUploads, k)
}

// Upload returns the order in processing whose upload slot this key is, and the size that was agreed on, in bytes. Errors:
// order.ErrNotFound if it is no slot, or none any more; order.ErrEnded if the order ended with it as a file of its result; order.ErrDamaged.
func (s *Store) Upload(ctx context.Context, key string) (o order.Order, size int64, err error) {
	err = s.view(ctx, func(tx *bolt.Tx) error {
		name := []byte(key)
		if key == "" || len(key) > maxObjectKey {
			return fmt.Errorf("upload: %w", order.ErrNotFound)
		}
		d, found, ok := s.get(tx.Bucket(bObjects.name), bObjects, name)
		if !found {
			return fmt.Errorf("upload %s: %w", key, order.ErrNotFound)
		}
		if !ok {
			return fmt.Errorf("upload %s: %w", key, order.ErrDamaged)
		}
		ref := order.Ref{Seller: uint32(d.uint()), Order: d.uint()}
		x, err := s.reader(tx).order(ref)
		if err != nil {
			return fmt.Errorf("upload %s: %w", key, err)
		}
		if x.Ended() {
			return fmt.Errorf("upload %s: %w", key, order.ErrEnded)
		}
		if size, ok = s.uploadSize(tx.Bucket(bUploads.name), uploadKey(ref, key)); !ok {
			return fmt.Errorf("upload %s: %w", key, order.ErrDamaged)
		}
		o = x.Order
		return nil
	})
	if err != nil {
		return order.Order{}, 0, err
	}
	return o, size, nil
}

// endUploads gives up the upload slots of an order that ends. Those that are not among the files of its result go.
func (t *txn) endUploads(ref order.Ref, named []string) {
	for _, k := range t.keysOf(bUploads, refKey(ref), MaxUploads) {
		t.delete(bUploads, k)
		if key := string(k[refSize:]); !slices.Contains(named, key) {
			t.disown(key, ref)
		}
	}
}

// claim makes a file an order's own.
func (t *txn) claim(key string, ref order.Ref) {
	e := t.encoder()
	e.uint(uint64(ref.Seller))
	e.uint(ref.Order)
	t.put(bObjects, []byte(key), e)
}

// disown ends an order's claim on a file, which is to be deleted then; false: the file was not the order's.
func (t *txn) disown(key string, ref order.Ref) bool {
	if t.belongsToAnother(key, ref) {
		return false
	}
	t.delete(bObjects, []byte(key))
	t.mark(bTrash, []byte(key))
	return true
}
