// Package scheduler is poller's heart: it wakes on the schedule, takes due
// orders in fair turns, fans out polls within bounds, and turns each into one
// recorded decision (SPEC §4 and §5). poll.go is the way of one order.
package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
	"go.uber.org/zap"

	"poller/metrics"
	"poller/order"
)

// Store is what the scheduler needs of the store. Every method may answer
// order.ErrBroken, after which nothing more is written.
type Store interface {
	// SellerByNumber returns a seller; order.ErrNotFound if it is deleted.
	SellerByNumber(ctx context.Context, number uint32) (order.Seller, error)
	// Healths returns what is known of how sellers answer, by number.
	Healths(ctx context.Context) (map[uint32]order.Health, error)
	// SellerUsage returns a seller's orders in processing and the bytes kept for it.
	SellerUsage(number uint32) (activeOrders, resultBytes int64)
	// DuePage returns due orders in key order, at most limit of them, from after on.
	DuePage(ctx context.Context, tick uint64, at time.Time, byHand bool, after order.Ref, limit int) (order.DuePage, error)
	// Targets returns those of the orders that the sweep takes, in the order asked for.
	Targets(ctx context.Context, tick uint64, at time.Time, byHand bool, refs []order.Ref) ([]order.Target, error)
	// Load returns those of the orders that are still in processing.
	Load(ctx context.Context, refs []order.Ref) ([]order.Order, error)
	// Order returns one order by its id; order.ErrNotFound, order.ErrErased.
	Order(ctx context.Context, id string) (order.Order, error)
	// BeginSweep makes a sweep durable and gives it an id, and the next tick number if it has none.
	BeginSweep(ctx context.Context, s order.Sweep) (order.Sweep, error)
	// SaveSweep writes a sweep's books.
	SaveSweep(ctx context.Context, s order.Sweep) error
	// Sweeps returns the latest sweeps, newest first.
	Sweeps(ctx context.Context, after string, limit int) ([]order.Sweep, string, error)
	// LastTick returns the newest tick number and the time of the newest cron or catch-up tick.
	LastTick(ctx context.Context) (tick uint64, cronAt time.Time, err error)
	// Clock returns what time it was at the newest tick or event, and how far off the wall clock was when it was last
	// doubted; 0: it was not, or was right again. SetClock makes that durable.
	Clock(ctx context.Context) (newest time.Time, off time.Duration, err error)
	SetClock(ctx context.Context, at time.Time, off time.Duration) error
	// Counts returns how many orders are kept, by state, and Damaged how many records were found damaged.
	Counts() map[order.State]int64
	Damaged() int64
	// Record commits all of the batch or nothing. order.ErrNoSpace: refused, nothing changed.
	Record(ctx context.Context, b *order.Batch) error
}

// Fetcher makes one poll. It returns within the limits of SPEC §2 whatever the
// seller does, and soon after ctx ends.
type Fetcher interface {
	Fetch(ctx context.Context, a order.Ask) order.Observation
}

// Files removes result files that no order came to own.
type Files interface {
	Remove(ctx context.Context, keys ...string) error
}

// Config is what may change while the scheduler runs (SPEC §3: schedule, fetch, orders).
type Config struct {
	Cron, Timezone string
	Spread         time.Duration
	CatchUp        bool

	Workers         int
	PerHost         int
	Hosts           map[string]int // caps of certain hosts, by "name:port"
	PerSeller       int
	BreakerFailures int
	BreakerProbes   []time.Duration

	Policy          order.Policy // Interval is filled in from Cron
	FuseShare       float64      // orders.give_up_fuse, 0…1
	MaxPerSeller    int64        // bytes kept for one seller; 0: no limit
	ShutdownTimeout time.Duration
}

// Options are a scheduler's parts.
type Options struct {
	Store   Store
	Fetcher Fetcher
	Files   Files
	Metrics *metrics.Metrics
	Log     *zap.Logger
	Config  Config
	// Wall is the wall clock; nil: time.Now. Turns, rests and limits go by the monotonic clock, which is always time.Now.
	Wall func() time.Time
	// Enough reports whether there is min_free disk space; nil: always.
	Enough func() bool
}

// Scheduler runs sweeps. Make one with New and run it with Run; its other
// methods may be called at any time from any goroutine.
type Scheduler struct {
	store   Store
	fetcher Fetcher
	files   Files
	metrics *metrics.Metrics
	log     *zap.Logger
	wallNow func() time.Time
	enough  func() bool

	commands chan func(context.Context) // run by the loop, between its own steps
	nudge    chan struct{}              // the loop should look again
	kick     chan struct{}              // the recorder should look again
	looked   chan struct{}              // closed when Run has compared the wall clock with the store
	stopped  chan struct{}              // closed when Run has returned

	workers sync.WaitGroup  // polls, scans and other goroutines of Run
	work    context.Context // ends when polls in flight are cut off

	mu         sync.Mutex
	cfg        Config
	schedule   cron.Schedule
	line       *timeline
	cronAt     time.Time // wall clock, of the newest cron or catch-up tick; zero: none
	clock      *wallClock
	lanes      map[uint32]*lane
	hosts      map[string]*host
	hostsReady ranks[*host]
	wakes      wakeHeap
	evidence   *evidence
	healths    map[uint32]order.Health // of sellers that have no lane yet
	run        *run                    // the running sweep; nil: none
	queued     int64                   // orders that wait in lanes
	flying     int64                   // orders being polled that are due in the running sweep
	asks       []*ask                  // polls by hand that wait for a turn
	unsaved    *order.Sweep            // a sweep that ended when the disk was full
	inFlight   int
	pending    []*flight // ended polls that wait for their commit
	recording  int       // ... and those being committed
	landed     *flight   // the one that landed last
	urgent     bool      // somebody waits for the commit
	fault      bool      // a local_fault, and nothing answered since: one poll every faultPause
	faultNext  time.Time
	started    time.Time // when the last poll began
	starved    bool      // below min_free when last asked
	distrust   bool      // too many records are damaged: no poll starts until a restart
	tickMissed bool      // a tick passed, or lost its sweep, for want of space
	stopping   bool
	fatal      error
	ticks      map[uint64]time.Time // when recent ticks were, for poller_oldest_overdue_seconds
}

// faultPause: after a local_fault only one poll starts in this time, until one is answered (SPEC §4).
const faultPause = 5 * time.Second

// New builds a scheduler. It fails if the schedule does not parse.
func New(o Options) (*Scheduler, error) {
	s := &Scheduler{
		store: o.Store, fetcher: o.Fetcher, files: o.Files, metrics: o.Metrics, log: o.Log,
		wallNow: o.Wall, enough: o.Enough,
		commands: make(chan func(context.Context)), nudge: make(chan struct{}, 1), kick: make(chan struct{}, 1),
		looked: make(chan struct{}), stopped: make(chan struct{}),
		lanes: make(map[uint32]*lane), hosts: make(map[string]*host), evidence: newEvidence(),
		ticks: make(map[uint64]time.Time),
	}
	if s.wallNow == nil {
		s.wallNow = time.Now
	}
	if s.enough == nil {
		s.enough = func() bool { return true }
	}
	cfg, schedule, err := prepare(o.Config)
	if err != nil {
		return nil, err
	}
	s.cfg, s.schedule = cfg, schedule
	s.metrics.Workers.Set(float64(cfg.Workers))
	return s, nil
}

func prepare(c Config) (Config, cron.Schedule, error) {
	schedule, err := ParseSchedule(c.Cron, c.Timezone)
	if err != nil {
		return c, nil, fmt.Errorf("schedule: %w", err)
	}
	c.Policy.Interval = ShortestGap(schedule)
	return c, schedule, nil
}

// Reload takes a new configuration while running. On an error nothing changes.
func (s *Scheduler) Reload(c Config) error {
	cfg, schedule, err := prepare(c)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.line != nil && (cfg.Cron != s.cfg.Cron || cfg.Timezone != s.cfg.Timezone) {
		last := s.line.last
		s.line = newTimeline(schedule, s.cronAt, s.wall(), now)
		s.line.last = last
	}
	s.cfg, s.schedule = cfg, schedule
	s.metrics.Workers.Set(float64(cfg.Workers))
	for _, l := range s.lanes {
		if l.brk.tighten(cfg.BreakerFailures) {
			s.metrics.BreakersOpen.WithLabelValues("seller").Inc()
		}
	}
	for _, h := range s.hosts {
		h.brk.failures = len(h.silent)
		if h.brk.tighten(max(hostWitnesses, cfg.BreakerFailures)) {
			s.metrics.BreakersOpen.WithLabelValues("host").Inc()
		}
	}
	s.refreshAll(now)
	s.pump(now)
	s.poke()
	return nil
}

// wall is the wall clock as it is recorded: milliseconds, no monotonic part.
func (s *Scheduler) wall() time.Time { return s.wallNow().Round(0).Truncate(time.Millisecond) }

// poke makes the loop look again soon.
func (s *Scheduler) poke() {
	select {
	case s.nudge <- struct{}{}:
	default:
	}
}

// Run works until ctx ends, and then stops: no new polls; those in flight
// finish within ShutdownTimeout or are cut off and count for nothing; what they
// brought is committed. It returns an error only if the store broke.
func (s *Scheduler) Run(ctx context.Context) error {
	defer close(s.stopped)
	work, cutOff := context.WithCancel(context.WithoutCancel(ctx))
	defer cutOff()
	s.mu.Lock()
	s.work = work
	s.mu.Unlock()

	recorded := make(chan struct{})
	go func() {
		defer close(recorded)
		s.record(work)
	}()
	err := s.start(work)
	if err == nil {
		s.loop(ctx)
		s.ClockDoubted() // a step since the last look must not be forgotten
		_ = s.rememberClock(ctx)
	}

	s.mu.Lock()
	s.stopping = true
	s.dismissAsks()
	grace := s.cfg.ShutdownTimeout
	s.mu.Unlock()
	timer := time.AfterFunc(grace, cutOff)
	s.workers.Wait()
	timer.Stop()
	s.wakeRecorder()
	<-recorded
	s.mu.Lock()
	r := s.run
	if r != nil {
		r.rec.Due = s.due()
	}
	s.mu.Unlock()
	if r != nil && !errors.Is(s.failure(), order.ErrBroken) {
		// It stays running in the books: the next start goes on with it.
		if e := s.store.SaveSweep(context.WithoutCancel(ctx), r.books()); e != nil {
			s.log.Warn("sweep not saved", zap.Error(e))
		}
	}
	return errors.Join(err, s.failure())
}

func (s *Scheduler) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fatal
}

// fail stops the scheduler: the store can't be trusted any more.
func (s *Scheduler) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLocked(err)
}

func (s *Scheduler) failLocked(err error) {
	if s.fatal == nil {
		s.fatal = err
	}
	s.stopping = true
	s.dismissAsks()
	s.poke()
}

// longestSleep bounds how long the loop sleeps, so that a step of the wall clock is noticed soon.
const longestSleep = 15 * time.Second

// loop is the one goroutine that begins and closes sweeps.
func (s *Scheduler) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-s.commands:
			f(ctx)
		case <-s.nudge:
		case <-timer.C:
		}
		s.step(ctx)
		s.mu.Lock()
		if s.fatal != nil {
			s.mu.Unlock()
			return
		}
		timer.Reset(s.sleep(time.Now()))
		s.mu.Unlock()
	}
}

// step does what time or events made due.
func (s *Scheduler) step(ctx context.Context) {
	now, wall := time.Now(), s.wall()
	s.mu.Lock()
	s.lookAtClock(wall, now)
	s.mu.Unlock()
	_ = s.rememberClock(ctx) // it was logged, or s.fatal is set
	s.mu.Lock()
	due := s.line.look(wall, now)
	if due {
		s.line.fired(wall, now)
	}
	if !s.distrust && tooManyDamaged(s.store) {
		s.distrust = true
		s.log.Error("more than one record in a thousand is damaged: sweeps stop", zap.Int64("damaged", s.store.Damaged()),
			zap.String("do", "stop the daemon, keep a copy of the database, and put a backup in its place"))
	}
	hadSpace := !s.starved
	s.starved = !s.enough()
	if s.starved && hadSpace {
		s.log.Error("disk space below min_free: no poll starts", zap.String("do", "free space on the disk of data_dir; work resumes by itself"))
	} else if !s.starved && !hadSpace {
		s.log.Info("disk space is back: polls go on")
	}
	trigger := order.Trigger("")
	switch {
	case s.distrust:
	case due && s.starved:
		s.tickMissed = true
	case due:
		trigger = order.TriggerCron
	case s.tickMissed && !s.starved:
		trigger = order.TriggerCatchUp
	}
	s.wakeUp(now)
	if trigger == "" {
		s.pump(now)
	}
	finished := trigger == "" && s.finished()
	s.mu.Unlock()

	switch {
	case trigger != "":
		if _, err := s.begin(ctx, trigger, false); err != nil {
			s.log.Error("sweep not begun", zap.String("trigger", string(trigger)), zap.Error(err))
		}
	case finished:
		s.closeRun(ctx, "")
	}
}

// tooManyDamaged reports whether more than one record in a thousand is wrong,
// and more than a single one: then it is not single orders that are in trouble (GUARANTEES, G9).
func tooManyDamaged(st Store) bool {
	damaged := st.Damaged()
	if damaged < 2 {
		return false
	}
	kept := int64(0)
	for _, n := range st.Counts() {
		kept += n
	}
	return damaged*1000 > kept
}

// sleep is how long the loop may sleep. The lock is held.
func (s *Scheduler) sleep(now time.Time) time.Duration {
	d := min(longestSleep, s.line.due.Sub(now))
	if len(s.wakes) > 0 {
		d = min(d, s.wakes[0].at.Sub(now))
	}
	if s.starved || s.tickMissed {
		d = min(d, time.Second)
	}
	if s.fault && len(s.hostsReady) > 0 {
		d = min(d, s.faultNext.Sub(now))
	}
	return max(d, time.Millisecond)
}
