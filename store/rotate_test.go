package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// headers returns the header values of all sellers, by opening the store.
func headers(t *testing.T, o Options) (values []string) {
	t.Helper()
	s := mustOpen(t, o)
	defer s.Close()
	list, _, err := s.Sellers(t.Context(), "", 1000)
	must(t, err)
	for _, x := range list {
		for _, h := range x.Headers {
			values = append(values, h.Value)
		}
	}
	return values
}

var fullHeaders = []string{"sentinel-a", "sentinel-b"} // of fullStore

func keyIDs(t *testing.T, path string) (primary string, n int) {
	t.Helper()
	k, err := readKeyFile(path)
	must(t, err)
	return k.id(), k.keys.Len()
}

func TestRotateKey(t *testing.T) {
	dir := t.TempDir()
	fullStore(t, dir)
	o := testOptions(dir)
	s := mustOpen(t, o)
	backup := filepath.Join(dir, "b")
	must(t, s.Backup(t.Context(), backup))
	id := s.KeyID()
	must(t, s.Close())
	oldKey := filepath.Join(dir, "old.key")
	copyFile(t, o.KeyFile, oldKey)
	was := records(t, o.Path)

	must(t, RotateKey(t.Context(), o))
	if now, n := keyIDs(t, o.KeyFile); now == id || n != 1 {
		t.Errorf("key %s follows %s, of %d in the file", now, id, n)
	}
	if info, err := os.Stat(o.KeyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if got := headers(t, o); !slices.Equal(got, fullHeaders) {
		t.Errorf("headers %q", got)
	}
	is := records(t, o.Path)
	for k, v := range was {
		if sealed := k == "meta/keycheck" || strings.HasPrefix(k, "sellers/"); sealed == (is[k] == v) {
			t.Errorf("%q: changed %v", k, !sealed)
		}
	}
	noTemps(t, dir)

	// The old key opens no more; but it does what is of its time.
	with := o
	with.KeyFile = oldKey
	if _, err := Open(t.Context(), with); !errors.Is(err, ErrKey) {
		t.Error(err)
	}
	there := elsewhere(t, dir)
	if _, err := Restore(t.Context(), there, backup, false); !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), "key id is "+id) {
		t.Error(err)
	}
	there.KeyFile = oldKey
	_, err := Restore(t.Context(), there, backup, false)
	must(t, err)
	if got := headers(t, there); !slices.Equal(got, fullHeaders) {
		t.Errorf("headers restored %q", got)
	}
}

// A fault or a kill between any two steps leaves a store that opens, and whose key can be rotated again.
func TestRotateKeyFails(t *testing.T) {
	for _, fault := range []string{"key added", "resealed", "key dropped"} {
		t.Run(fault, func(t *testing.T) {
			dir := t.TempDir()
			fullStore(t, dir)
			o := testOptions(dir)
			id, _ := keyIDs(t, o.KeyFile)
			bad := o
			bad.hooks.step = func(step string) error {
				if step == fault {
					return errors.New("injected")
				}
				return nil
			}
			for range 2 { // the second time the key file holds a key more
				if err := RotateKey(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "injected") {
					t.Fatal(err)
				}
				if got := headers(t, o); !slices.Equal(got, fullHeaders) {
					t.Fatalf("headers %q", got)
				}
			}
			must(t, RotateKey(t.Context(), o))
			if now, n := keyIDs(t, o.KeyFile); now == id || n != 1 {
				t.Errorf("key %s follows %s, of %d in the file", now, id, n)
			}
			if got := headers(t, o); !slices.Equal(got, fullHeaders) {
				t.Errorf("headers %q", got)
			}
		})
	}
}

func TestRotateKeyRefuses(t *testing.T) {
	dir := t.TempDir()
	o := testOptions(dir)
	if err := RotateKey(t.Context(), o); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("something was made: %v, %v", entries, err)
	}
	fullStore(t, dir)
	s := mustOpen(t, o)
	if err := RotateKey(t.Context(), o); !errors.Is(err, ErrInUse) {
		t.Error(err)
	}
	must(t, s.Close())
	must(t, os.Remove(o.KeyFile))
	if err := RotateKey(t.Context(), o); !errors.Is(err, ErrKey) {
		t.Error(err)
	}
}

// A damaged seller keeps nobody from a new key; its record stays as it is.
func TestRotateKeyPassesDamageOver(t *testing.T) {
	dir := t.TempDir()
	fullStore(t, dir)
	var bad []byte
	corrupt(t, dir, func(tx *bolt.Tx) error {
		b := tx.Bucket(bSellers.name)
		bad = append(slices.Clone(b.Get([]byte("a"))), 1)
		return b.Put([]byte("a"), bad)
	})
	o := testOptions(dir)
	must(t, RotateKey(t.Context(), o))
	if got := headers(t, o); !slices.Equal(got, fullHeaders[1:]) {
		t.Errorf("headers %q", got)
	}
	if records(t, o.Path)["sellers/a"] != string(bad) {
		t.Error("the damaged record was changed")
	}
}

// A key file that is a link stays one: what it names is replaced.
func TestRotateKeyFollowsALink(t *testing.T) {
	dir, keys := t.TempDir(), t.TempDir()
	fullStore(t, dir)
	o := testOptions(dir)
	file := filepath.Join(keys, "k")
	must(t, os.Rename(o.KeyFile, file))
	must(t, os.Symlink(file, o.KeyFile))
	id, _ := keyIDs(t, file)
	must(t, RotateKey(t.Context(), o))
	if now, _ := keyIDs(t, file); now == id {
		t.Error("the file was not replaced")
	}
	if to, err := os.Readlink(o.KeyFile); err != nil || to != file {
		t.Errorf("%s, %v", to, err)
	}
}
