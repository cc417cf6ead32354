package fetcher

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"poller/order"
)

// SPEC §1: a poll is one GET. A seller that hangs up on every request is asked
// again on one new connection, not on every kept one that its host has.
func TestASellerThatHangsUpIsNotAskedOnEveryKeptConnection(t *testing.T) {
	const kept = 8
	var hangUp atomic.Bool
	var requests atomic.Int64
	var together sync.WaitGroup
	together.Add(kept)
	s := newSeller(t, func(w http.ResponseWriter, r *http.Request) {
		if !hangUp.Load() {
			together.Done()
			together.Wait() // so that each has a connection of its own
			says(`{"status":"processing"}`)(w, r)
			return
		}
		requests.Add(1)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	})
	ask := s.ask()
	var polls sync.WaitGroup
	for range kept {
		polls.Go(func() {
			if obs := s.c.Fetch(t.Context(), ask); obs.Outcome != order.Processing {
				t.Errorf("%s: %s", obs.Outcome, obs.Detail)
			}
		})
	}
	polls.Wait()
	hangUp.Store(true)
	obs := s.c.Fetch(t.Context(), ask)
	if obs.Outcome != order.Unreachable || obs.Detail != "connection closed before an answer" || obs.NoConnection {
		t.Errorf("%s: %s, no connection %v", obs.Outcome, obs.Detail, obs.NoConnection)
	}
	if n := requests.Load(); n < 1 || n > 2 {
		t.Errorf("one poll made %d requests, want at most 2", n)
	}
}
