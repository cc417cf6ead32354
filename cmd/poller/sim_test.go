package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"poller/fetcher"
	"poller/order"
	"poller/scheduler"
)

// simCommit is how long after an answer its decision is surely recorded.
const simCommit = 3 * time.Second

// simSteps is how many things happen in a run.
const simSteps = 60

// sim is the whole daemon in a world of chance, beside a model of what it may do.
type sim struct {
	t    *testing.T
	rnd  *rand.Rand
	base string
	dirs int

	off       atomic.Int64 // nanoseconds that the wall clock is off the bubble's
	d         *simDaemon
	sellers   *simSellers
	platform  *simPlatform
	m         *simModel
	names     []string // of sellers
	paused    map[string]bool
	wellSince map[string]time.Time
	did       map[string]int // how often what was done
	trace     bool           // log what is done: POLLER_SEED is given
	stepped   bool           // the wall clock stepped since the last start
}

// TestSimulation lets months pass in which sellers, the platform, operators, clocks and crashes do what they like, and
// checks after each step that the daemon does only what SPEC and GUARANTEES allow (G2, G4, G5, G11, G12, G13).
// POLLER_SEED repeats a run, as far as the order of goroutines lets it; POLLER_TORTURE multiplies the number of runs.
func TestSimulation(t *testing.T) {
	runs, seed, trace := 3, rand.Uint64(), false
	if n, err := strconv.Atoi(os.Getenv("POLLER_TORTURE")); err == nil {
		runs *= n
	}
	if n, err := strconv.ParseUint(os.Getenv("POLLER_SEED"), 10, 64); err == nil {
		runs, seed, trace = 1, n, true
	}
	did := map[string]int{}
	for range runs {
		t.Run(fmt.Sprint("POLLER_SEED=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, seed)
				s.trace = trace
				s.run(simSteps)
				for what, n := range s.did {
					did[what] += n
				}
			})
		})
		seed++
	}
	for _, what := range slices.Sorted(maps.Keys(did)) {
		t.Logf("%6d × %s", did[what], what)
	}
}

func newSim(t *testing.T, seed uint64) *sim {
	t.Helper()
	s := &sim{
		t: t, rnd: rand.New(rand.NewPCG(seed, 6)), base: simDir(t), m: &simModel{orders: map[string]*simOrder{}},
		paused: map[string]bool{}, wellSince: map[string]time.Time{}, did: map[string]int{},
	}
	s.sellers = &simSellers{
		t: t, sim: s, rnd: rand.New(rand.NewPCG(seed, 7)), mode: map[string]string{}, ends: map[string][]said{},
		kinds: map[string]map[order.Outcome]int{}, polls: map[string]int{}, flying: map[string]int{},
	}
	s.platform = newSimPlatform(s)
	s.start(s.newDir())
	for i := range 10 {
		id := fmt.Sprint("s", i)
		s.names = append(s.names, id)
		s.must(http.MethodPut, "/v1/sellers/"+id, s.sellerBody(id), http.StatusCreated)
		s.behave(id)
	}
	return s
}

// simDir is a folder in memory if there is one: thousands of syncs are what a run takes its time for, and no crash here needs them.
func simDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "poller-sim-") //nolint:usetesting // t.TempDir is on a disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (s *sim) newDir() string {
	s.dirs++
	dir := filepath.Join(s.base, strconv.Itoa(s.dirs))
	if err := os.Mkdir(dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

func (s *sim) wall() time.Time { return time.Now().Add(time.Duration(s.off.Load())).Round(0) }

// start starts a daemon on what lies in dir.
func (s *sim) start(dir string) {
	// What it sends and gets belongs to this daemon, and ends with it.
	var d atomic.Pointer[simDaemon]
	s.d = openSim(s.t, dir, simConfig, outside{
		now: s.wall,
		sellers: func(files fetcher.Files) scheduler.Fetcher {
			return fetchFunc(func(ctx context.Context, a order.Ask) order.Observation {
				return s.sellers.asked(ctx, d.Load(), files, a)
			})
		},
		dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.platform.dial(ctx, d.Load()) },
	}, &d)
	newest, off, err := s.d.store.Clock(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	sure := s.m.started(s.wall(), newest, off)
	if s.trace {
		s.t.Logf("started at %s, the newest record is of %s, the clock was %s off", s.wall().Format(time.DateTime), newest.Format(time.DateTime), off)
	}
	s.d.begin()
	synctest.Wait()
	if !sure {
		s.m.doubted = s.d.scheduler.ClockDoubted()
	}
	s.stepped = false
}

type fetchFunc func(context.Context, order.Ask) order.Observation

func (f fetchFunc) Fetch(ctx context.Context, a order.Ask) order.Observation { return f(ctx, a) }

// run does so many steps, then lets all come to rest.
func (s *sim) run(steps int) {
	defer func() {
		_ = s.d.stop() // checked below, unless something failed before
		_ = s.platform.srv.Close()
		if s.t.Failed() {
			s.t.Logf("log:\n%s", s.d.log.b)
		}
	}()
	for range steps {
		s.act()
		s.settle()
		if s.t.Failed() {
			return
		}
	}
	s.rest()
}

// settle lets what was begun be recorded, and compares.
func (s *sim) settle() {
	time.Sleep(simCommit + time.Second)
	synctest.Wait()
	if c := s.crashSet(); c != nil && c.copied {
		s.d.cut.Store(true) // no second commit came
	}
	if s.d.cut.Load() {
		s.crashed()
	}
	s.check()
}

func (s *sim) crashSet() *crashPoint {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	return s.d.crash
}

// crashed starts anew from what was on disk at the crash.
func (s *sim) crashed() {
	dir := s.crashSet().dir
	old := s.d
	if err := old.stop(); err != nil {
		s.t.Errorf("run: %v", err)
	}
	if err := os.RemoveAll(old.dir); err != nil {
		s.t.Error(err)
	}
	s.did["crash at a commit"]++
	s.start(dir)
}

// rest: sellers as they are, a platform that is well and a clock that is right. Then nothing is left to tell.
func (s *sim) rest() {
	s.setPlatform("up")
	s.must(http.MethodPost, "/v1/clock/confirm", map[string]any{}, http.StatusOK)
	s.m.confirmed()
	for range 6 {
		s.pass(5 * time.Hour)
	}
	var status struct {
		Webhook struct{ Pending, Dead int }
	}
	if s.get("/v1/status", &status); status.Webhook.Pending > 0 || status.Webhook.Dead > 0 {
		s.t.Errorf("a day after the platform came back webhooks wait: %+v", status.Webhook)
	}
	for id, o := range s.m.orders {
		if o.endEvents > 0 && !o.gone && s.platform.told(o.endNumber) == 0 {
			s.t.Errorf("%s: nobody was told of its end, event %d", id, o.endNumber)
		}
	}
}

// act does one thing at random.
func (s *sim) act() {
	acts := []struct {
		weight int
		what   string
		do     func()
	}{
		{10, "orders submitted", s.submit}, {6, "time passed", s.passSome}, {4, "seller behaves otherwise", func() { s.behave(s.pick(s.names)) }},
		{3, "cancel", s.cancel}, {2, "poll by hand", s.pollNow}, {2, "sweep by hand", s.sweep}, {2, "pause or resume", s.pause},
		{2, "erase", s.erase}, {1, "seller registered again", s.putSeller}, {1, "deadline moved", s.redeadline}, {1, "replay", s.replay},
		{3, "platform", func() { s.setPlatform(s.pick([]string{"up", "up", "refuses", "hangs", "fails"})) }},
		{4, "clock", s.stepClock}, {2, "restart", s.restart}, {3, "crash set", s.setCrash}, {1, "crash", s.crashNow},
	}
	total := 0
	for _, a := range acts {
		total += a.weight
	}
	n := s.rnd.IntN(total)
	for _, a := range acts {
		if n -= a.weight; n < 0 {
			s.did[a.what]++
			if s.trace {
				s.t.Logf("%s  wall %s  %s", time.Now().Format("01-02 15:04:05"), s.wall().Format(time.DateTime), a.what)
			}
			a.do()
			return
		}
	}
}

func (s *sim) pick(list []string) string { return list[s.rnd.IntN(len(list))] }

// get asks the API; false: there was no answer.
func (s *sim) get(path string, v any) bool {
	s.t.Helper()
	code, body, ok := s.d.call(http.MethodGet, path, nil)
	if !ok {
		return false
	}
	if code != http.StatusOK {
		s.t.Errorf("GET %s: HTTP %d %s", path, code, body)
		return false
	}
	if err := json.Unmarshal(body, v); err != nil {
		s.t.Errorf("GET %s: %v", path, err)
	}
	return true
}

// must calls the API, and fails the test on an answer with another status.
func (s *sim) must(method, path string, body any, want ...int) (status int, ok bool) {
	s.t.Helper()
	status, answer, ok := s.d.call(method, path, body)
	if ok && !slices.Contains(want, status) {
		s.t.Errorf("%s %s: HTTP %d, want one of %d: %s", method, path, status, want, answer)
	}
	return status, ok
}

// well reports whether a seller gives quick, valid answers and is asked.
func (s *sim) well(seller string) bool {
	s.sellers.mu.Lock()
	defer s.sellers.mu.Unlock()
	return s.sellers.mode[seller] == "well" && !s.paused[seller]
}
