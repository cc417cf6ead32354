package outbox

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"poller/order"
)

const (
	testSecret  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	otherSecret = "whsec_c2l4dHlmb3VyLWJ5dGVzLW9mLXNlY3JldC1hcmUtbG9uZy1lbm91Z2gtZm9yLWFueQ=="
)

// fakeStore keeps deliveries in memory, in order of when they are due.
type fakeStore struct {
	mu       sync.Mutex
	pending  []*order.Delivery // of the event number and erased
	dead     []*order.Delivery
	changed  chan struct{}
	wakeup   chan struct{} // closed when attempts are recorded
	reads    int
	limit    int             // the largest asked for
	recorded []order.Attempt // all that were
	refuse   error           // for Delivered
	unread   error           // for Deliveries
	hold     func()          // runs in Deliveries after reading; nil: nothing
	more     bool            // Deliveries says that more is due than it hands out
}

func newStore() *fakeStore {
	return &fakeStore{changed: make(chan struct{}), wakeup: make(chan struct{})}
}

func byDue(a, b *order.Delivery) int {
	return cmp.Or(a.DueAt.Compare(b.DueAt), cmp.Compare(a.Event.Number, b.Event.Number))
}

func (s *fakeStore) put(d *order.Delivery) {
	at, _ := slices.BinarySearchFunc(s.pending, d, byDue)
	s.pending = slices.Insert(s.pending, at, d)
}

// queue puts the ends of orders into the outbox, due now.
func (s *fakeStore) queue(numbers ...uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, n := range numbers {
		s.put(&order.Delivery{Event: order.Event{Number: n}, QueuedAt: now, DueAt: now})
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *fakeStore) Deliveries(_ context.Context, now time.Time, limit int) (due []order.Delivery, next time.Time, err error) {
	s.mu.Lock()
	s.reads++
	s.limit = max(s.limit, limit)
	err = s.unread
	for i := range s.pending {
		if len(due) == limit || s.pending[i].DueAt.After(now) {
			next = s.pending[i].DueAt
			break
		}
		d := *s.pending[i]
		erased := d.Event.Erased
		if d.Event = ended(d.Event.Number); erased {
			d.Event.Order, d.Event.Erased = nil, true
		}
		due = append(due, d)
	}
	hold := s.hold
	if s.more {
		due, next = nil, now
	}
	s.mu.Unlock()
	if err != nil {
		return nil, time.Time{}, err
	}
	if hold != nil {
		hold()
	}
	return due, next, nil
}

func (s *fakeStore) Delivered(ctx context.Context, attempts []order.Attempt) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(ctx.Err(), s.refuse); err != nil {
		return err
	}
	for _, a := range attempts {
		i := slices.IndexFunc(s.pending, func(d *order.Delivery) bool { return d.Event.Number == a.Number })
		if i < 0 {
			continue
		}
		d := s.pending[i]
		if i == 0 {
			s.pending = s.pending[1:] // there may be many
		} else {
			s.pending = slices.Delete(s.pending, i, i+1)
		}
		d.Attempts, d.DueAt = a.Attempts, a.DueAt
		switch {
		case a.Dead:
			s.dead = append(s.dead, d)
		case !a.Taken:
			s.put(d)
		}
	}
	s.recorded = append(s.recorded, attempts...)
	close(s.wakeup)
	s.wakeup = make(chan struct{})
	return nil
}

func (s *fakeStore) OutboxChanged() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// with runs f while nobody else has the store.
func (s *fakeStore) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// ended is the event with which order o-<n> was completed.
func ended(n uint64) order.Event {
	at := time.Date(2026, 3, 1, 12, 0, int(n%60), 250e6, time.FixedZone("CET", 3600))
	text := "42 <b>"
	id := "o-" + strconv.FormatUint(n, 10)
	return order.Event{
		Number: n, Type: order.EventCompleted, OrderID: id, SellerID: "acme", At: at,
		Order: &order.Order{
			ID: id, RemoteID: id, SellerID: "acme", State: order.StateCompleted, SubmittedAt: at.Add(-time.Hour), Deadline: at.Add(time.Hour), EndedAt: at,
			Result:   &order.Result{OutputType: order.OutputText, Text: &text},
			Metadata: map[string]string{"b": "2", "a": "1", "c": "3"},
		},
	}
}

// attempt is a webhook as the platform saw it.
type attempt struct {
	number uint64
	at     time.Time
	id     string
	body   string
	header http.Header
}

// platform answers webhooks; it may be asked from many goroutines.
type platform struct {
	mu     sync.Mutex
	answer func(a attempt, n int) (status int, after time.Duration) // n: attempts at this event before. status 0: never
	seen   []attempt
	counts map[uint64]int
	now    int // requests at this moment
	most   int
}

func newPlatform(answer func(a attempt, n int) (int, time.Duration)) *platform {
	return &platform{answer: answer, counts: make(map[uint64]int)}
}

func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	var m struct{ Number uint64 }
	_ = json.Unmarshal(b, &m)
	p.mu.Lock()
	a := attempt{number: m.Number, at: time.Now(), id: r.Header.Get("webhook-id"), body: string(b), header: r.Header.Clone()}
	n := p.counts[m.Number]
	p.counts[m.Number]++
	p.seen = append(p.seen, a)
	p.now++
	p.most = max(p.most, p.now)
	status, after := p.answer(a, n)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.now--
		p.mu.Unlock()
	}()
	if status == 0 {
		<-r.Context().Done()
		return
	}
	if after > 0 {
		select {
		case <-time.After(after):
		case <-r.Context().Done():
			return
		}
	}
	w.WriteHeader(status)
}

// attempts returns those at one event, or all with 0.
func (p *platform) attempts(number uint64) (all []attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.seen {
		if number == 0 || a.number == number {
			all = append(all, a)
		}
	}
	return all
}

func (p *platform) say(answer func(a attempt, n int) (int, time.Duration)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

// watch begins to count anew how many requests there are at once.
func (p *platform) watch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = 0
}

func always(status int) func(attempt, int) (int, time.Duration) {
	return func(attempt, int) (int, time.Duration) { return status, 0 }
}

// pipes is a network in memory, for virtual time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (l *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.closed:
	case <-ctx.Done():
	}
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// world is an outbox with its store and its platform, in virtual time.
type world struct {
	t       *testing.T
	store   *fakeStore
	p       *platform
	o       *Outbox
	logs    *observer.ObservedLogs
	results map[Result]int
	mu      sync.Mutex
	wallOff time.Duration
	net     *pipes
	done    chan error   // what Run returned
	stop    func() error // ends Run and returns that
}

// in runs a test in virtual time. The bubble panics if a goroutine outlives the test.
func in(t *testing.T, p *platform, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		w := &world{t: t, store: newStore(), p: p, logs: logs, results: make(map[Result]int), net: newPipes()}
		o, err := New(Options{
			Store: w.store, StoreID: "st", Version: "v1", Log: zap.New(core),
			Observe: func(r Result) { w.mu.Lock(); w.results[r]++; w.mu.Unlock() },
			Now:     func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return time.Now().Add(w.wallOff) },
		})
		if err != nil {
			t.Fatal(err)
		}
		o.dial = w.net.dial
		w.o = o
		w.reload("http://platform/hook", testSecret)
		server := &http.Server{Handler: p}
		go server.Serve(w.net)
		defer server.Close()
		ctx, cancel := context.WithCancel(t.Context())
		w.done = make(chan error, 1)
		go func() { w.done <- o.Run(ctx) }()
		w.stop = sync.OnceValue(func() error { cancel(); return <-w.done })
		defer w.stop()
		test(w)
	})
}

func (w *world) reload(url string, secrets ...string) {
	w.t.Helper()
	if err := w.o.Reload(Config{URL: url, Secrets: secrets}); err != nil {
		w.t.Fatal(err)
	}
}

// pass lets so much time go by.
func (w *world) pass(d time.Duration) {
	w.store.with(func() { // what the test has read, others may write after this
		w.p.mu.Lock()
		defer w.p.mu.Unlock()
		w.mu.Lock()
		defer w.mu.Unlock()
	})
	time.Sleep(d)
	synctest.Wait()
}

// left returns how many deliveries are pending and how many set aside.
func (w *world) left() (pending, dead int) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	return len(w.store.pending), len(w.store.dead)
}

// logged returns the messages of the log.
func (w *world) logged() string {
	var all []string
	for _, e := range w.logs.All() {
		all = append(all, e.Message)
	}
	return strings.Join(all, "; ")
}

func numbers(from, to uint64) (all []uint64) {
	for n := from; n <= to; n++ {
		all = append(all, n)
	}
	return all
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
