package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

func TestRefusedForSpace(t *testing.T) {
	write := func(e error) error { return &fs.PathError{Op: "write", Path: "/x/poller.db", Err: e} }
	grow := func(e error) error {
		return errors.New("file resize error: " + (&fs.PathError{Op: "truncate", Path: "x", Err: e}).Error())
	}
	tests := []struct {
		err  error
		want bool
	}{
		{write(syscall.ENOSPC), true},
		{write(syscall.EDQUOT), true},
		{write(syscall.EFBIG), true},
		{write(syscall.EROFS), true},
		{fmt.Errorf("wrapped: %w", write(syscall.ENOSPC)), true},
		{grow(syscall.ENOSPC), true},
		{grow(syscall.EFBIG), true},
		{write(syscall.EIO), false},
		{grow(syscall.EIO), false},
		{syscall.ENOSPC, false}, // a sync: it is not known what is on disk
		{syscall.EIO, false},
		{errors.New("file sync error: " + syscall.ENOSPC.Error()), false},
		{errors.New("mmap allocate error: no space left on device"), false},
	}
	for _, tt := range tests {
		if got := refusedForSpace(tt.err); got != tt.want {
			t.Errorf("%v: %v", tt.err, got)
		}
	}
}

// failNext makes the next commit fail with err, as bbolt does: rolled back.
func failNext(s *Store, err error) {
	once := false
	s.commit = func(tx *bolt.Tx) error {
		if once {
			return tx.Commit()
		}
		once = true
		_ = tx.Rollback()
		return err
	}
}

// GUARANTEES, G7: a write refused for space did not happen, and the next one goes on.
func TestNoSpace(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	s.reserve.out.Store(true) // there is none left to try again with
	putSeller(t, s, "a")
	list := submit(t, s, "a", "o1")
	failNext(s, &fs.PathError{Op: "write", Err: syscall.ENOSPC})
	_, err := s.Submit(t.Context(), []order.Submission{{OrderID: "o2", SellerID: "a"}}, 0, testNow)
	if !errors.Is(err, order.ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if _, err := s.Order(t.Context(), "o2"); !errors.Is(err, order.ErrNotFound) {
		t.Error(err)
	}
	failNext(s, &fs.PathError{Op: "write", Err: syscall.ENOSPC})
	if err := s.Record(t.Context(), &order.Batch{Changes: []*order.Change{complete(list[0].Ref)}, Now: testNow}); !errors.Is(err, order.ErrNoSpace) {
		t.Fatal(err)
	}
	if c := s.Counts(); c[order.StateProcessing] != 1 || c[order.StateCompleted] != 0 {
		t.Error(c)
	}
	must(t, s.Err())
	if o := submit(t, s, "a", "o2")[0]; o.Ref.Order != 2 {
		t.Errorf("a number was burnt: %+v", o.Ref)
	}
	if _, last := s.EventRange(); last != 2 {
		t.Errorf("an event's number was burnt: %d", last)
	}
}

// GUARANTEES, G6: after a failed sync nothing is acknowledged, written or shown; what a restart reads counts.
func TestFailedSync(t *testing.T) {
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC, &fs.PathError{Op: "write", Err: syscall.EIO}} {
		t.Run(fmt.Sprint(cause), func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpen(t, testOptions(dir))
			putSeller(t, s, "a")
			submit(t, s, "a", "o1")
			failNext(s, cause)
			_, err := s.Submit(t.Context(), []order.Submission{{OrderID: "o2", SellerID: "a"}}, 0, testNow)
			if !errors.Is(err, order.ErrBroken) || !errors.Is(err, cause) {
				t.Fatal(err)
			}
			<-s.Failed()
			if !errors.Is(s.Err(), order.ErrBroken) {
				t.Error(s.Err())
			}
			if _, err := s.Submit(t.Context(), []order.Submission{{OrderID: "o3", SellerID: "a"}}, 0, testNow); !errors.Is(err, order.ErrBroken) {
				t.Error(err)
			}
			if _, err := s.Order(t.Context(), "o1"); !errors.Is(err, order.ErrBroken) {
				t.Error(err)
			}
			must(t, s.Close())
			s = openTest(t, dir)
			if n := s.Counts()[order.StateProcessing]; n != 1 {
				t.Errorf("%d orders", n)
			}
		})
	}
}

// The write of the meta page was refused, and nobody knows whether it counts.
func TestFailedMetaWrite(t *testing.T) {
	s := mustOpen(t, testOptions(t.TempDir()))
	s.commit = func(tx *bolt.Tx) error {
		must(t, tx.Commit())
		return &fs.PathError{Op: "write", Err: syscall.ENOSPC}
	}
	_, _, err := s.PutSeller(t.Context(), order.Seller{ID: "a"})
	if !errors.Is(err, order.ErrBroken) {
		t.Fatal(err)
	}
	must(t, s.Close())
}

// bbolt found its own pages wrong in the middle of a commit.
func TestPanicInCommit(t *testing.T) {
	s := mustOpen(t, testOptions(t.TempDir()))
	s.commit = func(tx *bolt.Tx) error { panic("page 7: multiple references") }
	_, _, err := s.PutSeller(t.Context(), order.Seller{ID: "a"})
	if !errors.Is(err, order.ErrBroken) {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, order.ErrBroken) {
		t.Fatal(err)
	}
}

// What is committed but not synced is not shown: a power cut could still take it back.
func TestNothingIsShownBeforeItsSync(t *testing.T) {
	s := openTest(t, t.TempDir())
	putSeller(t, s, "a")
	committed, goOn := make(chan struct{}), make(chan struct{})
	s.commit = func(tx *bolt.Tx) error {
		err := tx.Commit()
		close(committed)
		<-goOn
		return err
	}
	submitted, shown := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(submitted)
		submit(t, s, "a", "o1")
	}()
	<-committed
	go func() {
		_, err := s.Order(t.Context(), "o1")
		shown <- err
	}()
	select {
	case err := <-shown:
		t.Errorf("answered before the sync: %v", err)
	default:
	}
	if _, last := s.EventRange(); last != 0 {
		t.Error("an event counts before its sync")
	}
	close(goOn)
	<-submitted
	must(t, <-shown)
}

// A caller whose context ends before the writer took its request changed nothing; later, it is told the truth.
func TestContextEndsBeforeAndAfter(t *testing.T) {
	s := openTest(t, t.TempDir())
	putSeller(t, s, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Submit(ctx, []order.Submission{{OrderID: "o0", SellerID: "a"}}, 0, testNow); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	s.commit = func(tx *bolt.Tx) error {
		cancel() // in the middle of the commit
		return tx.Commit()
	}
	done, err := s.Submit(ctx, []order.Submission{{OrderID: "o1", SellerID: "a"}}, 0, testNow)
	if err != nil || !done[0].Created {
		t.Fatalf("%v, %+v", err, done)
	}
}

// One request that spoils the transaction does not take its neighbours with it.
func TestNeighboursOfAPanic(t *testing.T) {
	s := openTest(t, t.TempDir())
	putSeller(t, s, "a")
	list := submit(t, s, "a", "o1", "o2")
	blocked, goOn := make(chan struct{}), make(chan struct{})
	s.commit = func(tx *bolt.Tx) error {
		s.commit = (*bolt.Tx).Commit
		close(blocked)
		<-goOn
		return tx.Commit()
	}
	go func() { _, _, _ = s.PutSeller(context.Background(), order.Seller{ID: "b"}) }()
	<-blocked
	results := make(chan any, 3)
	call := func(fn func() error) {
		go func() {
			defer func() {
				if p := recover(); p != nil {
					results <- "panic"
				}
			}()
			results <- fn()
		}()
	}
	call(func() error {
		return s.Record(context.Background(), &order.Batch{Changes: []*order.Change{complete(list[0].Ref)}})
	})
	call(func() error {
		return s.Record(context.Background(), &order.Batch{Changes: []*order.Change{
			change(list[1].Ref, func(o *order.Order) { o.Polls = 7 }),
			change(list[1].Ref, func(*order.Order) { panic("bug") }),
		}})
	})
	call(func() error {
		_, err := s.Submit(context.Background(), []order.Submission{{OrderID: "o3", SellerID: "a"}}, 0, testNow)
		return err
	})
	for len(s.requests) < 3 {
		// They are all in the queue before the writer looks again.
		select {
		case r := <-results:
			t.Fatalf("early: %v", r)
		default:
		}
	}
	close(goOn)
	panics := 0
	for range 3 {
		switch r := <-results; r {
		case nil:
		case "panic":
			panics++
		default:
			t.Error(r)
		}
	}
	if panics != 1 {
		t.Errorf("%d panics", panics)
	}
	if o, err := s.Order(t.Context(), "o2"); err != nil || o.Polls != 0 {
		t.Errorf("%+v, %v", o, err)
	}
	if c := s.Counts(); c[order.StateCompleted] != 1 || c[order.StateProcessing] != 2 {
		t.Error(c)
	}
	if _, last := s.EventRange(); last != 4 {
		t.Errorf("%d events", last)
	}
}
