//go:build unix

package results

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"poller/order"
)

// Set in the processes that the tests below start.
const (
	killedDir   = "RESULTS_TEST_KILLED_DIR"
	killedAfter = "RESULTS_TEST_KILLED_AFTER"
	uploadFull  = "RESULTS_TEST_UPLOAD_FULL"
)

const killedKey = "orders/order-1/abcdefghijklmnopqrstuvwxyz/a.pdf"

// kill -9 at any step leaves the whole file under its key, or none, and after the next start nothing else.
func TestKilledUploadsLeaveNothingPartial(t *testing.T) {
	if dir := os.Getenv(killedDir); dir != "" {
		uploadUntilKilled(t, dir, os.Getenv(killedAfter))
		return
	}
	for after, want := range map[string]string{"begun": "", "written": "", "linked": killedKey, "published": killedKey} {
		path := t.TempDir()
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		child := exec.CommandContext(t.Context(), self, "-test.run=^TestKilledUploadsLeaveNothingPartial$")
		child.Env = append(os.Environ(), killedDir+"="+path, killedAfter+"="+after)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || line != "waiting\n" {
			t.Errorf("%s: %q %v", after, line, err)
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait() // killed
		if left := strings.Join(names(t, path), " "); !strings.Contains(left, "uploads/") || strings.HasSuffix(left, "uploads/") {
			t.Errorf("%s: the test shows nothing: %s", after, left)
		}
		d := open(t, path)
		got := ""
		for _, name := range names(t, path) {
			if !strings.HasSuffix(name, "/") {
				got += name
			}
		}
		if got != want {
			t.Errorf("%s: left %q", after, got)
		}
		if _, sum, err := d.Stat(t.Context(), killedKey); want == "" && !errors.Is(err, order.ErrNotFound) || want != "" && sum != digest("whole") {
			t.Errorf("%s: %s %v", after, sum, err)
		}
	}
}

func uploadUntilKilled(t *testing.T, path, after string) {
	d := open(t, path)
	p, err := d.newPart()
	if err != nil {
		t.Fatal(err)
	}
	switch after {
	case "written":
		err = p.write([]byte("who"))
	case "linked":
		err = errors.Join(p.write([]byte("whole")), p.link(killedKey))
	case "published":
		err = p.write([]byte("whole"))
		if err == nil {
			_, err = p.publish(t.Context(), killedKey)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("waiting")
	select {} // until killed
}

// A limit of file size stands for a disk that takes no more (GUARANTEES, G7).
func TestAnUploadToAFullDisk(t *testing.T) {
	if os.Getenv(uploadFull) != "" {
		limit := syscall.Rlimit{Cur: 64 << 10, Max: 64 << 10}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
		s := listening(t)
		_, signedURL := s.prepare("order-1", 100_000)
		if a := s.do(s.request(signedURL, strings.Repeat("x", 100_000))); a.status != http.StatusInsufficientStorage {
			t.Errorf("%d %+v", a.status, a.problem)
		}
		s.holds(nil)
		if s.logs.FilterMessage("upload failed").Len() != 0 {
			t.Error("a full disk was logged as a failure of the upload")
		}
		key, signedURL := s.prepare("order-1", 1000)
		s.taken(key, signedURL, strings.Repeat("x", 1000))
		if !t.Failed() {
			fmt.Println("kept the small one")
		}
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self, "-test.run=^TestAnUploadToAFullDisk$", "-test.v")
	child.Env = append(os.Environ(), uploadFull+"=1")
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "kept the small one") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// What stands in the folder of parts by another hand is removed, never followed.
func TestPartsAreSweptWithoutFollowingLinks(t *testing.T) {
	path, elsewhere := t.TempDir(), t.TempDir()
	open(t, path)
	secret := filepath.Join(elsewhere, "secret")
	plant(t, secret, "x")
	plant(t, filepath.Join(path, partsFolder, "part"), "x")
	if err := os.Symlink(elsewhere, filepath.Join(path, partsFolder, "link")); err != nil {
		t.Fatal(err)
	}
	open(t, path)
	if left := strings.Join(names(t, path), " "); left != partsFolder+"/" {
		t.Errorf("left %s", left)
	}
	if err := os.Remove(filepath.Join(path, partsFolder)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(path, partsFolder)); err != nil {
		t.Fatal(err)
	}
	open(t, path)
	if _, err := os.Stat(secret); err != nil {
		t.Error(err)
	}
}
