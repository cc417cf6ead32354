package main

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"poller/order"
)

// keptFake is a store and result folder that remembers what it was asked.
type keptFake struct {
	expired, trimmed int // that are still there
	pending          []string
	owned            map[string]bool
	removeErr        error
	expireErr        error
	room             int // above so many orders at a time Expire finds no space; 0: always enough

	expireBefore, trimBefore, orphansBefore time.Time
	trimMax                                 int64
	backupAt, restoredAt                    time.Time
	removed                                 []string
	orphanSweeps                            int
}

func (k *keptFake) Expire(_ context.Context, before time.Time, limit int) ([]string, int, error) {
	k.expireBefore = before
	if k.room > 0 && limit > k.room {
		return nil, 0, order.ErrNoSpace
	}
	n := min(limit, k.expired)
	k.expired -= n
	return nil, n, k.expireErr
}

func (k *keptFake) TrimEvents(_ context.Context, before time.Time, most int64, limit int) (int, error) {
	k.trimBefore, k.trimMax = before, most
	n := min(limit, k.trimmed)
	k.trimmed -= n
	return n, nil
}

func (k *keptFake) PendingDeletes(_ context.Context, limit int) ([]string, error) {
	return k.pending[:min(limit, len(k.pending))], nil
}

func (k *keptFake) Deleted(_ context.Context, keys []string) error {
	k.pending = slices.DeleteFunc(k.pending, func(s string) bool { return slices.Contains(keys, s) })
	return nil
}

func (k *keptFake) Named(_ context.Context, key string) (bool, error) { return k.owned[key], nil }

func (k *keptFake) Restored() (backupAt, restoredAt time.Time) { return k.backupAt, k.restoredAt }

func (k *keptFake) Remove(_ context.Context, keys ...string) error {
	k.removed = append(k.removed, keys...)
	return k.removeErr
}

func (k *keptFake) SweepOrphans(_ context.Context, olderThan time.Time, _ func(context.Context, string) (bool, error)) (int, error) {
	k.orphansBefore = olderThan
	k.orphanSweeps++
	return 0, nil
}

func newHousekeeping(k *keptFake, now *time.Time, doubted *bool) *housekeeping {
	c := defaultConfig()
	return &housekeeping{
		store: k, files: k, config: func() *Config { return &c }, doubted: func() bool { return *doubted },
		now: func() time.Time { return *now }, log: zap.NewNop(),
	}
}

func TestHousekeeping(t *testing.T) {
	now, doubted := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), false
	k := &keptFake{expired: 2*housekeepingChunk + 3, trimmed: housekeepingChunk, pending: []string{"a", "b"}}
	h := newHousekeeping(k, &now, &doubted)
	if err := h.once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k.expired != 0 || k.trimmed != 0 || len(k.pending) != 0 || !reflect.DeepEqual(k.removed, []string{"a", "b"}) {
		t.Errorf("left: %+v", k)
	}
	if !k.expireBefore.Equal(now.Add(-30*day)) || !k.trimBefore.Equal(now.Add(-7*day)) || k.trimMax != 10_000_000 || !k.orphansBefore.Equal(now.Add(-day)) {
		t.Errorf("wrong ages: %+v", k)
	}

	// Orphans are looked for once a day.
	for range 3 {
		now = now.Add(12*time.Hour + time.Minute)
		if err := h.once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if k.orphanSweeps != 2 {
		t.Errorf("%d sweeps of orphans in a day and a half", k.orphanSweeps)
	}
}

// While the clock is doubted nothing ages (GUARANTEES, G12); files whose orders are gone still go.
func TestHousekeepingClockDoubted(t *testing.T) {
	now, doubted := time.Now(), true
	k := &keptFake{expired: 1, trimmed: 1, pending: []string{"a"}}
	if err := newHousekeeping(k, &now, &doubted).once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k.expired != 1 || k.trimmed != 1 || k.orphanSweeps != 0 {
		t.Errorf("something aged: %+v", k)
	}
	if len(k.removed) != 1 {
		t.Error("the file of an order that is gone stayed")
	}
}

// A file that can't be deleted is not confirmed, so that it is tried again.
func TestHousekeepingRemoveFails(t *testing.T) {
	now, doubted := time.Now(), false
	k := &keptFake{pending: []string{"a"}, removeErr: errors.New("disk says no")}
	if err := newHousekeeping(k, &now, &doubted).once(t.Context()); !errors.Is(err, k.removeErr) {
		t.Errorf("got %v", err)
	}
	if len(k.pending) != 1 {
		t.Error("confirmed")
	}
}

// On a full disk less is deleted at a time, until it fits; what still fails keeps nothing else from making room (GUARANTEES, G7).
func TestHousekeepingOnAFullDisk(t *testing.T) {
	now, doubted := time.Now(), false
	k := &keptFake{expired: 1000, room: 7}
	if err := newHousekeeping(k, &now, &doubted).once(t.Context()); err != nil || k.expired != 0 {
		t.Errorf("%d left: %v", k.expired, err)
	}
	k = &keptFake{expired: 1, expireErr: order.ErrNoSpace, trimmed: 3, pending: []string{"a"}}
	if err := newHousekeeping(k, &now, &doubted).once(t.Context()); !errors.Is(err, order.ErrNoSpace) {
		t.Errorf("got %v", err)
	}
	if k.trimmed != 0 || len(k.pending) != 0 || k.orphanSweeps != 1 {
		t.Errorf("not done: %+v", k)
	}
}

// A database that can't be trusted ends housekeeping, and with it the daemon (GUARANTEES, G6).
func TestHousekeepingStoreBroken(t *testing.T) {
	now, doubted := time.Now(), false
	k := &keptFake{expireErr: order.ErrBroken}
	if err := newHousekeeping(k, &now, &doubted).run(t.Context()); !errors.Is(err, order.ErrBroken) {
		t.Errorf("got %v", err)
	}
}

// SPEC §6: files younger than a backup are kept for orders.retention after its restore, since their orders may come back to them.
func TestFilesYoungerThanARestoredBackupAreKept(t *testing.T) {
	now, doubted := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), false
	restored := now.Add(-29 * day)
	for name, c := range map[string]struct {
		backup, restored, want time.Time
	}{
		"never restored":                   {want: now.Add(-orphanAge)},
		"within retention":                 {restored.Add(-day), restored, restored.Add(-day)},
		"retention is over":                {restored.Add(-5 * day), restored.Add(-2 * day), now.Add(-orphanAge)},
		"the backup is younger than a day": {now.Add(-time.Hour), now, now.Add(-orphanAge)},
	} {
		t.Run(name, func(t *testing.T) {
			k := &keptFake{backupAt: c.backup, restoredAt: c.restored}
			if err := newHousekeeping(k, &now, &doubted).once(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !k.orphansBefore.Equal(c.want) {
				t.Errorf("files from before %v were looked at, want %v", k.orphansBefore, c.want)
			}
		})
	}
}
