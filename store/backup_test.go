package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// records reads all live records of a file.
func records(t testing.TB, path string) map[string]string {
	t.Helper()
	must(t, checkPages(path))
	db, err := openReading(path)
	must(t, err)
	defer db.Close()
	all := make(map[string]string)
	must(t, db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err) // bbolt's own opinion
		}
		return walk(t.Context(), tx, func(r *entry) error {
			all[string(r.name)+"/"+string(r.key)] = string(r.value)
			return nil
		})
	}))
	return all
}

// without returns the records but for some of bMeta.
func without(all map[string]string, keys ...[]byte) map[string]string {
	all = maps.Clone(all)
	for _, k := range keys {
		delete(all, "meta/"+string(k))
	}
	return all
}

func holds(t testing.TB, path, text string) bool {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return bytes.Contains(b, []byte(text))
}

// noTemps fails if work that ended left something behind.
func noTemps(t testing.TB, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, tempPattern))
	must(t, err)
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestBackupHoldsEveryLiveRecord(t *testing.T) {
	dir := t.TempDir()
	fullStore(t, dir)
	s := mustOpen(t, testOptions(dir))
	path := filepath.Join(t.TempDir(), "b")
	must(t, s.Backup(t.Context(), path))
	if n := s.Damaged(); n != 0 {
		t.Errorf("%d sound records taken for damaged: is a bucket of marks not known as one?", n)
	}
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", info.Mode().Perm())
	}
	must(t, s.Close())
	got, want := records(t, path), records(t, testOptions(dir).Path)
	if _, ok := got["meta/backup"]; !ok {
		t.Error("the backup is not marked as one")
	}
	if !maps.Equal(without(got, keyBackup), want) {
		t.Errorf("%d records, want %d, or others", len(got)-1, len(want))
	}
}

// GUARANTEES, G29: a later backup holds no byte of what was deleted or overwritten; G19: and no header value in plain.
func TestBackupHoldsNoOldBytes(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	putSeller(t, s, "a")
	x := order.Seller{ID: "a", StatusURL: "https://x.example/{order_id}", Note: "overwritten-bytes"}
	x.Headers = []order.Header{{Name: "Authorization", Value: "sentinel-a"}}
	_, _, err := s.PutSeller(t.Context(), x)
	must(t, err)
	_, _, err = s.PutSeller(t.Context(), order.Seller{ID: "gone", StatusURL: "https://deleted-bytes.example/{order_id}"})
	must(t, err)
	x.Note = "new"
	_, _, err = s.PutSeller(t.Context(), x)
	must(t, err)
	must(t, s.DeleteSeller(t.Context(), "gone"))
	for _, old := range []string{"overwritten-bytes", "deleted-bytes"} {
		if !holds(t, testOptions(dir).Path, old) {
			t.Fatalf("%s: the test shows nothing", old)
		}
	}
	path := filepath.Join(dir, "b")
	must(t, s.Backup(t.Context(), path))
	for _, text := range []string{"overwritten-bytes", "deleted-bytes", "sentinel-"} {
		if holds(t, path, text) {
			t.Errorf("the backup holds %q", text)
		}
	}
	if holds(t, testOptions(dir).Path, "sentinel-") {
		t.Error("the database holds a header value in plain")
	}
}

// While a backup is under way, for however long, commits go through, also those for which the file grows far beyond the
// map that it would have had.
func TestBackupHoldsUpNoCommit(t *testing.T) {
	dir := t.TempDir()
	o := testOptions(dir)
	o.MapSize = 0 // as in use
	reached, goOn := make(chan struct{}), make(chan struct{})
	o.hooks.step = func(step string) error {
		if step == "batch" {
			reached <- struct{}{}
			<-goOn
		}
		return nil
	}
	s := mustOpen(t, o)
	putSeller(t, s, "a")
	submit(t, s, "a", "before")
	path := filepath.Join(dir, "b")
	done := make(chan error)
	go func() { done <- s.Backup(context.WithoutCancel(t.Context()), path) }()
	<-reached // within the read transaction
	small := s.Size()
	for i := 0; s.Size() < small+(40<<20); i++ {
		subs := make([]order.Submission, 2000)
		for j := range subs {
			subs[j] = order.Submission{OrderID: fmt.Sprintf("o-%d-%d", i, j), SellerID: "a", Metadata: map[string]string{"k": strings.Repeat("v", 2000)}}
		}
		_, err := s.Submit(t.Context(), subs, 0, testNow)
		must(t, err)
	}
	goOn <- struct{}{}
	<-reached // the last one, of finish
	goOn <- struct{}{}
	must(t, <-done)
	must(t, s.Close())
	if n := len(coldRecords(t, path)); n != 1 {
		t.Errorf("%d orders in the backup; there was 1 when it began", n)
	}
}

func TestBackupCopiesDamage(t *testing.T) {
	dir := t.TempDir()
	fullStore(t, dir)
	corrupt(t, dir, func(tx *bolt.Tx) error {
		b := tx.Bucket(bCold.name)
		k, v := b.Cursor().First()
		return b.Put(k, append(slices.Clone(v), 1))
	})
	s := mustOpen(t, testOptions(dir))
	path := filepath.Join(dir, "b")
	must(t, s.Backup(t.Context(), path))
	must(t, s.Close())
	if s.Damaged() != 1 {
		t.Errorf("%d damaged, want 1", s.Damaged())
	}
	if !maps.Equal(coldRecords(t, path), coldRecords(t, s.opts.Path)) {
		t.Error("not copied as it was")
	}
}

func coldRecords(t *testing.T, path string) map[string]string {
	t.Helper()
	all := records(t, path)
	maps.DeleteFunc(all, func(k, _ string) bool { return !strings.HasPrefix(k, "cold/") })
	return all
}

// If Backup fails, nothing is left at the path, and what was there stays.
func TestBackupFails(t *testing.T) {
	dir := t.TempDir()
	fullStore(t, dir)
	o := testOptions(dir)
	var fault string
	free := int64(1 << 40)
	o.hooks = hooks{free: func(string) (int64, error) { return free, nil }, step: func(step string) error {
		if step == fault {
			return errors.New("injected")
		}
		return nil
	}}
	s := mustOpen(t, o)
	defer s.Close()
	path := filepath.Join(dir, "b")
	gone := func(what string) {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the file is there", what)
		}
	}
	for _, fault = range []string{"batch", "written"} {
		if err := s.Backup(t.Context(), path); err == nil || !strings.Contains(err.Error(), "injected") {
			t.Errorf("%s: %v", fault, err)
		}
		gone(fault)
	}
	fault, free = "", 4096
	if err := s.Backup(t.Context(), path); !errors.Is(err, order.ErrNoSpace) || !strings.Contains(err.Error(), "needs about") {
		t.Error(err)
	}
	gone("no space")
	free = 1 << 40
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Backup(ctx, path); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	gone("cancelled")
	if err := s.Backup(t.Context(), filepath.Join(dir, "none", "b")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	must(t, os.WriteFile(path, []byte("precious"), 0o600))
	if err := s.Backup(t.Context(), path); !errors.Is(err, fs.ErrExist) || !holds(t, path, "precious") {
		t.Error(err)
	}
}

// A backup bears the id of a store that goes on: it is no database before it is restored.
func TestOpenRefusesABackup(t *testing.T) {
	dir := t.TempDir()
	fullStore(t, dir)
	s := mustOpen(t, testOptions(dir))
	path := filepath.Join(dir, "b")
	must(t, s.Backup(t.Context(), path))
	must(t, s.Close())
	must(t, os.Rename(path, testOptions(dir).Path))
	for name, do := range map[string]func() error{
		"open":    func() error { _, err := Open(t.Context(), testOptions(dir)); return err },
		"compact": func() error { _, _, err := Compact(t.Context(), testOptions(dir)); return err },
		"rotate":  func() error { return RotateKey(t.Context(), testOptions(dir)) },
	} {
		if err := do(); !errors.Is(err, ErrBackup) || !strings.Contains(err.Error(), "poller restore") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is not complete has no head, and is taken by nobody.
func TestBackupCutOffIsNotTaken(t *testing.T) {
	dir := t.TempDir()
	fullStore(t, dir)
	s := mustOpen(t, testOptions(dir))
	path, cut := filepath.Join(dir, "b"), filepath.Join(dir, "cut")
	s.opts.hooks.step = func(step string) error {
		if step == "batch" {
			copyFile(t, path, cut)
		}
		return nil
	}
	must(t, s.Backup(t.Context(), path))
	must(t, s.Close())
	o := testOptions(t.TempDir())
	o.KeyFile = testOptions(dir).KeyFile
	_, err := Restore(t.Context(), o, cut, false)
	if !errors.Is(err, ErrForeign) {
		t.Error(err)
	}
	_, err = Restore(t.Context(), o, path, false)
	must(t, err)
}

func later(d time.Duration) func() time.Time { return func() time.Time { return testNow.Add(d) } }
