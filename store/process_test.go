//go:build linux

package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// Some faults need a process of their own: this test binary runs itself with this variable set.
const childVariable = "POLLER_STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childVariable) {
	case "":
		os.Exit(m.Run())
	case "submit":
		childSubmit(os.Args[len(os.Args)-1])
	case "space":
		childSpace(os.Args[len(os.Args)-1])
	case "work":
		childWork(os.Args)
	case "map":
		childMap(os.Args[len(os.Args)-1])
	}
}

func child(t *testing.T, what, dir string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0], dir)
	c.Env = append(os.Environ(), childVariable+"="+what)
	c.Stderr = os.Stderr
	return c
}

// childSubmit submits and completes orders, and says so after each answer, until it is killed.
func childSubmit(dir string) {
	ctx := context.Background()
	s, err := Open(ctx, testOptions(dir))
	exitOn(err)
	_, _, err = s.PutSeller(ctx, order.Seller{ID: "a"})
	exitOn(err)
	for i := 0; ; i++ {
		id := fmt.Sprintf("o%d", i)
		done, err := s.Submit(ctx, []order.Submission{{OrderID: id, SellerID: "a"}}, 0, testNow)
		exitOn(err)
		exitOn(done[0].Err)
		fmt.Println("submitted", id)
		if i%3 == 0 {
			exitOn(s.Record(ctx, &order.Batch{Changes: []*order.Change{complete(done[0].Order.Ref, "orders/"+id)}, Now: testNow}))
			fmt.Println("completed", id)
		}
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// GUARANTEES, G1, G2, G5: a kill at any instant loses nothing that was acknowledged.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	said := map[string]string{}
	for round := range 4 {
		c := child(t, "submit", filepath.Join(dir, fmt.Sprint(round)))
		out, err := c.StdoutPipe()
		must(t, err)
		must(t, c.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			word, id, _ := strings.Cut(lines.Text(), " ")
			said[id] = word
			if n == 20+round*7 {
				must(t, c.Process.Kill())
			}
		}
		_ = c.Wait()
		s := mustOpen(t, testOptions(filepath.Join(dir, fmt.Sprint(round))))
		for id, word := range said {
			o, err := s.Order(t.Context(), id)
			if err != nil || word == "completed" && o.State != order.StateCompleted {
				t.Errorf("round %d: %s %s: %v, %s", round, id, word, err, o.State)
			}
		}
		checkConsistent(t, s)
		must(t, s.Close())
		clear(said)
	}
}

// childSpace fills a store under a limit on file size, then goes on without it.
func childSpace(dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	ctx := context.Background()
	s, err := Open(ctx, testOptions(dir))
	exitOn(err)
	_, _, err = s.PutSeller(ctx, order.Seller{ID: "a"})
	exitOn(err)
	var was syscall.Rlimit
	exitOn(syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was))
	for _, limit := range []uint64{1 << 20, 3 << 20, 24 << 20} {
		exitOn(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: was.Max}))
		stored := int64(0)
		for i := 0; err == nil; i++ {
			stored = s.Counts()[order.StateProcessing]
			subs := make([]order.Submission, 500)
			for j := range subs {
				subs[j] = order.Submission{OrderID: fmt.Sprintf("o-%d-%d-%d", limit, i, j), SellerID: "a", Metadata: map[string]string{"k": strings.Repeat("v", 500)}}
			}
			_, err = s.Submit(ctx, subs, 0, testNow)
		}
		if !errors.Is(err, order.ErrNoSpace) {
			exitOn(fmt.Errorf("limit %d: not ErrNoSpace: %w", limit, err))
		}
		if n := s.Counts()[order.StateProcessing]; n != stored {
			exitOn(fmt.Errorf("limit %d: %d orders, had %d", limit, n, stored))
		}
		if stored > 0 {
			_, err = s.Order(ctx, fmt.Sprintf("o-%d-0-0", limit))
			exitOn(err)
		}
		err = nil
	}
	exitOn(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was))
	done, err := s.Submit(ctx, []order.Submission{{OrderID: "after", SellerID: "a"}}, 0, testNow)
	exitOn(err)
	exitOn(done[0].Err)
	exitOn(s.Close())
}

// GUARANTEES, G7: the real thing, from bbolt's growing and writing down to the system's refusal.
func TestFileSizeLimit(t *testing.T) {
	dir := t.TempDir()
	must(t, child(t, "space", dir).Run())
	s := openTest(t, dir)
	if _, err := s.Order(t.Context(), "after"); err != nil {
		t.Error(err)
	}
	checkConsistent(t, s)
}

// GUARANTEES, G1: the file as it is before and after each commit is a whole store.
func TestCopiesBetweenCommits(t *testing.T) {
	dir, copies := t.TempDir(), t.TempDir()
	s := mustOpen(t, testOptions(dir))
	n := 0
	var acknowledged []int
	s.commit = func(tx *bolt.Tx) error {
		n++
		copyFile(t, testOptions(dir).Path, filepath.Join(copies, fmt.Sprintf("%02d.db", n)))
		acknowledged = append(acknowledged, int(s.mem.orders))
		return tx.Commit()
	}
	putSeller(t, s, "a")
	for i := range 10 {
		list := submit(t, s, "a", ids(fmt.Sprint("o", i, "-"), 30)...)
		record(t, s, complete(list[3].Ref, "orders/"+list[3].ID))
	}
	must(t, s.Close())
	for i, want := range acknowledged {
		here := t.TempDir()
		copyFile(t, filepath.Join(copies, fmt.Sprintf("%02d.db", i+1)), testOptions(here).Path)
		copyFile(t, testOptions(dir).KeyFile, testOptions(here).KeyFile)
		c := mustOpen(t, testOptions(here))
		if got := int(c.mem.orders); got != want {
			t.Errorf("copy %d: %d orders, want %d", i, got, want)
		}
		checkConsistent(t, c)
		must(t, c.Close())
	}
}
