package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"poller/order"
)

// KeyID names the key that the sellers' headers are sealed with, and which is needed to restore a
// backup made now: eight hexadecimal digits, no secret.
func (s *Store) KeyID() string { return s.key.id() }

// RotateKey seals the sellers' headers of a stopped daemon's store with a new key. It is killed at any point, or fails,
// without harm: the key file holds the old key until nothing needs it, and RotateKey may be called again.
//
// Backups made before need the old key file, so that it should be kept as long as they are. What was sealed with
// the old key stays in free pages of the database until Compact. A seller whose record is damaged is logged
// and left as it is. Errors, each saying what to do: those of Open, and ErrMissing.
func RotateKey(ctx context.Context, opts Options) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("rotate the key: %w", err)
		}
	}()
	if err := opts.fill(); err != nil {
		return err
	}
	if found, err := exists(opts.Path); err != nil {
		return err
	} else if !found { // Open might make it
		return errNothingAt(opts.Path)
	}
	s, err := Open(ctx, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.rotate(ctx)
}

// rotate takes the three steps, each of which leaves a store that opens.
func (s *Store) rotate(ctx context.Context) error {
	path, err := filepath.EvalSymlinks(s.opts.KeyFile)
	if err != nil {
		return err
	}
	both, only, err := withNewKey(s.key.keys)
	if err != nil {
		return err
	}
	// Whatever is sealed is on disk later than the key that opens it.
	if err := writeKeyFile(both.keys, path, replaceKey); err != nil {
		return fmt.Errorf("nothing was changed; is the folder of %s writable? %w", path, err)
	}
	if err := s.opts.hooks.reached("key added"); err != nil {
		return err
	}
	s.key = both
	damaged, err := s.reseal(ctx)
	if err != nil {
		return fmt.Errorf("the old key is in use still; rotate again: %w", err)
	}
	if err := s.opts.hooks.reached("resealed"); err != nil {
		return err
	}
	// The old key goes when the new one alone is seen to open everything.
	s.key = only
	if closed, err := s.unopened(ctx); err != nil {
		return err
	} else if closed > damaged {
		return fmt.Errorf("%d sellers do not open with the new key; the old one is in %s still, and nothing is lost", closed-damaged, path)
	}
	if err := writeKeyFile(only.keys, path, replaceKey); err != nil {
		return fmt.Errorf("the new key is in use, but the old one is still in %s; rotate again: %w", path, err)
	}
	return s.opts.hooks.reached("key dropped")
}

// withNewKey makes a new key: both seals with it and opens what the old ones sealed, only knows no other.
func withNewKey(old *keyset.Handle) (both, only *headerKey, err error) {
	m := keyset.NewManagerFromHandle(old)
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, nil, err
	}
	if err := m.SetPrimary(id); err != nil {
		return nil, nil, err
	}
	with, err := m.Handle()
	if err != nil {
		return nil, nil, err
	}
	if both, err = newHeaderKey(with); err != nil {
		return nil, nil, err
	}
	for i := range old.Len() {
		e, err := old.Entry(i)
		if err != nil {
			return nil, nil, err
		}
		if err := m.Delete(e.KeyID()); err != nil {
			return nil, nil, err
		}
	}
	without, err := m.Handle()
	if err != nil {
		return nil, nil, err
	}
	only, err = newHeaderKey(without)
	return both, only, err
}

// replaceKey puts a new key file in the place of the old one, for the same owner.
func replaceKey(temp, path string) error {
	if err := errors.Join(sameOwner(temp, path), os.Rename(temp, path)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// reseal seals everything with the primary key, in one commit, and returns the number of sellers that are damaged.
func (s *Store) reseal(ctx context.Context) (damaged int, err error) {
	err = s.update(ctx, 1, func(t *txn) error {
		damaged = 0
		for _, key := range t.keysOf(bSellers, nil, math.MaxInt) {
			x, err := s.seller(t.bucket(bSellers), string(key))
			if errors.Is(err, order.ErrDamaged) {
				damaged++
				continue
			}
			if err != nil {
				return err
			}
			e, err := s.encodeSeller(&x)
			if err != nil {
				return err
			}
			t.put(bSellers, key, e)
		}
		t.wrote(bMeta)
		return s.rememberKey(t.tx)
	})
	if err == nil && damaged > 0 {
		s.log.Error("damaged sellers were left as they are; if they are needed restore a backup, with the key file of before", zap.Int("sellers", damaged))
	}
	return damaged, err
}

// unopened returns the number of sellers that do not open with the key at hand.
func (s *Store) unopened(ctx context.Context) (n int, err error) {
	err = s.view(ctx, func(tx *bolt.Tx) error {
		b := tx.Bucket(bSellers.name)
		return b.ForEach(func(id, _ []byte) error {
			if _, err := s.seller(b, string(id)); err != nil {
				n++
			}
			return nil
		})
	})
	return n, err
}
