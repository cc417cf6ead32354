package e2e

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"poller/internal/fakeseller"
	"poller/order"
	"poller/store"
)

// seed makes a run's random moments repeatable: POLLER_SEED=… go test.
func seed(t *testing.T) *rand.Rand {
	n := rand.Uint64()
	if s := os.Getenv("POLLER_SEED"); s != "" {
		var err error
		n, err = strconv.ParseUint(s, 10, 64)
		noError(t, err, "POLLER_SEED")
	}
	t.Logf("POLLER_SEED=%d", n)
	return rand.New(rand.NewPCG(n, n))
}

// pollCounter counts the polls of many scripts together.
type pollCounter struct {
	mu   sync.Mutex
	n    int
	wait map[int]chan struct{}
}

// gate lets the polls of a script be counted.
func (c *pollCounter) gate(script fakeseller.Script) fakeseller.Script {
	out := slices.Clone(script)
	for i := range out {
		out[i].Gate = func(fakeseller.Poll) *fakeseller.Step {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.n++
			if done := c.wait[c.n]; done != nil {
				close(done)
			}
			return nil
		}
	}
	return out
}

// at is closed at the poll so many after now.
func (c *pollCounter) at(n int) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wait == nil {
		c.wait = make(map[int]chan struct{})
	}
	done := make(chan struct{})
	c.wait[c.n+n] = done
	return done
}

// Issue 3, "Shown by" 3: kill -9 in the middle of a sweep of 1,000 orders,
// restart: nothing acknowledged is missing, no order ended twice, only the rest
// is polled. GUARANTEES, G1, G2, G3 and G5.
func TestKillInTheMiddleOfASweep(t *testing.T) {
	t.Parallel()
	random := seed(t)
	const sellers, perSeller = 10, 100
	// How many polls, from then on, come before the first kill and before the one after the restart.
	for round, kills := range [][]int{
		{1 + random.IntN(100)},
		{100 + random.IntN(800)},
		{300 + random.IntN(300), 1 + random.IntN(300)},
	} {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			s := newSite(t, 4)
			s.set("fetch.per_seller", "2", "log.level", "info")
			counter := &pollCounter{}
			slow := func(script fakeseller.Script) fakeseller.Script {
				return counter.gate(fakeseller.Slow(40*time.Millisecond, script))
			}
			d := s.start()
			var ids []string
			wantEnd := map[string]string{}
			for n := range sellers {
				seller := fmt.Sprintf("seller-%d", n)
				d.register(n%4, seller)
				s.sellers.Handle(seller+"/*", slow(fakeseller.Processing()))
				mine := names(seller+".order", perSeller)
				for i, id := range mine {
					switch i % 10 {
					case 0:
						s.sellers.Handle(seller+"/"+id, slow(fakeseller.FileBase64(fakeseller.File{Name: "f", Size: 1000, Seed: uint64(i)})))
						wantEnd[id] = "completed"
					case 1:
						s.sellers.Handle(seller+"/"+id, slow(fakeseller.Failed("out of luck")))
						wantEnd[id] = "failed"
					}
				}
				d.submitMany(seller, mine...)
				ids = append(ids, mine...)
			}
			var sweep sweepView
			late := startSubmitting(d, "seller-0")
			moment := counter.at(kills[0])
			d.call(http.MethodPost, "/v1/sweeps", nil, http.StatusAccepted, &sweep)
			var recorded map[string]order.Order // polls that were committed when it was killed last
			for i := range kills {
				if i > 0 {
					moment = counter.at(kills[i])
					d = s.start()
				}
				select {
				case <-moment:
				case <-within(t).Done():
					t.Fatal("the sweep does not get that far")
				}
				d.kill()
				recorded = readCopy(t, s, ids)
			}
			acknowledged := late()
			before := pollsOf(s, ids)
			d = s.start()
			goesOn := d.waitLog("sweep goes on", nil)
			equal(t, "the sweep that goes on", goesOn.number("sweep"), sweep.ID)
			rec := d.swept(sweep.ID)
			equal(t, "sweep", [2]any{rec.State, rec.Remaining + rec.Skipped + rec.LeftToSeller}, [2]any{"done", 0})
			if rec.Polled < len(ids) || rec.Polled != rec.Due {
				t.Errorf("the sweep's books: %+v", rec)
			}

			all := d.orders()
			for _, id := range slices.Concat(ids, acknowledged) {
				if _, there := all[id]; !there {
					t.Errorf("order %s was acknowledged and is missing", id)
				}
			}
			after := pollsOf(s, ids)
			again := 0
			for _, id := range ids {
				done, was := recorded[id].Polls > 0, after[id]-before[id]
				if done && was != 0 || !done && was != 1 {
					t.Errorf("order %s: recorded before the kill: %v, polled after it: %d times", id, done, was)
				}
				if after[id] > 1 {
					again++
				}
				if all[id].Polls != 1 {
					t.Errorf("order %s: %d polls are recorded", id, all[id].Polls)
				}
			}
			ends := d.checkEvents()
			if !maps.Equal(ends, wantEnd) {
				t.Errorf("%d orders ended, want %d", len(ends), len(wantEnd))
			}
			for id, end := range wantEnd {
				if all[id].State != end {
					t.Errorf("order %s is %s, want %s", id, all[id].State, end)
				}
				if end == "completed" {
					if got, want := digest(d.file(id, 0).body), all[id].Result.Files[0].SHA256; got != want {
						t.Errorf("order %s: its file has the digest %s, want %s", id, got, want)
					}
				}
			}
			d.stop()
			checkDatabase(t, s.data("poller.db"))
			t.Logf("killed after %v polls: %d of %d were recorded, %d had to be repeated; %d orders were acknowledged meanwhile",
				kills, len(recorded), len(ids), again, len(acknowledged))
		})
	}
}

// startSubmitting submits orders one by one until poller is gone. The function
// it returns waits for that, and returns those that were acknowledged.
func startSubmitting(d *daemon, seller string) func() []string {
	var acknowledged []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			id := fmt.Sprintf("late-%d", n)
			a, err := d.do(http.MethodPost, "/v1/orders", object{"order_id": id, "seller_id": seller})
			if a.status == http.StatusCreated { // the head was there, whatever came of the rest
				acknowledged = append(acknowledged, id)
			}
			if err != nil {
				return
			}
		}
	}()
	return func() []string { <-done; return acknowledged }
}

// pollsOf returns how often the sellers saw each order, whose id begins with its seller's.
func pollsOf(s *site, ids []string) map[string]int {
	polls := make(map[string]int, len(ids))
	for _, id := range ids {
		seller, _, _ := strings.Cut(id, ".")
		polls[id] = s.sellers.Stats(seller + "/" + id).Polls
	}
	return polls
}

// readCopy looks into a copy of what a killed poller left: bbolt finds nothing
// wrong with it, and of these orders it returns those whose poll was recorded.
func readCopy(t *testing.T, s *site, ids []string) map[string]order.Order {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"poller.db", "secrets.key"} {
		copyFile(t, s.data(name), filepath.Join(dir, name))
	}
	checkDatabase(t, filepath.Join(dir, "poller.db"))
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "poller.db"), KeyFile: filepath.Join(dir, "secrets.key")})
	noError(t, err, "opening a copy of the database")
	defer db.Close()
	recorded := make(map[string]order.Order)
	for _, id := range ids {
		o, err := db.Order(t.Context(), id)
		noError(t, err, "order "+id+" in a copy of the database")
		if o.Polls == 0 {
			continue
		}
		recorded[id] = o
		if o.Result == nil {
			continue
		}
		for _, f := range o.Result.Files {
			content, err := os.ReadFile(filepath.Join(s.data("results"), f.ObjectKey))
			noError(t, err, "a file of the completed order "+id)
			if digest(content) != f.SHA256 {
				t.Errorf("a file of the completed order %s has another digest", id)
			}
		}
	}
	return recorded
}

// checkDatabase has bbolt look at its own pages.
func checkDatabase(t *testing.T, path string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	noError(t, err, "opening the database")
	defer db.Close()
	noError(t, db.View(func(tx *bolt.Tx) error {
		var all []error
		for err := range tx.Check() {
			all = append(all, err)
		}
		return errors.Join(all...)
	}), "checking the database")
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	noError(t, err, "copying")
	defer in.Close()
	out, err := os.Create(to)
	noError(t, err, "copying")
	_, err = io.Copy(out, in)
	noError(t, errors.Join(err, out.Close()), "copying")
}
