package results

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"poller/order"
)

func digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// put keeps a file and returns how its order would record it.
func put(t *testing.T, d *Dir, remoteID, content string) order.File {
	t.Helper()
	w, err := d.Create(t.Context(), remoteID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, iotest.OneByteReader(strings.NewReader(content))); err != nil {
		t.Fatal(err)
	}
	key, size, sum, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if size != int64(len(content)) || sum != digest(content) {
		t.Fatalf("%d bytes, SHA-256 %s", size, sum)
	}
	return order.File{ObjectKey: key, Size: size, SHA256: sum}
}

// names returns every path below a folder, with "/" after those of folders.
func names(t *testing.T, path string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(path, p); err == nil && rel != "." && rel != markFile {
			if e.IsDir() {
				rel += "/"
			}
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFileIsKeptUnderARandomKeyForTheOwnerOnly(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	file := put(t, d, "order-1", "hello")
	if !regexp.MustCompile(`^orders/order-1/[a-z2-7]{26}$`).MatchString(file.ObjectKey) || !ValidKey(file.ObjectKey) {
		t.Errorf("the key is %s", file.ObjectKey)
	}
	for p, want := range map[string]fs.FileMode{
		"orders": fs.ModeDir | 0o700, "orders/order-1": fs.ModeDir | 0o700, file.ObjectKey: 0o600, markFile: 0o600,
	} {
		if info, err := os.Stat(filepath.Join(path, p)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", p, info.Mode(), err)
		}
	}
	if size, sum, err := d.Stat(t.Context(), file.ObjectKey); err != nil || size != 5 || sum != digest("hello") {
		t.Errorf("Stat: %d, %s, %v", size, sum, err)
	}
	r, err := d.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := iotest.TestReader(r, []byte("hello")); err != nil {
		t.Error(err)
	}
	if err := d.Verify(t.Context(), file); err != nil {
		t.Error(err)
	}
	if empty := put(t, d, "order-1", ""); d.Verify(t.Context(), empty) != nil {
		t.Error("an empty file is no good")
	}
}

func TestAbortedAndFailedFilesLeaveNothing(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	kept := put(t, d, "kept", "a")
	want := []string{"orders/", "orders/kept/", kept.ObjectKey}

	w, err := d.Create(t.Context(), "order-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	w.Abort()
	if _, err := w.Write([]byte("more")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Write after Abort: %v", err)
	}
	if _, _, _, err := w.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Close after Abort: %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	if w, err = d.Create(ctx, "order-2"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := w.Write([]byte("late")); !errors.Is(err, context.Canceled) {
		t.Errorf("Write after the end: %v", err)
	}
	if _, _, _, err := w.Close(); !errors.Is(err, context.Canceled) {
		t.Errorf("Close after a failed Write: %v", err)
	}
	if _, err := d.Create(ctx, "order-3"); !errors.Is(err, context.Canceled) {
		t.Errorf("Create after the end: %v", err)
	}
	if got := names(t, path); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("left: %v", got)
	}
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	plant(t, filepath.Join(path, "orders/1/folder/x"), "")
	for _, key := range []string{"orders/1/none", "orders/none/x", "orders/1/folder", "orders/1/folder/x/y", "orders/../x", "", markFile} {
		if _, _, err := d.Stat(t.Context(), key); !errors.Is(err, order.ErrNotFound) {
			t.Errorf("Stat %q: %v", key, err)
		}
		if _, err := d.Open(t.Context(), order.File{ObjectKey: key}); !errors.Is(err, order.ErrNotFound) {
			t.Errorf("Open %q: %v", key, err)
		}
	}
}

func TestFileCutWhileItIsReadIsDamaged(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	file := put(t, d, "order-1", "hello")
	r, err := d.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.Truncate(filepath.Join(path, file.ObjectKey), 2); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); n != 2 || !errors.Is(err, order.ErrDamaged) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestRemoveTakesEmptyFoldersAlong(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	a, b := put(t, d, "order-1", "a"), put(t, d, "order-1", "b")
	deep := "orders/order-2/x/y/z"
	plant(t, filepath.Join(path, deep), "")
	for _, step := range []struct {
		keys []string
		want string
	}{
		{[]string{a.ObjectKey}, "orders/ orders/order-1/ " + b.ObjectKey + " orders/order-2/ orders/order-2/x/ orders/order-2/x/y/ " + deep},
		{[]string{a.ObjectKey, deep, "orders/none/x"}, "orders/ orders/order-1/ " + b.ObjectKey},
		{[]string{b.ObjectKey}, "orders/"},
		{[]string{b.ObjectKey}, "orders/"},
	} {
		if err := d.Remove(t.Context(), step.keys...); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(names(t, path), " "); got != step.want {
			t.Errorf("left %s, want %s", got, step.want)
		}
	}
}

func TestRemoveGoesOnAfterAnError(t *testing.T) {
	d := open(t, t.TempDir())
	file := put(t, d, "order-1", "a")
	if err := d.Remove(t.Context(), "../x", file.ObjectKey); err == nil || !strings.Contains(err.Error(), `removing result file "../x"`) {
		t.Errorf("got %v", err)
	}
	if _, _, err := d.Stat(t.Context(), file.ObjectKey); !errors.Is(err, order.ErrNotFound) {
		t.Errorf("it was left: %v", err)
	}
}

// One order's files come and go at the same time: its folder vanishes again
// and again, and no file that was closed is ever lost.
func TestCreateAndRemoveOfOneOrderDoNotDisturbEachOther(t *testing.T) {
	d := open(t, t.TempDir())
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for range 30 {
				w, err := d.Create(t.Context(), "order-1")
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := w.Write([]byte("x")); err != nil {
					t.Error(err)
				}
				key, _, _, err := w.Close()
				if err != nil {
					t.Error(err)
					return
				}
				if size, _, err := d.Stat(t.Context(), key); err != nil || size != 1 {
					t.Errorf("Stat: %d, %v", size, err)
				}
				if err := d.Remove(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
}

func TestNoSymlinkIsFollowed(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	plant(t, secret, "secret")
	path := t.TempDir()
	d := open(t, path)
	inside := put(t, d, "victim", "secret")
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(path, name)); err != nil {
			t.Fatal(err)
		}
	}
	link(outside, "orders/out")
	link("victim", "orders/in") // an order's files are reachable only by that order
	plant(t, filepath.Join(path, "orders/own/x"), "")
	link(secret, "orders/own/out")
	link("../../"+inside.ObjectKey, "orders/own/in")

	insideName := filepath.Base(inside.ObjectKey)
	for _, key := range []string{"orders/out/secret", "orders/in/" + insideName, "orders/own/out", "orders/own/in"} {
		if _, _, err := d.Stat(t.Context(), key); !errors.Is(err, order.ErrNotFound) {
			t.Errorf("Stat %s: %v", key, err)
		}
		file := order.File{ObjectKey: key, Size: 6, SHA256: digest("secret")}
		if _, err := d.Open(t.Context(), file); !errors.Is(err, order.ErrNotFound) {
			t.Errorf("Open %s: %v", key, err)
		}
		_ = d.Remove(t.Context(), key) // the link itself may go
	}
	for _, id := range []string{"out", "in"} {
		if _, err := d.Create(t.Context(), id); err == nil {
			t.Errorf("a file was made through %s", id)
		}
	}
	if err := d.Verify(t.Context(), inside); err != nil {
		t.Errorf("the file behind the links: %v", err)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("outside: %v, %v", entries, err)
	}
}
