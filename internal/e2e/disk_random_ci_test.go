//go:build ci

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"poller/internal/fakeseller"
)

// Issue 6: a small disk fills up and is emptied again at random moments, to random degrees, while orders are submitted,
// polled, cancelled and erased, and poller is killed at times; what was acknowledged is there in the end, each order has
// one end, and the platform was told of it. GUARANTEES, G1 to G5 and G7. POLLER_TORTURE: so many times as many rounds.
func TestDiskFillsUpAtRandom(t *testing.T) {
	t.Parallel()
	random := seed(t)
	rounds := 5
	if n, err := strconv.Atoi(os.Getenv("POLLER_TORTURE")); err == nil {
		rounds *= n
	}
	s := newSite(t, 1)
	s.onTmpfs("size=32m")
	s.set("log.level", "info")
	platform := newReceiver(t)
	s.tells(platform)
	s.sellers.Handle("acme/*", fakeseller.Slow(20*time.Millisecond, fakeseller.FileBase64(fakeseller.File{Name: "f", Size: 20 << 10, Seed: 1})))
	s.sellers.Handle("steady/*", fakeseller.Processing())
	s.sellers.Handle("steady/afterwards", fakeseller.Quick("done"))
	d := s.start()
	d.register(0, "acme")
	d.register(0, "steady")
	var acknowledged, stays []string
	answers := make(map[int]int)
	for round := range rounds {
		ends, steady := d.writer("acme", fmt.Sprintf("end-%d", round)), d.writer("steady", fmt.Sprintf("stay-%d", round))
		stopSweeps := d.sweeps()
		for range 3 {
			empty := s.fillBut(random.Int64N(2 << 20))
			time.Sleep(time.Duration(random.IntN(500)) * time.Millisecond) // a random moment
			erases(d, random, acknowledged)
			empty()
			time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond) // a random moment
		}
		empty := s.fillBut(random.Int64N(1 << 20))
		time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond) // a random moment
		killed, emptied := random.IntN(2) == 0, random.IntN(2) == 0
		if killed {
			d.kill()
		}
		if emptied { // else it starts on a full disk
			empty()
		}
		stopSweeps()
		for _, w := range []*writer{ends, steady} {
			w.stop()
			for status, n := range w.statuses {
				answers[status] += n
			}
		}
		acknowledged = append(acknowledged, ends.acknowledged...)
		stays = append(stays, steady.acknowledged...)
		if killed {
			d = s.start()
		}
		if !emptied {
			empty()
		}
	}
	t.Logf("answers to submissions: %v", answers)
	for status := range answers {
		if !slices.Contains([]int{0, http.StatusCreated, http.StatusInsufficientStorage, http.StatusServiceUnavailable}, status) {
			t.Errorf("submissions were answered %d", status)
		}
	}
	d.resumes("steady")
	d.sweepNext()
	d.waitPending(0)
	d.checkEnds(acknowledged, platform)
	for _, id := range stays {
		if o := d.order(id); o.State != "processing" || o.Trouble != nil {
			t.Errorf("an order of a seller that is well: %+v", o)
		}
	}
	d.checkKept(stays...)
}

// sweeps starts one sweep after the other, until it is stopped or poller is gone.
func (d *daemon) sweeps() (stop func()) {
	var wg sync.WaitGroup
	end := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-end:
				return
			case <-d.exited:
				return
			case <-time.After(50 * time.Millisecond): // their pace
			}
			_, _ = d.do(http.MethodPost, "/v1/sweeps", nil) // whatever it says: the disk may be full
		}
	})
	return func() { close(end); wg.Wait() }
}

// checkEnds checks that these orders are there, or were erased, have completed, and that the platform took each end.
func (d *daemon) checkEnds(orders []string, platform *receiver) {
	d.t.Helper()
	erased, ends := 0, d.checkEvents()
	for _, id := range orders {
		status := statusOf(d, "/v1/orders/"+id)
		if status == http.StatusGone {
			erased++
		} else if status != http.StatusOK {
			d.t.Errorf("order %s, which was acknowledged: %d", id, status)
		}
		if ends[id] != "completed" {
			d.t.Errorf("order %s: %q", id, ends[id])
		}
		if platform.of(id).taken == 0 {
			d.t.Errorf("the platform was not told of the end of %s", id)
		}
	}
	d.t.Logf("%d orders have ended, %d of them were erased", len(orders), erased)
}

// fillBut is fill of data_dir but for some bytes.
func (s *site) fillBut(left int64) (empty func()) {
	s.t.Helper()
	empty = s.fill(s.data(""))
	info, err := os.Stat(s.data("ballast"))
	noError(s.t, err, "looking at the ballast")
	noError(s.t, os.Truncate(s.data("ballast"), max(0, info.Size()-left)), "leaving some room")
	return empty
}

// erases has some orders erased, which works however full the disk is, or says that it is.
func erases(d *daemon, random *rand.Rand, orders []string) {
	d.t.Helper()
	for range min(5, len(orders)) {
		id := orders[random.IntN(len(orders))]
		a, err := d.do(http.MethodDelete, "/v1/orders/"+id, nil)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		noError(d.t, err, "erasing")
		switch a.status {
		case http.StatusNoContent, http.StatusGone, http.StatusConflict, http.StatusInsufficientStorage: // erased, already, not ended yet, no
		default:
			d.t.Errorf("erasing on a full disk: %d: %s", a.status, a.body)
		}
	}
}
