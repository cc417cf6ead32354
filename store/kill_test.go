//go:build linux

package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// childWork does a long work in the folder of its last argument and kills itself at the n-th step.
func childWork(args []string) {
	work, dir := args[len(args)-2], args[len(args)-1]
	name, at, _ := strings.Cut(work, ":")
	left, err := strconv.Atoi(at)
	exitOn(err)
	o := testOptions(dir)
	o.hooks.step = func(string) error {
		if left--; left == 0 {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}
	exitOn(longWorks[name](context.Background(), o))
}

// longWorks are what may be killed at any step; the backup for restore lies beside the database.
var longWorks = map[string]func(context.Context, Options) error{
	"backup": func(ctx context.Context, o Options) error {
		s, err := Open(ctx, o)
		if err != nil {
			return err
		}
		return errors.Join(s.Backup(ctx, o.Path+"-another-backup"), s.Close())
	},
	"compact": func(ctx context.Context, o Options) error { _, _, err := Compact(ctx, o); return err },
	"rotate":  RotateKey,
	"restore": func(ctx context.Context, o Options) error {
		_, err := Restore(ctx, o, o.Path+"-backup", true)
		return err
	},
}

// A kill at any step of a long work leaves the old database or the new one, whole, and nothing in the way of doing it again.
func TestKilledAtWork(t *testing.T) {
	for name, work := range longWorks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				dir := t.TempDir()
				fullStore(t, dir)
				o := testOptions(dir)
				s := mustOpen(t, o)
				must(t, s.Backup(t.Context(), o.Path+"-backup"))
				id := s.ID()
				must(t, s.Close())
				was := without(records(t, o.Path), keyFormat, keyCheck)
				c := child(t, "work", dir)
				c.Args = []string{c.Args[0], fmt.Sprintf("%s:%d", name, n), dir}
				err := c.Run()
				if err != nil && !strings.Contains(err.Error(), "killed") {
					t.Fatal(err)
				}
				is := without(records(t, o.Path), keyFormat, keyCheck, keyRestored)
				for k, v := range was {
					if is[k] != v && !(name == "rotate" && strings.HasPrefix(k, "sellers/")) {
						t.Errorf("step %d: %q is another record", n, k)
					}
				}
				if got := headers(t, o); !slices.Equal(got, fullHeaders) {
					t.Errorf("step %d: headers %q", n, got)
				}
				noTemps(t, dir) // opening the store removed what the kill left
				if err == nil {
					t.Logf("%d steps", n-1)
					return
				}
				if name == "backup" { // what is there is not touched
					must(t, os.Remove(o.Path+"-another-backup"))
				}
				// A restore keeps what it replaces under a name with the time, which stands still here.
				kept, _ := filepath.Glob(o.Path + ".before-restore-*")
				for _, k := range kept {
					s, err := lockFile(k)
					must(t, err)
					must(t, s.Close())
					must(t, os.Remove(k))
				}
				must(t, work(t.Context(), o))
				s = mustOpen(t, o)
				if same := s.ID() == id; same == (name == "restore") {
					t.Errorf("step %d: the same id: %v", n, same)
				}
				checkConsistent(t, s)
				must(t, s.Close())
			}
		})
	}
}

// A daemon that waits for the lock while the file is replaced is told so, and does not write into the old one.
func TestOpenWaitsForAReplacedFile(t *testing.T) {
	dir := t.TempDir()
	fullStore(t, dir)
	o := testOptions(dir)
	lock, err := lockFile(o.Path)
	must(t, err)
	opened := make(chan error)
	go func() {
		db, err := openMapped(o.Path, 0)
		if err == nil {
			err = db.Close()
		}
		opened <- err
	}()
	waitForWaiter(t, o.Path)
	copyFile(t, o.Path, filepath.Join(dir, "new"))
	must(t, os.Rename(filepath.Join(dir, "new"), o.Path))
	must(t, lock.Close())
	if err := <-opened; !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "replaced") {
		t.Error(err)
	}
}

// waitForWaiter waits until this process has the file open twice.
func waitForWaiter(t *testing.T, path string) {
	t.Helper()
	for n := 0; n < 2; {
		n = 0
		fds, err := filepath.Glob("/proc/self/fd/*")
		must(t, err)
		for _, fd := range fds {
			if to, err := os.Readlink(fd); err == nil && to == path {
				n++
			}
		}
	}
}

// Root may do the work of a daemon that is not root: its files stay its own.
func TestOwnerStays(t *testing.T) {
	dir := t.TempDir()
	fullStore(t, dir)
	o := testOptions(dir)
	s := mustOpen(t, o)
	backup := filepath.Join(dir, "b")
	must(t, s.Backup(t.Context(), backup))
	must(t, s.Close())
	uid := os.Getuid()
	if uid == 0 {
		uid = 12345
	}
	there := elsewhere(t, dir)
	folder := filepath.Dir(there.Path)
	must(t, os.MkdirAll(folder, 0o700))
	for _, path := range []string{o.Path, o.KeyFile, folder} {
		must(t, os.Lchown(path, uid, -1))
	}
	_, _, err := Compact(t.Context(), o)
	must(t, err)
	_, err = Restore(t.Context(), there, backup, false)
	must(t, err)
	again := there
	again.Path = o.Path
	_, err = Restore(t.Context(), again, backup, true)
	must(t, err)
	must(t, RotateKey(t.Context(), o))
	for _, path := range []string{o.Path, o.KeyFile, there.Path} {
		info, err := os.Stat(path)
		must(t, err)
		if got := info.Sys().(*syscall.Stat_t).Uid; int(got) != uid {
			t.Errorf("%s belongs to %d, want %d", path, got, uid)
		}
	}
}

// What is mapped is address space: neither memory nor disk.
func TestWideMapIsNoMemory(t *testing.T) {
	o := testOptions(t.TempDir())
	o.MapSize = 0
	virtual, anonymous := memoryOf(t)
	s := mustOpen(t, o)
	defer s.Close()
	putSeller(t, s, "a")
	v, a := memoryOf(t)
	if v-virtual < mapWide>>10 {
		t.Errorf("only %d KiB are mapped", v-virtual)
	}
	if a-anonymous > 64<<10 {
		t.Errorf("%d KiB of memory more", a-anonymous)
	}
	if n, err := fileSize(o.Path); err != nil || n > 32<<20 {
		t.Errorf("the file has %d bytes; %v", n, err)
	}
}

// memoryOf returns this process's address space and its own memory, in KiB.
func memoryOf(t testing.TB) (virtual, anonymous int64) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	must(t, err)
	for line := range strings.Lines(string(b)) {
		_, _ = fmt.Sscanf(line, "VmSize: %d kB", &virtual)
		_, _ = fmt.Sscanf(line, "RssAnon: %d kB", &anonymous)
	}
	return virtual, anonymous
}

// childMap opens a store with so many MiB of address space left as its argument says.
func childMap(dir string) {
	space, err := strconv.ParseUint(os.Args[1], 10, 64)
	exitOn(err)
	b, err := os.ReadFile("/proc/self/statm")
	exitOn(err)
	var pages uint64
	_, err = fmt.Sscan(string(b), &pages)
	exitOn(err)
	limit := pages*uint64(os.Getpagesize()) + space<<20
	exitOn(syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: limit, Max: limit}))
	o := testOptions(dir)
	o.MapSize = 0
	core, logged := observer.New(zap.WarnLevel)
	o.Log = zap.New(core)
	s, err := Open(context.Background(), o)
	exitOn(err)
	fmt.Println(logged.Len())
	exitOn(s.Close())
}

// With less address space than is asked for the store opens all the same, and says so.
func TestMapUnderALimit(t *testing.T) {
	for space, want := range map[string]string{"4096": "1", "700": "2"} {
		dir := t.TempDir()
		fullStore(t, dir)
		c := child(t, "map", dir)
		c.Args = []string{c.Args[0], space, dir}
		out, err := c.Output()
		must(t, err)
		if got := strings.TrimSpace(string(out)); got != want {
			t.Errorf("%s MiB: %s warnings, want %s", space, got, want)
		}
	}
}
