package store

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// GUARANTEES, G29: what was deleted or overwritten is not in the file any more; what lives is, and the store is the same.
func TestCompact(t *testing.T) {
	dir := t.TempDir()
	fullStore(t, dir)
	s := mustOpen(t, testOptions(dir))
	id := s.ID()
	submit(t, s, "a", ids("many", 3000)...)
	_, _, err := s.PutSeller(t.Context(), order.Seller{ID: "gone", StatusURL: "https://deleted-bytes.example/{order_id}"})
	must(t, err)
	must(t, s.DeleteSeller(t.Context(), "gone"))
	must(t, s.Close())
	path := testOptions(dir).Path
	if !holds(t, path, "deleted-bytes") {
		t.Fatal("the test shows nothing")
	}
	was := records(t, path)
	before, after, err := Compact(t.Context(), testOptions(dir))
	must(t, err)
	if info, err := os.Stat(path); err != nil || info.Size() != after || after >= before || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %d bytes, said %d, before %d", err, info.Size(), after, before)
	}
	for _, text := range []string{"deleted-bytes", "sentinel-"} {
		if holds(t, path, text) {
			t.Errorf("the database holds %q", text)
		}
	}
	if !maps.Equal(records(t, path), was) {
		t.Error("other records than before")
	}
	noTemps(t, dir)
	s = mustOpen(t, testOptions(dir))
	defer s.Close()
	if s.ID() != id {
		t.Error("another id")
	}
	submit(t, s, "a", ids("more", 1000)...) // grows
	checkConsistent(t, s)
}

func TestCompactRefuses(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, o *Options)
		want  error
		says  string
	}{
		{"missing", func(t *testing.T, o *Options) { must(t, os.Remove(o.Path)) }, ErrMissing, "check store.bbolt"},
		{"in use", func(t *testing.T, o *Options) {
			s := mustOpen(t, *o)
			t.Cleanup(func() { _ = s.Close() })
		}, ErrInUse, "stop it first"},
		{"no space", func(t *testing.T, o *Options) {
			o.hooks.free = func(string) (int64, error) { return 5 << 10, nil }
		}, order.ErrNoSpace, "needs about"},
		{"pages damaged", func(t *testing.T, o *Options) {
			b, err := os.ReadFile(o.Path)
			must(t, err)
			clear(b[2*4096:])
			must(t, os.WriteFile(o.Path, b, 0o600))
		}, errDamaged, "restore it"},
		{"another program's", func(t *testing.T, o *Options) {
			must(t, os.Remove(o.Path))
			db, err := bolt.Open(o.Path, 0o600, nil)
			must(t, err)
			must(t, db.Close())
		}, ErrForeign, "another program"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			fullStore(t, dir)
			o := testOptions(dir)
			tt.spoil(t, &o)
			before, _ := os.ReadFile(o.Path)
			_, _, err := Compact(t.Context(), o)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("error %v; want %v, saying %q", err, tt.want, tt.says)
			}
			if after, _ := os.ReadFile(o.Path); string(before) != string(after) {
				t.Error("the file was changed")
			}
			noTemps(t, dir)
		})
	}
}

// GUARANTEES, G10: while the file is being replaced no daemon gets the old one, nor the new one before it is safe.
func TestNobodyOpensWhatIsBeingReplaced(t *testing.T) {
	dir := t.TempDir()
	fullStore(t, dir)
	o := testOptions(dir)
	early, err := os.Open(o.Path) // a daemon that opened the file, and has yet to lock it
	must(t, err)
	defer early.Close()
	o.hooks.step = func(step string) error {
		if step == "renamed" {
			if _, err := lockFile(o.Path); !errors.Is(err, ErrInUse) {
				t.Errorf("the new file is open to all before its folder is synced: %v", err)
			}
		}
		return nil
	}
	_, _, err = Compact(t.Context(), o)
	must(t, err)
	if err := samePlace(early, o.Path); !errors.Is(err, ErrInUse) {
		t.Errorf("the old file is taken for the database: %v", err)
	}
	must(t, mustOpen(t, testOptions(dir)).Close())
}

// A fault at any step leaves a whole database and nothing else.
func TestFaultsOfCompact(t *testing.T) {
	for n := 1; ; n++ {
		dir := t.TempDir()
		fullStore(t, dir)
		o := testOptions(dir)
		was := records(t, o.Path)
		left := n
		o.hooks.step = func(string) error {
			if left--; left == 0 {
				return errors.New("injected")
			}
			return nil
		}
		_, _, err := Compact(t.Context(), o)
		noTemps(t, dir)
		if !maps.Equal(records(t, o.Path), was) {
			t.Errorf("step %d: other records than before", n)
		}
		if err == nil {
			return
		}
	}
}

// What bbolt panics on is given back unlocked: it may be replaced at once.
func TestDamagedFileIsNotKeptLocked(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, testOptions(dir))
	putSeller(t, s, "a")
	submit(t, s, "a", ids("o", 1500)...)
	must(t, s.Close())
	path := testOptions(dir).Path
	b, err := os.ReadFile(path)
	must(t, err)
	b = bytes.ReplaceAll(b, []byte("o000010"), []byte("z000010")) // out of order among the names
	must(t, os.WriteFile(path, b, 0o600))
	if _, err := openMapped(path, 0); !errors.Is(err, errDamaged) {
		t.Fatal(err)
	}
	lock, err := lockFile(path)
	must(t, err)
	must(t, lock.Close())
}
