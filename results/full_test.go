//go:build unix

package results

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"poller/order"
)

func TestErrorsOfAFullDiskSaySo(t *testing.T) {
	for _, test := range []struct {
		err  error
		want error
	}{
		{syscall.ENOSPC, order.ErrNoSpace},
		{syscall.EDQUOT, order.ErrNoSpace},
		{syscall.EFBIG, order.ErrNoSpace},
		{syscall.EROFS, order.ErrNoSpace},
		{syscall.ENOENT, order.ErrNotFound},
		{syscall.EIO, syscall.EIO},
		{syscall.EMFILE, syscall.EMFILE},
	} {
		err := explain("writing", "orders/1/x", &fs.PathError{Op: "write", Path: "/srv/poller", Err: test.err})
		if !errors.Is(err, test.want) || !errors.Is(err, test.err) || strings.Contains(err.Error(), "/srv") {
			t.Errorf("%v became %v", test.err, err)
		}
		if errors.Is(err, order.ErrNoSpace) != (test.want == order.ErrNoSpace) { //nolint:errorlint // the table's own value
			t.Errorf("%v became %v", test.err, err)
		}
	}
}

// A pipe in place of a file or folder would hold up whoever opens it, for ever.
func TestNoPipeIsOpened(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	file := put(t, d, "order-1", "x")
	for _, name := range []string{"orders/order-1/pipe", "orders/pipe"} {
		if err := syscall.Mkfifo(filepath.Join(path, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"orders/order-1/pipe", "orders/pipe/x"} {
		if _, _, err := d.Stat(t.Context(), key); !errors.Is(err, order.ErrNotFound) {
			t.Errorf("Stat %s: %v", key, err)
		}
	}
	if _, err := d.Create(t.Context(), "pipe"); err == nil {
		t.Error("a file was made in a pipe")
	}
	err := d.Walk(t.Context(), func(key string, _ time.Time, _ int64) error {
		if key != file.ObjectKey {
			t.Errorf("Walk shows %s", key)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// fullDir is set in the process that TestFullDisk starts: the limit holds for a whole process.
const fullDir = "RESULTS_TEST_FULL_DIR"

// A limit of file size stands for a disk that takes no more (GUARANTEES, G7).
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv(fullDir); dir != "" {
		writeUntilFull(t, dir)
		return
	}
	path := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self, "-test.run=^TestFullDisk$", "-test.v")
	child.Env = append(os.Environ(), fullDir+"="+path)
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "kept the small one") {
		t.Fatalf("%v\n%s", err, out)
	}
	if left := names(t, path); len(left) != 3 {
		t.Errorf("left: %v", left)
	}
}

func writeUntilFull(t *testing.T, path string) {
	limit := syscall.Rlimit{Cur: 64 << 10, Max: 64 << 10}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	d := open(t, path)
	w, err := d.Create(t.Context(), "big")
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err = w.Write(make([]byte, 1000)); err != nil {
			break
		}
	}
	if !errors.Is(err, order.ErrNoSpace) || !errors.Is(err, syscall.EFBIG) {
		t.Errorf("Write: %v", err)
	}
	if _, again := w.Write([]byte("x")); !errors.Is(again, order.ErrNoSpace) {
		t.Errorf("Write again: %v", again)
	}
	if _, _, _, err := w.Close(); !errors.Is(err, order.ErrNoSpace) {
		t.Errorf("Close: %v", err)
	}
	w.Abort()
	put(t, d, "small", "there is room for this")
	if !t.Failed() {
		fmt.Println("kept the small one")
	}
}
