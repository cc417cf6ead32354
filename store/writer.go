package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"poller/order"
)

// Requests that wait while a commit is under way go into the next one
// together, up to these bounds.
const (
	maxGroup  = 1024   // requests
	maxWeight = 20_000 // orders in them
)

// request is one write that somebody waits for.
type request struct {
	weight int // about how many orders it writes
	// apply does the work inside the transaction. If it returns an error before it has put anything, only
	// this request is refused; after that the transaction is begun anew without it, so apply may run again.
	apply func(*txn) error
	state atomic.Int32
	done  chan error // nil: committed
}

// The states of a request: whoever moves it from waiting decides.
const (
	waiting int32 = iota
	taken         // by the writer
	gone          // its caller's context ended first
)

// panicked carries a panic of a caller's function back to its caller.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v\n\n%s", p.value, p.stack) }

// update has the writer run apply and returns when it is committed, or has failed.
func (s *Store) update(ctx context.Context, weight int, apply func(*txn) error) error {
	if err := errors.Join(ctx.Err(), s.Err()); err != nil {
		return err
	}
	r := &request{weight: weight, apply: apply, done: make(chan error, 1)}
	select {
	case s.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return order.ErrStopping
	}
	var err error
	select {
	case err = <-r.done:
	case <-ctx.Done():
		if r.state.CompareAndSwap(waiting, gone) {
			return ctx.Err()
		}
		err = <-r.done // too late to take it back
	case <-s.closing:
		if r.state.CompareAndSwap(waiting, gone) {
			return order.ErrStopping
		}
		err = <-r.done
	}
	if p := (*panicked)(nil); errors.As(err, &p) {
		panic(p) // the caller's own, with the stack where it happened
	}
	return err
}

// write is the writer: it groups, commits and answers until the store is closed.
func (s *Store) write() {
	again := time.NewTicker(reserveAgain)
	defer again.Stop()
	for {
		select {
		case <-s.closing:
			return
		case r := <-s.requests:
			s.writeGroup(s.gather(r))
		case <-again.C:
			s.reserve.renew(s.opts.Path)
		}
	}
}

// gather takes the requests that wait already, without waiting for more.
func (s *Store) gather(first *request) []*request {
	var group []*request
	weight := 0
	take := func(r *request) {
		if r.state.CompareAndSwap(waiting, taken) {
			group = append(group, r)
			weight += r.weight
		}
	}
	take(first)
	for len(group) < maxGroup && weight < maxWeight {
		select {
		case r := <-s.requests:
			take(r)
		default:
			return group
		}
	}
	return group
}

// writeGroup commits a group and answers each of its requests.
func (s *Store) writeGroup(group []*request) {
	for len(group) > 0 {
		if err := s.Err(); err != nil {
			answer(group, err)
			return
		}
		accepted, culprit, err := s.try(group)
		if culprit == nil && errors.Is(err, order.ErrNoSpace) && s.reserve.giveBack(err) {
			group = accepted // once more, in the room of the reserve
			continue
		}
		if culprit == nil {
			answer(accepted, err)
			return
		}
		// What it had put is rolled back; the others begin anew without it.
		culprit.done <- err
		rest := accepted[:0]
		for _, r := range accepted {
			if r != culprit {
				rest = append(rest, r)
			}
		}
		group = rest
	}
}

func answer(group []*request, err error) {
	for _, r := range group {
		r.done <- err
	}
}

// try runs the requests in one transaction and commits it. Requests refused
// without harm are left out of those it returns, and answered: after the commit, if there is anything in it that they may
// have been refused for. A culprit has spoiled the transaction: nothing was committed.
func (s *Store) try(group []*request) (accepted []*request, culprit *request, err error) {
	tx, err := s.db.Begin(true)
	if err != nil {
		return group, nil, s.broken(fmt.Errorf("begin: %w", err))
	}
	t := s.newTxn(tx)
	var refused []*request
	var reasons []error
	for i, r := range group {
		puts := t.puts
		switch err := run(r, t); {
		case err == nil:
			accepted = append(accepted, r)
		case t.puts == 0:
			r.done <- err
		case t.puts == puts:
			refused, reasons = append(refused, r), append(reasons, err)
		default:
			_ = tx.Rollback()
			again := append(append(accepted, refused...), r)
			return append(again, group[i+1:]...), r, err
		}
	}
	defer func() {
		for i, r := range refused {
			if err != nil {
				r.done <- err // nobody knows whether it would have been refused
			} else {
				r.done <- reasons[i]
			}
		}
	}()
	if t.unchanged() {
		_ = tx.Rollback()
		t.finish(s)
		return accepted, nil, nil
	}
	if err := t.close(); err != nil {
		_ = tx.Rollback()
		return accepted, nil, err
	}
	return accepted, nil, s.commitTxn(tx, t)
}

// run applies one request. A panic in it is given to its caller.
func run(r *request, t *txn) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicked{p, debug.Stack()}
			t.puts++ // who knows what it has put
		}
	}()
	if err = r.apply(t); err == nil {
		err = t.err
	}
	return err
}

// commitTxn commits and, if it is durable, brings memory up to date.
func (s *Store) commitTxn(tx *bolt.Tx, t *txn) (err error) {
	id := uint64(tx.ID())
	begin := time.Now()
	s.committing.Lock()
	defer s.committing.Unlock()
	func() {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("commit: %v", p)
				s.stuck.Store(true)
			}
		}()
		err = s.commit(tx)
	}()
	if s.opts.ObserveCommit != nil {
		s.opts.ObserveCommit(time.Since(begin))
	}
	if err != nil {
		if refusedForSpace(err) && s.rolledBack(id) {
			return fmt.Errorf("%w: %w", order.ErrNoSpace, err)
		}
		return s.broken(err)
	}
	s.durable.Store(id)
	s.size.Store(t.size)
	t.finish(s)
	for _, o := range t.ends {
		s.opts.ObserveEnd(o)
	}
	return nil
}

// refusedForSpace reports whether the system refused to write for want of
// space, which leaves nothing half known. How bbolt 1.5 tells: a failed write is
// an *fs.PathError, a failed growth of the file a text, a failed sync a bare errno,
// which stays unknown whatever its number (GUARANTEES, G6).
func refusedForSpace(err error) bool {
	var path *fs.PathError
	write := errors.As(err, &path)
	grow := strings.HasPrefix(err.Error(), "file resize error: ")
	for _, e := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EROFS} {
		if write && errors.Is(path.Err, e) || grow && strings.HasSuffix(err.Error(), e.Error()) {
			return true
		}
	}
	return false
}

// rolledBack reports whether what the next reader sees is the transaction before this one: the
// refused write might have been that of the meta page.
func (s *Store) rolledBack(id uint64) bool {
	tx, err := s.db.Begin(false)
	if err != nil {
		return false
	}
	defer func() { _ = tx.Rollback() }() // of a read: never fails
	return uint64(tx.ID()) < id
}

// broken stops all writing for good and tells the daemon.
func (s *Store) broken(cause error) error {
	err := fmt.Errorf("%w: %w", order.ErrBroken, cause)
	if s.failure.CompareAndSwap(nil, &err) {
		s.log.Error("a write failed, and what is on disk is not known; nothing more is written until a restart", zap.Error(cause))
		close(s.failed)
	}
	return s.Err()
}
