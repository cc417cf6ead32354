package store

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"poller/order"
)

func reserveOf(t *testing.T, o Options) fs.FileInfo {
	t.Helper()
	info, err := os.Lstat(o.Path + reserveSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	must(t, err)
	return info
}

func checkReserve(t *testing.T, o Options, want bool) {
	t.Helper()
	info := reserveOf(t, o)
	if (info != nil) != want {
		t.Fatalf("the reserve is there: %v, want %v", info != nil, want)
	}
	if info == nil {
		return
	}
	if info.Size() != reserveSize || info.Mode() != 0o600 {
		t.Errorf("reserve: %d bytes, %s", info.Size(), info.Mode())
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Blocks*512 < reserveSize {
		t.Errorf("the reserve takes up %d bytes", s.Blocks*512)
	}
}

func watched(o *Options) *observer.ObservedLogs {
	core, logs := observer.New(zapcore.InfoLevel)
	o.Log = zap.New(core)
	return logs
}

// GUARANTEES, G7: a commit that the full disk refuses is tried again in the room of the reserve, which comes back when there is room.
func TestReserve(t *testing.T) {
	o := testOptions(t.TempDir())
	logs := watched(&o)
	free := int64(0)
	o.hooks.free = func(string) (int64, error) { return free, nil }
	s := mustOpen(t, o)
	defer func() { must(t, s.Close()) }()
	checkReserve(t, o, true)
	putSeller(t, s, "a")
	list := submit(t, s, "a", "o1")

	refused := func(cause error) {
		t.Helper()
		failNext(s, &fs.PathError{Op: "write", Err: cause})
		if _, _, err := s.PutSeller(t.Context(), order.Seller{ID: "b"}); !errors.Is(err, order.ErrNoSpace) {
			t.Errorf("%v: %v", cause, err)
		}
	}
	refused(syscall.EFBIG)
	if s.Full() {
		t.Error("a file that is too large is not a full disk")
	}
	checkReserve(t, o, true)

	failNext(s, &fs.PathError{Op: "write", Err: syscall.ENOSPC})
	must(t, s.Record(t.Context(), &order.Batch{Changes: []*order.Change{complete(list[0].Ref)}, Now: testNow}))
	if c := s.Counts(); c[order.StateCompleted] != 1 || !s.Full() {
		t.Errorf("%v, full: %v", c, s.Full())
	}
	checkReserve(t, o, false)
	refused(syscall.ENOSPC) // twice

	renew := func() { // in the writer's place: it does nothing meanwhile
		t.Helper()
		s.reserve.renew(o.Path)
	}
	renew()
	free = 2*reserveSize - 1
	renew()
	checkReserve(t, o, false)
	free++
	renew()
	checkReserve(t, o, true)
	if s.Full() {
		t.Error("still full")
	}
	renew()

	refused(syscall.EROFS)
	if !s.Full() {
		t.Error("a read-only disk was not noticed")
	}
	checkReserve(t, o, true) // there is nothing to be won by removing it
	renew()
	if s.Full() {
		t.Error("still full")
	}
	equalLogs(t, logs, "the disk is full: the reserve is given back, for orders to end and old ones to be deleted", 1)
	equalLogs(t, logs, "the disk takes writes again: the reserve is made again", 2)
}

func equalLogs(t *testing.T, logs *observer.ObservedLogs, message string, want int) {
	t.Helper()
	if n := logs.FilterMessage(message).Len(); n != want {
		t.Errorf("logged %d times, want %d: %s", n, want, message)
	}
}

// What lies in the reserve's place is replaced, and never followed; one that a crash left unfinished is made again.
func TestReserveIsMadeAnew(t *testing.T) {
	for name, put := range map[string]func(path, elsewhere string) error{
		"cut":     func(path, _ string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"a link":  func(path, elsewhere string) error { return os.Symlink(elsewhere, path) },
		"removed": func(string, string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t.TempDir())
			elsewhere := t.TempDir() + "/precious"
			must(t, os.WriteFile(elsewhere, []byte("precious"), 0o600))
			must(t, mustOpen(t, o).Close())
			must(t, os.Remove(o.Path+reserveSuffix))
			must(t, put(o.Path+reserveSuffix, elsewhere))
			must(t, mustOpen(t, o).Close())
			checkReserve(t, o, true)
			if b, err := os.ReadFile(elsewhere); err != nil || string(b) != "precious" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

// A reserve that can't be made stops nothing; only for want of space does it say that the disk is full.
func TestNoReserve(t *testing.T) {
	o := testOptions(t.TempDir())
	logs := watched(&o)
	must(t, mustOpen(t, o).Close())
	must(t, os.Remove(o.Path+reserveSuffix))
	must(t, os.MkdirAll(o.Path+reserveSuffix+"/somebody's", 0o700))
	s := mustOpen(t, o)
	putSeller(t, s, "a")
	if s.Full() {
		t.Error("full")
	}
	must(t, s.Close())
	equalLogs(t, logs, "the reserve for a full disk can't be made", 1)
}
