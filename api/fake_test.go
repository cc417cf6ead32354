package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"testing/iotest"
	"time"

	"poller/order"
)

// fakeStore keeps everything in memory. Its fields may be set before use.
type fakeStore struct {
	mu       sync.Mutex
	sellers  map[string]order.Seller
	orders   map[string]order.Order
	digests  map[string][32]byte
	list     []string // order ids in the order of arrival
	events   []order.Event
	dropped  uint64                      // events up to this number are no longer kept
	trim     func(dropped uint64) uint64 // after each step of ReplayAfter
	sweeps   []order.Sweep
	changed  chan struct{}
	fail     error // of every write
	panics   bool
	commits  int
	cancels  int
	released []string
	replays  []uint64 // where ReplayAfter was asked to go on from
}

func newFakeStore() *fakeStore {
	return &fakeStore{
		sellers: map[string]order.Seller{}, orders: map[string]order.Order{}, digests: map[string][32]byte{},
		changed: make(chan struct{}),
	}
}

func (f *fakeStore) ID() string { return "st0re" }

func (f *fakeStore) PutSeller(_ context.Context, s order.Seller) (order.Seller, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return s, false, f.fail
	}
	old, ok := f.sellers[s.ID]
	s.Number, s.Paused, s.Cancelling = old.Number, old.Paused, old.Cancelling
	if !ok {
		s.Number = uint32(len(f.sellers) + 1)
	}
	s.Version = old.Version + 1
	f.sellers[s.ID] = s
	return s, !ok, nil
}

func (f *fakeStore) UpdateSeller(_ context.Context, id string, fn func(*order.Seller) error) (order.Seller, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.sellers[id]
	if !ok {
		return s, fmt.Errorf("seller %s: %w", id, order.ErrNotFound)
	}
	if f.fail != nil {
		return s, f.fail
	}
	s.Headers = slices.Clone(s.Headers)
	if err := fn(&s); err != nil {
		return s, fmt.Errorf("update seller: %w", err)
	}
	f.sellers[id] = s
	return s, nil
}

func (f *fakeStore) Seller(_ context.Context, id string) (order.Seller, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.sellers[id]
	if !ok {
		return s, order.ErrNotFound
	}
	return s, nil
}

func (f *fakeStore) Sellers(_ context.Context, after string, limit int) ([]order.Seller, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if after != "" && !order.ValidID(after) {
		return nil, "", order.ErrCursor
	}
	var all []order.Seller
	for id, s := range f.sellers {
		if id > after {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b order.Seller) int { return cmp.Compare(a.ID, b.ID) })
	if len(all) > limit {
		return all[:limit], all[limit-1].ID, nil
	}
	return all, "", nil
}

func (f *fakeStore) DeleteSeller(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.orders {
		if o.SellerID == id && !o.Ended() {
			return fmt.Errorf("seller %s: %w", id, order.ErrActive)
		}
	}
	delete(f.sellers, id)
	return f.fail
}

func (f *fakeStore) SellerUsage(number uint32) (active, resultBytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.orders {
		if o.Ref.Seller == number && !o.Ended() {
			active++
		}
	}
	return active, 7
}

func (f *fakeStore) CancelSeller(_ context.Context, number uint32, _ int, now time.Time) ([]order.Ref, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, true, f.fail
	}
	f.cancels++
	for id, o := range f.orders { // one at a time, whatever the limit
		if o.Ref.Seller == number && !o.Ended() {
			f.orders[id] = order.Cancel(o, now).Order
			return []order.Ref{o.Ref}, true, nil
		}
	}
	for id, s := range f.sellers {
		if s.Number == number {
			s.Cancelling = false
			f.sellers[id] = s
		}
	}
	return nil, false, nil
}

func (f *fakeStore) Submit(_ context.Context, subs []order.Submission, d time.Duration, now time.Time) ([]order.Submitted, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panics {
		panic("a sentinel: Bearer " + secret)
	}
	if f.fail != nil {
		return nil, f.fail
	}
	f.commits++
	res := make([]order.Submitted, len(subs))
	for i := range subs {
		res[i] = f.submit(&subs[i], d, now)
	}
	return res, nil
}

func (f *fakeStore) submit(s *order.Submission, d time.Duration, now time.Time) order.Submitted {
	if o, ok := f.orders[s.OrderID]; ok {
		if f.digests[s.OrderID] != s.Digest() {
			return order.Submitted{Err: order.ErrConflict}
		}
		return order.Submitted{Order: o}
	}
	if s.Fault != nil {
		return order.Submitted{Err: s.Fault}
	}
	seller, ok := f.sellers[s.SellerID]
	if !ok {
		return order.Submitted{Err: order.ErrUnknownSeller}
	}
	o := order.Order{
		ID: s.OrderID, SellerID: s.SellerID, RemoteID: cmp.Or(s.RemoteID, s.OrderID), State: order.StateProcessing,
		SubmittedAt: now, Deadline: now.Add(d), Metadata: s.Metadata,
		Ref: order.Ref{Seller: seller.Number, Order: uint64(len(f.orders) + 1)},
	}
	if s.Deadline != nil {
		o.Deadline = *s.Deadline
	}
	f.orders[o.ID], f.digests[o.ID] = o, s.Digest()
	f.list = append(f.list, o.ID)
	return order.Submitted{Created: true, Order: o}
}

func (f *fakeStore) Order(_ context.Context, id string) (order.Order, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, ok := f.orders[id]
	if !ok {
		return o, fmt.Errorf("order %s: %w", id, order.ErrNotFound)
	}
	return o, nil
}

func (f *fakeStore) Orders(_ context.Context, filter order.Filter, after string, limit int) ([]order.Order, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	start := 0
	if after != "" {
		n, err := strconv.Atoi(after)
		if err != nil {
			return nil, "", order.ErrCursor
		}
		start = n
	}
	var items []order.Order
	for i := start; i < len(f.list); i++ {
		o := f.orders[f.list[i]]
		if filter.State != "" && o.State != filter.State || filter.SellerID != "" && o.SellerID != filter.SellerID || filter.Held && o.Held == nil {
			continue
		}
		if len(items) == limit {
			return items, strconv.Itoa(i), nil
		}
		items = append(items, o)
	}
	return items, "", nil
}

func (f *fakeStore) UpdateOrder(_ context.Context, id string, fn func(order.Order) (order.Decision, error)) (order.Order, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, ok := f.orders[id]
	if !ok {
		return o, order.ErrNotFound
	}
	d, err := fn(o)
	if err != nil {
		return o, err
	}
	if f.fail != nil {
		return o, f.fail
	}
	f.orders[id] = d.Order
	return d.Order, nil
}

func (f *fakeStore) Erase(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, ok := f.orders[id]
	switch {
	case !ok:
		return order.ErrNotFound
	case !o.Ended():
		return fmt.Errorf("order %s: %w", id, order.ErrActive)
	case o.Erased:
		return order.ErrErased
	case f.fail != nil:
		return f.fail
	}
	o.Erased, o.Result, o.Metadata = true, nil, nil
	f.orders[id] = o
	return nil
}

func (f *fakeStore) ReplayOrder(_ context.Context, id string, _ time.Time) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, ok := f.orders[id]
	switch {
	case !ok:
		return 0, order.ErrNotFound
	case !o.Ended():
		return 0, nil
	}
	return 1, f.fail
}

// ReplayAfter looks at two events a step.
func (f *fakeStore) ReplayAfter(_ context.Context, after uint64, _ time.Time, _ int) (n int, last uint64, more bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	newest := uint64(len(f.events))
	switch {
	case after < f.dropped || after > newest:
		return 0, 0, false, order.ErrGone
	case f.fail != nil && len(f.replays) > 0:
		return 0, 0, false, f.fail
	}
	f.replays = append(f.replays, after)
	for last = after; last < min(after+2, newest); last++ {
		if f.events[last].Order != nil {
			n++
		}
	}
	if f.trim != nil {
		f.dropped = f.trim(f.dropped)
	}
	return n, last, last < newest, nil
}

func (f *fakeStore) History(_ context.Context, id string) ([]order.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var events []order.Event
	for _, e := range f.events {
		if e.OrderID == id {
			events = append(events, e)
		}
	}
	return events, nil
}

func (f *fakeStore) Release(_ context.Context, sellerID string, _ int, _ time.Time) (n int, more bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.released = append(f.released, sellerID)
	return 1, len(f.released) < 3, f.fail
}

func (f *fakeStore) Held() int64 { return 3 }

func (f *fakeStore) Events(_ context.Context, after uint64, limit int) ([]order.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if after < f.dropped {
		return nil, order.ErrGone
	}
	rest := f.events[min(after, uint64(len(f.events))):]
	return slices.Clone(rest[:min(limit, len(rest))]), nil
}

func (f *fakeStore) EventRange() (first, last uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dropped + 1, uint64(len(f.events))
}

func (f *fakeStore) EventsChanged() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// tell adds an event.
func (f *fakeStore) tell(e order.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e.Number = uint64(len(f.events) + 1)
	f.events = append(f.events, e)
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeStore) Sweeps(_ context.Context, after string, limit int) ([]order.Sweep, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if after != "" {
		return nil, "", order.ErrCursor
	}
	return slices.Clone(f.sweeps[:min(limit, len(f.sweeps))]), "", nil
}

// fakeScheduler answers what its fields say.
type fakeScheduler struct {
	mu      sync.Mutex
	changed []order.Seller
	deleted []uint32
	obs     order.Observation
	order   order.Order
	sweep   order.Sweep
	live    bool
	err     error
	doubted bool
	dueOnly []bool
}

func (f *fakeScheduler) PollNow(context.Context, string) (order.Observation, order.Order, error) {
	return f.obs, f.order, f.err
}

func (f *fakeScheduler) StartSweep(_ context.Context, dueOnly bool) (order.Sweep, error) {
	f.dueOnly = append(f.dueOnly, dueOnly)
	return f.sweep, f.err
}
func (f *fakeScheduler) LiveSweep() (order.Sweep, bool) { return f.sweep, f.live }

func (f *fakeScheduler) NextPoll(o *order.Order) time.Time {
	if o.Ended() {
		return time.Time{}
	}
	return start.Add(15 * time.Minute)
}

func (f *fakeScheduler) SellerHealth(uint32) (order.Health, order.Breaker) {
	return order.Health{LastOutcome: order.Timeout, LastPolledAt: start, FailuresInARow: 4}, order.BreakerOpen
}

func (f *fakeScheduler) SellerChanged(s order.Seller) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changed = append(f.changed, s)
}
func (f *fakeScheduler) SellerDeleted(number uint32)        { f.deleted = append(f.deleted, number) }
func (f *fakeScheduler) ClockDoubted() bool                 { return f.doubted }
func (f *fakeScheduler) ConfirmClock(context.Context) error { f.doubted = false; return f.err }

// fakeUploads gives out what its fields say, and notes what it was asked for.
type fakeUploads struct {
	upload Upload
	err    error
	asked  string
}

func (f *fakeUploads) Prepare(_ context.Context, o order.Order, filename, mimeType string, size int64) (Upload, error) {
	f.asked = fmt.Sprint(o.ID, " ", filename, " ", mimeType, " ", size)
	return f.upload, f.err
}

// fakeFiles are files by key.
type fakeFiles map[string][]byte

func (f fakeFiles) Open(_ context.Context, file order.File) (io.ReadCloser, error) {
	b, ok := f[file.ObjectKey]
	if !ok {
		return nil, fmt.Errorf("file %s: %w", file.ObjectKey, order.ErrNotFound)
	}
	if int64(len(b)) != file.Size {
		return nil, fmt.Errorf("file %s: %w", file.ObjectKey, order.ErrDamaged)
	}
	sum := sha256.Sum256(b)
	if hex.EncodeToString(sum[:]) == file.SHA256 {
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	whole := bytes.NewReader(b[:max(0, len(b)-1)])
	return io.NopCloser(io.MultiReader(whole, iotest.ErrReader(order.ErrDamaged))), nil
}

func (f *fakeScheduler) changes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.changed)
}
