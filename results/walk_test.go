package results

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poller/order"
)

func TestWalkShowsEveryFileAndNothingElse(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if err := d.Walk(t.Context(), func(string, time.Time, int64) error { return errors.New("called") }); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	want := make(map[string]int64)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range pageSize + 10 {
		key := fmt.Sprintf("orders/order-%d/x", i)
		plant(t, filepath.Join(path, key), strings.Repeat("x", i))
		if err := os.Chtimes(filepath.Join(path, key), at, at); err != nil {
			t.Fatal(err)
		}
		want[key] = int64(i)
	}
	plant(t, filepath.Join(path, "orders/stray"), "")
	plant(t, filepath.Join(path, "elsewhere/1/x"), "")
	if err := os.Symlink("order-1", filepath.Join(path, "orders/link")); err != nil {
		t.Fatal(err)
	}
	err := d.Walk(t.Context(), func(key string, modTime time.Time, size int64) error {
		if wantSize, ok := want[key]; !ok || size != wantSize || !modTime.Equal(at) {
			t.Errorf("%s: %d bytes, %s", key, size, modTime)
		}
		delete(want, key)
		return d.Remove(t.Context(), key)
	})
	if err != nil || len(want) != 0 {
		t.Errorf("%v, %d were left out", err, len(want))
	}

	put(t, d, "order-1", "x")
	stop := errors.New("stop")
	if err := d.Walk(t.Context(), func(string, time.Time, int64) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Walk(ctx, func(string, time.Time, int64) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What crashes leave behind goes after a day; what an order names stays, however old.
func TestSweepOrphans(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	now := time.Now()
	age := func(name string, by time.Duration) {
		t.Helper()
		if err := os.Chtimes(filepath.Join(path, name), now.Add(-by), now.Add(-by)); err != nil {
			t.Fatal(err)
		}
	}
	old := put(t, d, "order-1", "old and named")
	orphan := put(t, d, "order-1", "old and not named")
	alone := put(t, d, "order-2", "old, not named, the only one of its order")
	fresh := put(t, d, "order-3", "of a poll in flight")
	for _, folder := range []string{"orders/old-empty", "orders/fresh-empty"} {
		if err := os.Mkdir(filepath.Join(path, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []order.File{old, orphan, alone} {
		age(f.ObjectKey, 25*time.Hour)
	}
	age(fresh.ObjectKey, 23*time.Hour)
	age("orders/old-empty", 25*time.Hour)

	named := func(_ context.Context, key string) (bool, error) {
		if key == fresh.ObjectKey {
			t.Error("asked about a fresh file")
		}
		return key == old.ObjectKey, nil
	}
	dayAgo := now.Add(-24 * time.Hour)
	if n, err := d.SweepOrphans(t.Context(), dayAgo, named); err != nil || n != 2 {
		t.Errorf("removed %d, %v", n, err)
	}
	want := "orders/ orders/fresh-empty/ orders/order-1/ " + old.ObjectKey + " orders/order-3/ " + fresh.ObjectKey
	if got := strings.Join(names(t, path), " "); got != want {
		t.Errorf("left %s\nwant %s", got, want)
	}

	broken := errors.New("the store is closed")
	n, err := d.SweepOrphans(t.Context(), dayAgo, func(context.Context, string) (bool, error) { return false, broken })
	if n != 0 || !errors.Is(err, broken) {
		t.Errorf("removed %d, %v", n, err)
	}
	if err := d.Verify(t.Context(), old); err != nil {
		t.Errorf("an unanswered question is no permission: %v", err)
	}
}
