package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// GUARANTEES, G8: what is not a first start never becomes a new empty store by itself.
func TestOpenRefuses(t *testing.T) {
	write := func(t *testing.T, path, text string) {
		t.Helper()
		must(t, os.WriteFile(path, []byte(text), 0o600))
	}
	remove := func(t *testing.T, path string) { t.Helper(); must(t, os.Remove(path)) }
	tests := []struct {
		name    string
		sellers bool // the store that is spoiled has sellers
		spoil   func(t *testing.T, dir string, o *Options)
		want    error // nil: opens
		says    string
	}{
		{"as it was", true, func(*testing.T, string, *Options) {}, nil, ""},
		{"database missing beside the key", true, func(t *testing.T, dir string, o *Options) { remove(t, o.Path) }, ErrMissing, "key file"},
		{"database and key missing, folder not empty", true, func(t *testing.T, dir string, o *Options) {
			remove(t, o.Path)
			remove(t, o.KeyFile)
			write(t, filepath.Join(dir, "api.token"), "x")
		}, ErrMissing, `holds "api.token"`},
		{"the same, at an operator's command", true, func(t *testing.T, dir string, o *Options) {
			remove(t, o.Path)
			write(t, filepath.Join(dir, "api.token"), "x")
			o.Create = true
		}, nil, ""},
		{"elsewhere, data_dir not empty", true, func(t *testing.T, dir string, o *Options) {
			o.DataDir = dir
			o.Path, o.KeyFile = filepath.Join(t.TempDir(), "new.db"), filepath.Join(t.TempDir(), "k")
		}, ErrMissing, "holds"},
		{"lost+found and a killed first start's leftovers", false, func(t *testing.T, dir string, o *Options) {
			remove(t, o.Path)
			remove(t, o.KeyFile)
			must(t, os.Mkdir(filepath.Join(dir, "lost+found"), 0o700))
			write(t, filepath.Join(dir, ".poller-new-123"), "half")
		}, nil, ""},
		{"empty file", true, func(t *testing.T, dir string, o *Options) { write(t, o.Path, "") }, ErrForeign, "is empty"},
		{"empty file, nothing else", true, func(t *testing.T, dir string, o *Options) { write(t, o.Path, ""); remove(t, o.KeyFile) }, ErrForeign, "is empty"},
		{"text file", true, func(t *testing.T, dir string, o *Options) { write(t, o.Path, strings.Repeat("hello\n", 5000)) }, ErrForeign, "no valid head"},
		{"a few bytes", true, func(t *testing.T, dir string, o *Options) { write(t, o.Path, "x") }, ErrForeign, "no valid head"},
		{"a folder", true, func(t *testing.T, dir string, o *Options) { remove(t, o.Path); must(t, os.Mkdir(o.Path, 0o700)) }, ErrForeign, "regular"},
		{"cut in the middle", true, func(t *testing.T, dir string, o *Options) {
			info, err := os.Stat(o.Path)
			must(t, err)
			must(t, os.Truncate(o.Path, info.Size()/16))
		}, ErrForeign, "is cut"},
		{"cut after the head", true, func(t *testing.T, dir string, o *Options) { must(t, os.Truncate(o.Path, 3*4096)) }, ErrForeign, "is cut"},
		{"another program's", true, func(t *testing.T, dir string, o *Options) {
			remove(t, o.Path)
			db, err := bolt.Open(o.Path, 0o600, nil)
			must(t, err)
			must(t, db.Close())
		}, ErrForeign, "another program"},
		{"newer format", true, func(t *testing.T, dir string, o *Options) {
			corrupt(t, dir, func(tx *bolt.Tx) error {
				e := encodeHead(format+1, "9.7", "id")
				return tx.Bucket(bMeta.name).Put(keyFormat, e.seal(bMeta.seed, keyFormat))
			})
		}, ErrNewer, "needs poller 9.7"},
		{"first record damaged", true, func(t *testing.T, dir string, o *Options) {
			corrupt(t, dir, func(tx *bolt.Tx) error { return tx.Bucket(bMeta.name).Put(keyFormat, []byte("x")) })
		}, ErrForeign, "damaged"},
		{"key missing, no sellers", false, func(t *testing.T, dir string, o *Options) { remove(t, o.KeyFile) }, nil, ""},
		{"another key, no sellers", false, func(t *testing.T, dir string, o *Options) {
			remove(t, o.KeyFile)
			_, err := makeKeyFile(o.KeyFile)
			must(t, err)
		}, nil, ""},
		{"key missing", true, func(t *testing.T, dir string, o *Options) { remove(t, o.KeyFile) }, ErrKey, "is missing"},
		{"key empty", true, func(t *testing.T, dir string, o *Options) { write(t, o.KeyFile, "") }, ErrKey, "empty or not a key"},
		{"key of something else", false, func(t *testing.T, dir string, o *Options) { write(t, o.KeyFile, "whsec_abc") }, ErrKey, "not a key"},
		{"key cut", true, func(t *testing.T, dir string, o *Options) { must(t, os.Truncate(o.KeyFile, 60)) }, ErrKey, "cut or damaged"},
		{"another key", true, func(t *testing.T, dir string, o *Options) {
			remove(t, o.KeyFile)
			_, err := makeKeyFile(o.KeyFile)
			must(t, err)
		}, ErrKey, "another database's key"},
		{"key huge", true, func(t *testing.T, dir string, o *Options) { write(t, o.KeyFile, strings.Repeat("x", 2<<20)) }, ErrKey, "not a key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpen(t, testOptions(dir))
			if tt.sellers {
				putSeller(t, s, "acme")
				submit(t, s, "acme", ids("o", 1000)...)
			}
			must(t, s.Close())
			o := testOptions(dir)
			tt.spoil(t, dir, &o)
			before, _ := os.ReadFile(o.Path)
			s, err := Open(t.Context(), o)
			if tt.want == nil {
				must(t, err)
				if tt.sellers && !o.Create {
					if _, err := s.Seller(t.Context(), "acme"); err != nil {
						t.Error(err)
					}
				}
				must(t, s.Close())
				left, _ := filepath.Glob(filepath.Join(dir, tempPattern))
				if len(left) > 0 {
					t.Errorf("leftovers: %v", left)
				}
				return
			}
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("error %v; want %v, saying %q", err, tt.want, tt.says)
			}
			if after, _ := os.ReadFile(o.Path); string(before) != string(after) {
				t.Error("the refused file was changed")
			}
		})
	}
}

// GUARANTEES, G10.
func TestSecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	openTest(t, dir)
	_, err := Open(t.Context(), testOptions(dir))
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "another daemon uses") {
		t.Fatal(err)
	}
}

// GUARANTEES, G22: the files are the owner's alone; G19: header values lie in them sealed.
func TestFilesAtRest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	s := mustOpen(t, testOptions(dir))
	putSeller(t, s, "acme")
	must(t, s.Close())
	for path, want := range map[string]os.FileMode{dir: 0o700, testOptions(dir).Path: 0o600, testOptions(dir).KeyFile: 0o600} {
		info, err := os.Stat(path)
		must(t, err)
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %o, want %o", path, got, want)
		}
	}
	b, err := os.ReadFile(testOptions(dir).Path)
	must(t, err)
	if strings.Contains(string(b), "sentinel-") {
		t.Error("a header value lies in the database in plain")
	}
}
