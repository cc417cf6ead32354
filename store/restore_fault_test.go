package store

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A fault at any step leaves the old database or the new one, and nothing else behind.
func TestFaultsOfRestore(t *testing.T) {
	for _, force := range []bool{true, false} {
		old := t.TempDir()
		backup := backedUp(t, old)
		for n := 1; ; n++ {
			o := elsewhere(t, old)
			if force {
				must(t, os.MkdirAll(filepath.Dir(o.Path), 0o700))
				copyFile(t, testOptions(old).Path, o.Path)
			}
			left, placed := n, false
			o.hooks.step = func(step string) error {
				placed = placed || step == "renamed" || step == "placed"
				if left--; left == 0 {
					return errors.New("injected")
				}
				return nil
			}
			r, err := Restore(t.Context(), o, backup, force)
			if err == nil {
				t.Logf("force %v: %d steps", force, n-1)
				break
			}
			if !strings.Contains(err.Error(), "injected") || r.NewID != "" {
				t.Errorf("%v, %v", err, r)
			}
			noTemps(t, filepath.Dir(o.Path))
			kept, _ := filepath.Glob(o.Path + ".before-restore-*")
			if got, want := len(kept) == 1, force && placed; got != want {
				t.Errorf("step %d, force %v: kept %v", n, force, kept)
			}
			if !force && !placed {
				if is, err := exists(o.Path); is || err != nil {
					t.Errorf("step %d: there is a database: %v", n, err)
				}
				continue
			}
			if got := headers(t, o); !slices.Equal(got, fullHeaders) {
				t.Errorf("step %d: headers %q", n, got)
			}
		}
	}
}

// GUARANTEES, G9: where the record is damaged no file is taken for older than the backup.
func TestRestoredIsDamaged(t *testing.T) {
	old := t.TempDir()
	backup := backedUp(t, old)
	o := elsewhere(t, old)
	o.Path = filepath.Join(t.TempDir(), "poller.db")
	_, err := Restore(t.Context(), o, backup, false)
	must(t, err)
	corrupt(t, filepath.Dir(o.Path), func(tx *bolt.Tx) error { return tx.Bucket(bMeta.name).Put(keyRestored, []byte("x")) })
	s := mustOpen(t, o)
	defer s.Close()
	if from, at := s.Restored(); from.Unix() != 0 || !at.Equal(o.Now()) || s.Damaged() != 1 {
		t.Errorf("%v, %v, %d damaged", from, at, s.Damaged())
	}
}

// A bit flipped anywhere in a backup: it is refused, or restored with the damage counted. There is no panic, and what was
// restored opens.
func TestRestoreOfFlippedPages(t *testing.T) {
	old := t.TempDir()
	backup := backedUp(t, old)
	whole, err := os.ReadFile(backup)
	must(t, err)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	const page = 4096
	refused, damaged := 0, int64(0)
	for i := range 150 {
		at := rnd.IntN(len(whole))
		if i%2 == 0 { // where heads and lists of elements are
			at = rnd.IntN(len(whole)/page)*page + rnd.IntN(128)
		}
		bit := byte(1) << rnd.IntN(8)
		whole[at] ^= bit
		must(t, os.WriteFile(backup, whole, 0o600))
		whole[at] ^= bit
		o := elsewhere(t, old)
		r, err := Restore(t.Context(), o, backup, false)
		switch {
		case err == nil:
			damaged += r.Damaged
			s := mustOpen(t, o)
			must(t, useAll(t, s))
			must(t, s.Close())
		case errors.Is(err, errDamaged), errors.Is(err, ErrForeign), errors.Is(err, ErrKey):
			refused++
		default:
			t.Errorf("bit %d of byte %d: %v", bit, at, err)
		}
	}
	t.Logf("%d of 150 refused, %d records damaged", refused, damaged)
}
