package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	bolt "go.etcd.io/bbolt"

	"poller/order"
)

// GUARANTEES, G1, G2: who is refused because of what another is just writing
// (an end, a seller that goes) is told so once that is durable, not before: a crash
// could take it back. If it can't be written, nobody is refused for it.
func TestNobodyIsRefusedForWhatIsNotCommitted(t *testing.T) {
	for name, fails := range map[string]error{"committed": nil, "no space": &fs.PathError{Op: "write", Err: syscall.ENOSPC}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := mustOpen(t, testOptions(t.TempDir()))
				putSeller(t, s, "a")
				putSeller(t, s, "goes")
				submit(t, s, "a", "o1")
				gate := make(chan error)
				s.commit = func(tx *bolt.Tx) error {
					if err := <-gate; err != nil {
						_ = tx.Rollback()
						return err
					}
					return tx.Commit()
				}
				answers := map[string]error{}
				var mu sync.Mutex
				var all sync.WaitGroup
				ask := func(name string, f func(ctx context.Context) error) {
					all.Go(func() {
						err := f(t.Context())
						mu.Lock()
						defer mu.Unlock()
						answers[name] = err
					})
					synctest.Wait()
				}
				refused := errors.New("it has ended")
				cancel := func(ctx context.Context) error {
					_, err := s.UpdateOrder(ctx, "o1", func(o order.Order) (order.Decision, error) {
						if o.Ended() {
							return order.Decision{}, refused
						}
						return order.Cancel(o, testNow), nil
					})
					return err
				}
				ask("another", func(ctx context.Context) error { // the rest waits for it, and is committed together
					_, _, err := s.PutSeller(ctx, order.Seller{ID: "b"})
					return err
				})
				ask("cancel", cancel)
				ask("cancel again", cancel)
				ask("delete", func(ctx context.Context) error { return s.DeleteSeller(ctx, "goes") })
				ask("delete again", func(ctx context.Context) error { return s.DeleteSeller(ctx, "goes") })
				gate <- nil
				synctest.Wait()
				mu.Lock()
				if fmt.Sprint(answers) != "map[another:<nil>]" {
					t.Errorf("before the commit: %v", answers)
				}
				mu.Unlock()
				gate <- fails
				if fails != nil {
					gate <- fails // once more, in the room of the reserve
				}
				all.Wait()
				want := map[string]error{"cancel": nil, "cancel again": refused, "delete": nil, "delete again": order.ErrNotFound}
				for name, err := range want {
					if fails != nil {
						err = order.ErrNoSpace
					}
					if !errors.Is(answers[name], err) {
						t.Errorf("%s: %v, want %v", name, answers[name], err)
					}
				}
				s.commit = func(tx *bolt.Tx) error { return tx.Commit() }
				must(t, s.Close())
			})
		})
	}
}
