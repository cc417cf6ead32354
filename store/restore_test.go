package store

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// backedUp makes a full store in dir, closed, and a backup of it.
func backedUp(t *testing.T, dir string) (backup string) {
	t.Helper()
	fullStore(t, dir)
	o := testOptions(dir)
	o.Now = later(time.Hour)
	s := mustOpen(t, o)
	backup = filepath.Join(t.TempDir(), "backup")
	must(t, s.Backup(t.Context(), backup))
	must(t, s.Close())
	return backup
}

// elsewhere are options for a new folder and the key file of an old one.
func elsewhere(t *testing.T, old string) Options {
	t.Helper()
	o := testOptions(filepath.Join(t.TempDir(), "new", "folder"))
	o.KeyFile = testOptions(old).KeyFile
	o.Now = later(2 * time.Hour)
	return o
}

// SPEC §6, last paragraph: a restored backup is another store, and numbers go on from the backup.
func TestRestore(t *testing.T) {
	old := t.TempDir()
	backup := backedUp(t, old)
	s := mustOpen(t, testOptions(old))
	oldID, keyID := s.ID(), s.KeyID()
	_, last := s.EventRange()
	pending, dead := s.OutboxCounts()
	must(t, s.Close())

	o := elsewhere(t, old)
	r, err := Restore(t.Context(), o, backup, false)
	must(t, err)
	want := RestoreReport{
		OldID: oldID, NewID: r.NewID, KeyID: keyID, BackupAt: testNow.Add(time.Hour), RestoredAt: testNow.Add(2 * time.Hour),
		Orders:  map[order.State]int64{order.StateProcessing: 5, order.StateCompleted: 3, order.StateFailed: 0, order.StateCancelled: 0},
		Sellers: 2, Events: int64(last), LastEvent: last, Pending: pending, Dead: dead,
	}
	if r.NewID == "" || r.NewID == oldID || !reflect.DeepEqual(r, want) {
		t.Errorf("report\n%+v, want\n%+v", r, want)
	}
	noTemps(t, filepath.Dir(o.Path))

	s = mustOpen(t, o)
	if s.ID() != r.NewID {
		t.Errorf("id %s, want %s", s.ID(), r.NewID)
	}
	if from, at := s.Restored(); !from.Equal(want.BackupAt) || !at.Equal(want.RestoredAt) {
		t.Errorf("restored %v, %v", from, at)
	}
	if x, err := s.Seller(t.Context(), "a"); err != nil || x.Headers[0].Value != "sentinel-a" {
		t.Errorf("%v, %v", x, err)
	}
	checkConsistent(t, s)
	must(t, s.Close())
	is, was := records(t, o.Path), records(t, backup)
	if !maps.Equal(without(is, keyFormat, keyCheck, keyRestored), without(was, keyFormat, keyCheck, keyBackup)) {
		t.Error("other records than in the backup")
	}
	if is["meta/keycheck"] == was["meta/keycheck"] {
		t.Error("the key is not remembered anew")
	}
	s = mustOpen(t, o)
	defer s.Close()
	submit(t, s, "a", "next")
	if _, now := s.EventRange(); now != last+1 {
		t.Errorf("event %d follows %d", now, last)
	}
	if s.Damaged() != 0 {
		t.Errorf("%d damaged", s.Damaged())
	}
}

func TestRestoreRefuses(t *testing.T) {
	old := t.TempDir()
	backup := backedUp(t, old)
	whole, err := os.ReadFile(backup)
	must(t, err)
	keyID := func() string {
		s := mustOpen(t, testOptions(old))
		defer s.Close()
		return s.KeyID()
	}()
	spoilt := func(t *testing.T, edit func(b []byte) []byte) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "spoilt")
		must(t, os.WriteFile(path, edit(slices.Clone(whole)), 0o600))
		return path
	}
	edited := func(t *testing.T, edit func(*bolt.Tx) error) string {
		t.Helper()
		dir := t.TempDir()
		must(t, os.WriteFile(testOptions(dir).Path, whole, 0o600))
		corrupt(t, dir, edit)
		return testOptions(dir).Path
	}
	tests := []struct {
		name  string
		from  func(t *testing.T, o *Options) string
		force bool
		want  error
		says  string
	}{
		{"no such file", func(t *testing.T, o *Options) string { return filepath.Join(t.TempDir(), "b") }, false, os.ErrNotExist, ""},
		{"a database is there", func(t *testing.T, o *Options) string { fullStore(t, filepath.Dir(o.Path)); return backup }, false, ErrExists, "--force"},
		{"a database is in use", func(t *testing.T, o *Options) string {
			openTest(t, filepath.Dir(o.Path))
			return backup
		}, true, ErrInUse, "stop it first"},
		{"from is in use", func(t *testing.T, o *Options) string {
			dir := t.TempDir()
			openTest(t, dir)
			return testOptions(dir).Path
		}, false, ErrInUse, "poller backup"},
		{"from is the database", func(t *testing.T, o *Options) string { fullStore(t, filepath.Dir(o.Path)); return o.Path }, true, nil, "is the database itself"},
		{"cut", func(t *testing.T, o *Options) string {
			return spoilt(t, func(b []byte) []byte { return b[:len(b)/2] })
		}, false, ErrForeign, "is cut"},
		{"empty", func(t *testing.T, o *Options) string { return spoilt(t, func(b []byte) []byte { return nil }) }, false, ErrForeign, "is empty"},
		{"text", func(t *testing.T, o *Options) string {
			return spoilt(t, func(b []byte) []byte { return []byte(strings.Repeat("x", 9000)) })
		}, false, ErrForeign, "another backup"},
		{"pages damaged", func(t *testing.T, o *Options) string {
			return spoilt(t, func(b []byte) []byte { clear(b[2*4096:]); return b })
		}, false, errDamaged, "another backup"},
		{"newer", func(t *testing.T, o *Options) string {
			return edited(t, func(tx *bolt.Tx) error {
				e := encodeHead(format+1, "9.7", "id")
				return tx.Bucket(bMeta.name).Put(keyFormat, e.seal(bMeta.seed, keyFormat))
			})
		}, false, ErrNewer, "needs poller 9.7"},
		{"both counters damaged", func(t *testing.T, o *Options) string {
			return edited(t, func(tx *bolt.Tx) error {
				return errors.Join(tx.Bucket(bMeta.name).Put(keyCounters, []byte("x")), tx.Bucket(bMeta.name).Put(keyCounters2, []byte("x")))
			})
		}, false, order.ErrDamaged, "another backup"},
		{"key missing", func(t *testing.T, o *Options) string {
			o.KeyFile = filepath.Join(t.TempDir(), "k")
			return backup
		}, false, ErrKey, "key id is " + keyID},
		{"another key", func(t *testing.T, o *Options) string {
			o.KeyFile = filepath.Join(t.TempDir(), "k")
			_, err := makeKeyFile(o.KeyFile)
			must(t, err)
			return backup
		}, false, ErrKey, "key id is " + keyID},
		{"another key, and the record that tells is damaged", func(t *testing.T, o *Options) string {
			o.KeyFile = filepath.Join(t.TempDir(), "k")
			_, err := makeKeyFile(o.KeyFile)
			must(t, err)
			return edited(t, func(tx *bolt.Tx) error { return tx.Bucket(bMeta.name).Put(keyCheck, []byte("x")) })
		}, false, ErrKey, "opens none"},
		{"no space", func(t *testing.T, o *Options) string {
			o.hooks.free = func(string) (int64, error) { return 5 << 10, nil }
			return backup
		}, false, order.ErrNoSpace, "needs about"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := elsewhere(t, old)
			key := o.KeyFile
			o.KeyFile = filepath.Join(filepath.Dir(o.Path), "secrets.key")
			from := tt.from(t, &o)
			if o.KeyFile == filepath.Join(filepath.Dir(o.Path), "secrets.key") {
				o.KeyFile = key
			}
			before, _ := os.ReadFile(o.Path)
			r, err := Restore(t.Context(), o, from, tt.force)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("error %v; want %v, saying %q", err, tt.want, tt.says)
			}
			if !reflect.DeepEqual(r, RestoreReport{}) {
				t.Errorf("a report of what was not done: %+v", r)
			}
			if after, _ := os.ReadFile(o.Path); string(after) != string(before) {
				t.Error("the database was changed")
			}
			noTemps(t, filepath.Dir(o.Path))
		})
	}
}

// With force the database that was there is kept beside, whatever its state.
func TestRestoreForced(t *testing.T) {
	old := t.TempDir()
	backup := backedUp(t, old)
	for _, state := range []string{"whole", "empty", "damaged"} {
		t.Run(state, func(t *testing.T) {
			o := elsewhere(t, old)
			must(t, os.MkdirAll(filepath.Dir(o.Path), 0o700))
			copyFile(t, testOptions(old).Path, o.Path)
			switch state {
			case "empty":
				must(t, os.Truncate(o.Path, 0))
			case "damaged":
				must(t, os.Truncate(o.Path, 5000))
			}
			before, err := os.ReadFile(o.Path)
			must(t, err)
			r, err := Restore(t.Context(), o, backup, true)
			must(t, err)
			kept, err := os.ReadFile(r.Kept)
			must(t, err)
			if want := o.Path + ".before-restore-20261123T140000Z"; r.Kept != want || string(kept) != string(before) {
				t.Errorf("kept as %s, want %s, with the same bytes", r.Kept, want)
			}
			s := mustOpen(t, o)
			if s.ID() != r.NewID {
				t.Errorf("id %s, want %s", s.ID(), r.NewID)
			}
			must(t, s.Close())
			noTemps(t, filepath.Dir(o.Path))
		})
	}
}

// A database without sellers needs no key: there is nothing sealed in it.
func TestRestoreWithoutSellersNeedsNoKey(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, testOptions(dir))
	backup := filepath.Join(dir, "b")
	must(t, s.Backup(t.Context(), backup))
	must(t, s.Close())
	o := testOptions(t.TempDir())
	_, err := Restore(t.Context(), o, backup, false)
	must(t, err)
	s = mustOpen(t, o)
	putSeller(t, s, "a")
	must(t, s.Close())
	must(t, mustOpen(t, o).Close())
}

// A plain copy of a stopped daemon's file was made when its newest event was, or its last cron tick, at the earliest.
func TestRestoreOfACopy(t *testing.T) {
	for _, tt := range []struct {
		name     string
		modified time.Time
		want     time.Time
	}{
		{"copied long after", testNow.Add(90 * time.Minute), testNow},
		{"as old as its file says", testNow.Add(-time.Hour), testNow.Add(-time.Hour)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			old := t.TempDir()
			fullStore(t, old)
			from := filepath.Join(t.TempDir(), "copy")
			copyFile(t, testOptions(old).Path, from)
			must(t, os.Chtimes(from, tt.modified, tt.modified))
			r, err := Restore(t.Context(), elsewhere(t, old), from, false)
			must(t, err)
			if !r.BackupAt.Equal(tt.want) || r.OldID == r.NewID {
				t.Errorf("backup at %v, want %v; ids %s, %s", r.BackupAt, tt.want, r.OldID, r.NewID)
			}
		})
	}
}

// What a first restore leaves to be kept is kept after a second one too.
func TestRestoreOfARestoredStore(t *testing.T) {
	old := t.TempDir()
	backup := backedUp(t, old)
	o := elsewhere(t, old)
	_, err := Restore(t.Context(), o, backup, false)
	must(t, err)
	o.Now = later(3 * time.Hour)
	s := mustOpen(t, o)
	again := filepath.Join(t.TempDir(), "again")
	must(t, s.Backup(t.Context(), again))
	must(t, s.Close())
	o.Now = later(4 * time.Hour)
	r, err := Restore(t.Context(), o, again, true)
	must(t, err)
	if !r.BackupAt.Equal(testNow.Add(3 * time.Hour)) {
		t.Errorf("reported %v", r.BackupAt)
	}
	s = mustOpen(t, o)
	defer s.Close()
	if from, at := s.Restored(); !from.Equal(testNow.Add(time.Hour)) || !at.Equal(testNow.Add(4*time.Hour)) {
		t.Errorf("restored %v, %v", from, at)
	}
}

func TestRestoreTakesDamageOver(t *testing.T) {
	old := t.TempDir()
	backup := backedUp(t, old)
	dir := t.TempDir()
	copyFile(t, backup, testOptions(dir).Path)
	corrupt(t, dir, func(tx *bolt.Tx) error {
		for _, b := range []*bucket{bCold, bSellers, bEnded} {
			k, v := tx.Bucket(b.name).Cursor().First()
			k, v = slices.Clone(k), append(slices.Clone(v), 1)
			if err := tx.Bucket(b.name).Put(k, v); err != nil {
				return err
			}
		}
		return nil
	})
	o := elsewhere(t, old)
	r, err := Restore(t.Context(), o, testOptions(dir).Path, false)
	must(t, err)
	if r.Damaged != 3 || r.Orders[order.StateCompleted] != 2 {
		t.Errorf("%+v", r)
	}
	if !maps.Equal(coldRecords(t, o.Path), coldRecords(t, testOptions(dir).Path)) {
		t.Error("not as they were")
	}
}
