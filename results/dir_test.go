package results

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const storeID = "store-1"

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path, storeID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestOpenDirClaimsWhatIsEmptyAndRefusesWhatIsForeign(t *testing.T) {
	tests := map[string]struct {
		files   map[string]string
		created bool
		want    string // part of the error
	}{
		"empty":                  {nil, true, ""},
		"fresh file system":      {map[string]string{"lost+found/x": ""}, true, ""},
		"crash before the mark":  {map[string]string{tempFile: "stor"}, true, ""},
		"ours":                   {map[string]string{markFile: storeID + "\n", "orders/1/x": "a"}, false, ""},
		"ours, crash leftover":   {map[string]string{markFile: storeID + "\n", tempFile: "x"}, false, ""},
		"another database's":     {map[string]string{markFile: "store-2\n"}, false, `not this database's result store: it belongs to another database, with the store id "store-2"; ours is "store-1"`},
		"an empty mark":          {map[string]string{markFile: ""}, false, `belongs to another database, with the store id ""`},
		"a mark too long":        {map[string]string{markFile: strings.Repeat("x", 2000)}, false, "poller-store-id is no store id"},
		"not empty, no mark":     {map[string]string{"photo.jpg": "x"}, false, `it is not empty ("photo.jpg"), and has no poller-store-id`},
		"files of ours, no mark": {map[string]string{"orders/1/x": "x"}, false, `it is not empty ("orders")`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			for name, content := range test.files {
				plant(t, filepath.Join(path, name), content)
			}
			d, err := OpenDir(path, storeID)
			if test.want != "" {
				if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %s", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if d.Created() != test.created {
				t.Errorf("created: %v", d.Created())
			}
			mark, err := os.ReadFile(filepath.Join(path, markFile))
			if err != nil || string(mark) != storeID+"\n" {
				t.Errorf("the mark is %q, %v", mark, err)
			}
			again := open(t, path)
			if again.Created() {
				t.Error("created a second time")
			}
		})
	}
}

func plant(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOpenDirMakesFoldersAndClosesThemToOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	open(t, path)
	loose := t.TempDir()
	if err := os.Chmod(loose, 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, loose)
	for _, p := range []string{filepath.Dir(path), path, loose} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", p, info.Mode(), err)
		}
	}
}

func TestOpenDirRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	plant(t, file, "")
	linked := t.TempDir()
	plant(t, file+"-mark", storeID+"\n")
	if err := os.Symlink(file+"-mark", filepath.Join(linked, markFile)); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][2]string{
		"no store id":       {t.TempDir(), ""},
		"two lines":         {t.TempDir(), "a\nb"},
		"a file":            {file, storeID},
		"below a file":      {filepath.Join(file, "x", "y"), storeID},
		"a mark by symlink": {linked, storeID},
	} {
		if d, err := OpenDir(args[0], args[1]); err == nil {
			t.Errorf("%s: opened", name)
			d.Close()
		}
	}
}

func TestValidKey(t *testing.T) {
	long := strings.Repeat("x", MaxSegmentLength)
	for key, want := range map[string]bool{
		"orders/1/a":        true,
		"orders/1/a/b c/ü.": true,
		"orders/1/...":      true,
		"orders/1/" + long:  true,
		"orders/1/" + strings.Repeat("x/", (MaxKeyLength-9)/2) + "x":  true,
		"orders/1/" + strings.Repeat("x/", (MaxKeyLength-9)/2) + "xx": false,
		"orders/1/" + long + "x": false,
		"":                       false,
		"orders":                 false,
		"orders/1":               false,
		"orders/1/":              false,
		"orders//a":              false,
		"/orders/1/a":            false,
		"other/1/a":              false,
		"orders/1/../2/a":        false,
		"orders/./1/a":           false,
		"orders/../orders/1/a":   false,
		"orders/1/a\x00":         false,
		"orders/1/\xff":          false,
	} {
		if ValidKey(key) != want {
			t.Errorf("%.80q: %v", key, !want)
		}
	}
}

// FuzzKeys: no key of a stranger is found where nothing was put, leads out of the folder, or does harm.
func FuzzKeys(f *testing.F) {
	for _, key := range []string{"orders/1/a", "orders/../../etc/passwd", "orders/1/", "orders/1/..", "orders/link/secret", "orders/1/\x00", "poller-store-id"} {
		f.Add(key)
	}
	outside := filepath.Join(f.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		f.Fatal(err)
	}
	path := f.TempDir()
	d, err := OpenDir(path, storeID)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { d.Close() })
	if err := os.MkdirAll(filepath.Join(path, top), 0o700); err != nil {
		f.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(path, top, "link")); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if size, _, err := d.Stat(t.Context(), key); err == nil {
			t.Errorf("%q has %d bytes", key, size)
		}
		_ = d.Remove(t.Context(), key)
		for _, p := range []string{outside, filepath.Join(path, markFile), filepath.Join(path, top)} {
			if _, err := os.Lstat(p); err != nil {
				t.Errorf("removing %q: %v", key, err)
			}
		}
	})
}
