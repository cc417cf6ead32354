package fakeseller

import (
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Group is what a server in bench mode saw of a group of sellers since the start or the last Forget.
type Group struct {
	Requests      int64 `json:"requests"`       // begun
	Orders        int64 `json:"orders"`         // different ones asked for
	First         int64 `json:"first"`          // when the first request came, Unix time in ns; 0: none did
	Last          int64 `json:"last"`           // when the last answer had been sent, or given up, in ns
	BusiestSecond int64 `json:"busiest_second"` // the most requests in a second
	Seconds       int64 `json:"seconds"`        // in which a request came; of at most maxSeconds
	LongestGap    int64 `json:"longest_gap_ns"` // the longest time between a request and the next
	MostAtOnce    int64 `json:"most_at_once"`   // the most requests unanswered at any one time
	Unanswered    int64 `json:"unanswered"`     // requests that are
}

const (
	maxOrders   = 1 << 26     // order numbers from here on are taken modulo it
	chunkOrders = 1 << 16     // orders of which the record is kept in one piece
	maxSeconds  = 4 * 60 * 60 // later requests count as of the last second
)

// groups are the sellers of a server in bench mode, by group.
type groups struct {
	body  []byte
	round atomic.Int64 // how often Behave and Forget were called

	mu     sync.Mutex
	others *behaviour // of groups without their own
	own    map[string]*behaviour
	known  atomic.Pointer[map[string]*group] // replaced, never changed
}

// group is one of them. What it counts is written from many goroutines without a lock.
type group struct {
	behaviour atomic.Pointer[behaviour]
	inFlight  atomic.Int64
	record    atomic.Pointer[groupRecord]
}

// groupRecord is what Forget replaces.
type groupRecord struct {
	begun                          time.Time
	requests, orders, first, last  atomic.Int64
	latest, longestGap, mostAtOnce atomic.Int64 // latest: when the latest request came
	perSecond                      [maxSeconds]atomic.Int32
	polled                         [maxOrders / chunkOrders]atomic.Pointer[[chunkOrders / 64]atomic.Uint64]
}

func newGroups(body []byte, delay time.Duration) *groups {
	g := &groups{body: body, own: make(map[string]*behaviour)}
	g.others = &behaviour{processing: [][]byte{whole(body)}, delay: delay}
	g.known.Store(new(map[string]*group))
	return g
}

// find returns a group, which it makes if it is new.
func (all *groups) find(name []byte) *group {
	if g := (*all.known.Load())[string(name)]; g != nil {
		return g
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	known := *all.known.Load()
	if g := known[string(name)]; g != nil {
		return g
	}
	g := new(group)
	g.record.Store(&groupRecord{begun: time.Now()})
	g.behaviour.Store(all.others)
	if own := all.own[string(name)]; own != nil {
		g.behaviour.Store(own)
	}
	more := maps.Clone(known)
	if more == nil {
		more = make(map[string]*group)
	}
	more[string(name)] = g
	all.known.Store(&more)
	return g
}

// begin counts a request, and returns where it was counted.
func (g *group) begin(order int, at time.Time) *groupRecord {
	r, now := g.record.Load(), at.UnixNano()
	r.requests.Add(1)
	raise(&r.mostAtOnce, g.inFlight.Add(1))
	r.first.CompareAndSwap(0, now)
	if before := r.latest.Swap(now); before > 0 {
		raise(&r.longestGap, now-before)
	}
	r.perSecond[max(0, min(int(at.Sub(r.begun)/time.Second), maxSeconds-1))].Add(1)
	if order >= 0 && r.mark(order%maxOrders) {
		r.orders.Add(1)
	}
	return r
}

// end counts its answer.
func (g *group) end(r *groupRecord, at time.Time) {
	g.inFlight.Add(-1)
	raise(&r.last, at.UnixNano())
}

// mark returns whether the order had not been marked before.
func (r *groupRecord) mark(order int) bool {
	place := &r.polled[order/chunkOrders]
	chunk := place.Load()
	if chunk == nil {
		chunk = new([chunkOrders / 64]atomic.Uint64)
		if !place.CompareAndSwap(nil, chunk) {
			chunk = place.Load()
		}
	}
	bit := uint64(1) << (order % 64)
	return chunk[order%chunkOrders/64].Or(bit)&bit == 0
}

// raise sets v to n if that is more.
func raise(v *atomic.Int64, n int64) {
	for {
		if old := v.Load(); n <= old || v.CompareAndSwap(old, n) {
			return
		}
	}
}

func (g *group) account() Group {
	r := g.record.Load()
	a := Group{
		Requests: r.requests.Load(), Orders: r.orders.Load(), First: r.first.Load(), Last: r.last.Load(),
		LongestGap: r.longestGap.Load(), MostAtOnce: r.mostAtOnce.Load(), Unanswered: g.inFlight.Load(),
	}
	for i := range r.perSecond {
		if n := int64(r.perSecond[i].Load()); n > 0 {
			a.Seconds++
			a.BusiestSecond = max(a.BusiestSecond, n)
		}
	}
	return a
}

var errNotBench = errors.New("the server is not in bench mode")

// Behave changes how a group of sellers answers in bench mode, from now on. A
// seller's group is its id without the last "-" and what follows; "*" is every
// group that was not given a behaviour of its own. Behaviours are
//
//	processing  the body of Options.Bench
//	delay 1s    the same after that time
//	progress    processing, with a progress that moves by 10 points or more in each round
//	hang        no answer: the connection stays open until the client closes it
//	ends N      one order in N is completed with a text, others in each round; the rest is processing
//	file BYTES  completed with the file BenchFile(BYTES)
//
// Each call of Behave or Forget begins a round.
func (s *Server) Behave(group, text string) error {
	if s.groups == nil {
		return errNotBench
	}
	all := s.groups
	b, err := newBehaviour(text, all.body)
	if err != nil {
		return err
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	if group == "*" {
		all.others = b
	} else {
		all.own[group] = b
	}
	for name, g := range *all.known.Load() {
		if own := all.own[name]; own != nil {
			g.behaviour.Store(own)
		} else {
			g.behaviour.Store(all.others)
		}
	}
	all.round.Add(1)
	return nil
}

// Forget begins the records of Groups anew. Requests that are unanswered then are
// not among those of the new record, but still at once with them.
func (s *Server) Forget() error {
	if s.groups == nil {
		return errNotBench
	}
	s.groups.mu.Lock()
	defer s.groups.mu.Unlock()
	for _, g := range *s.groups.known.Load() {
		g.record.Store(&groupRecord{begun: time.Now()})
	}
	s.groups.round.Add(1)
	return nil
}

// Groups returns what a server in bench mode saw of each group of sellers.
func (s *Server) Groups() map[string]Group {
	seen := make(map[string]Group)
	if s.groups != nil {
		for name, g := range *s.groups.known.Load() {
			seen[name] = g.account()
		}
	}
	return seen
}
