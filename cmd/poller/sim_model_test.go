package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"poller/order"
)

// simOrder is what the model knows of an order: all that it may become follows from that.
type simOrder struct {
	body      map[string]any // as submitted
	seller    string
	deadline  time.Time
	known     bool // its submission was answered with 200 or 201
	cancelled bool // a cancel was asked for
	erased    bool // its erasure was asked for
	gone      bool // it was deleted after its retention
	end       string
	endedAt   time.Time
	endEvents int
	endNumber uint64
	endType   order.EventType
	base      *simBase
}

// simBase is from where an order's polls are counted: one for each tick, and those by hand.
type simBase struct {
	d     *simDaemon
	tick  uint64 // that the order was last polled for
	polls int    // answered with processing, all of which count
	hand  int    // polls by hand since then
}

// simModel is what is outside the daemon, as simple as can be.
type simModel struct {
	orders    map[string]*simOrder
	ids       []string
	lastEvent uint64
	off       time.Duration // of the wall clock from what it should be by the last confirmation
	doubted   bool
	quietAt   time.Time // bubble's time of the last start, confirmation or step of the clock
	before    time.Time // wall clock just before it stepped last: what was decided then may be recorded after
}

// stepped: G12, over an hour is doubted until it is undone or confirmed.
func (m *simModel) stepped(d time.Duration) {
	m.off += d
	m.doubted = m.off.Abs() > time.Hour
	m.quietAt = time.Now()
}

func (m *simModel) confirmed() { m.off, m.doubted, m.quietAt = 0, false, time.Now() }

// started: at start the newest record says what time it should be; a doubt of before stays until it is undone. sure is
// false near the bounds.
func (m *simModel) started(wall, newest time.Time, off time.Duration) (sure bool) {
	m.confirmed()
	if newest.IsZero() {
		return true
	}
	ahead, most := wall.Sub(newest), 7*24*time.Hour
	if off > time.Hour {
		most = min(most, off-time.Hour)
	}
	if m.doubted = ahead < -time.Hour || ahead > most; m.doubted {
		m.off = ahead
	}
	near := func(at time.Duration) bool { return (ahead - at).Abs() < 20*time.Minute }
	return !near(-time.Hour) && !near(most)
}

// view is an order as the API shows it.
type simView struct {
	State       order.State     `json:"state"`
	SubmittedAt time.Time       `json:"submitted_at"`
	Deadline    time.Time       `json:"deadline"`
	EndedAt     time.Time       `json:"ended_at"`
	Result      json.RawMessage `json:"result"`
	Failure     *order.Failure  `json:"failure"`
	Held        bool            `json:"held"`
}

// check compares every order, the feed, the webhooks and the clock with the model.
func (s *sim) check() {
	s.t.Helper()
	if s.d.cut.Load() {
		return
	}
	s.checkStatus()
	for _, id := range s.m.ids {
		if o := s.m.orders[id]; !o.gone {
			s.checkOrder(id, o)
		}
	}
	s.readEvents()
	s.checkWebhooks()
}

func (s *sim) checkStatus() {
	var status struct {
		ClockDoubted bool `json:"clock_doubted"`
		Webhook      struct{ Dead int }
	}
	if !s.get("/v1/status", &status) {
		return
	}
	if status.ClockDoubted != s.m.doubted {
		s.t.Errorf("clock doubted: %v, want %v: %s off", status.ClockDoubted, s.m.doubted, s.m.off)
		s.m.doubted = status.ClockDoubted
	}
	if status.Webhook.Dead > 0 {
		s.t.Errorf("%d webhooks set aside, although nothing but outages kept them", status.Webhook.Dead)
	}
}

func (s *sim) checkOrder(id string, o *simOrder) {
	code, body, ok := s.d.call(http.MethodGet, "/v1/orders/"+id, nil)
	if !ok {
		return
	}
	switch code {
	case http.StatusOK:
	case http.StatusGone:
		if !o.erased {
			s.t.Errorf("%s is erased, which nobody asked for", id)
		}
		s.checkOverdue(id, o)
		return
	case http.StatusNotFound:
		if o.known {
			s.checkGone(id, o)
		}
		o.gone = o.known
		return
	default:
		s.t.Errorf("%s: HTTP %d %s", id, code, body)
		return
	}
	var v simView
	if err := json.Unmarshal(body, &v); err != nil {
		s.t.Errorf("%s: %v", id, err)
		return
	}
	o.known = true
	if o.deadline = v.Deadline; v.State == order.StateProcessing {
		s.checkProcessing(id, o)
		return
	}
	end := fmt.Sprintf("%s at %s: %s %v", v.State, v.EndedAt, v.Result, v.Failure)
	if o.end == "" {
		o.end, o.endedAt = end, v.EndedAt
		s.justify(id, o, &v)
	}
	if o.end != end {
		s.t.Errorf("%s ended as\n%s\nand now\n%s", id, o.end, end)
	}
	s.checkOverdue(id, o)
}

// checkGone: only what ended goes, retention later, twice as late if the webhook was not told, and not while the clock is doubted.
func (s *sim) checkGone(id string, o *simOrder) {
	age, least := s.wall().Sub(o.endedAt), simRetention
	if s.platform.told(o.endNumber) == 0 {
		least *= 2
	}
	switch {
	case o.end == "":
		s.t.Errorf("%s was accepted, and is gone without an end", id)
	case s.m.doubted:
		s.t.Errorf("%s was deleted while the clock is doubted", id)
	case age < least:
		s.t.Errorf("%s was deleted %s after its end, want %s", id, age, least)
	}
}

// checkOverdue: what is past its retention is gone.
func (s *sim) checkOverdue(id string, o *simOrder) {
	if !s.m.doubted && s.wall().Sub(o.endedAt) > 2*simRetention+time.Hour && time.Since(s.m.quietAt) > time.Hour && !o.endedAt.IsZero() {
		s.t.Errorf("%s is still there %s after its end", id, s.wall().Sub(o.endedAt))
	}
}

func (s *sim) checkProcessing(id string, o *simOrder) {
	if o.end != "" {
		s.t.Errorf("%s is in processing again after\n%s", id, o.end)
	}
	for _, e := range s.sellers.endsOf(id) {
		if e.d == s.d && time.Since(e.at) > simCommit {
			s.t.Errorf("%s is in processing although its seller said %s", id, e.outcome)
		}
	}
	s.checkTicks(id, o)
	since := s.m.quietAt
	if w := s.wellSince[o.seller]; w.After(since) {
		since = w
	}
	late := s.wall().Sub(o.deadline)
	if s.well(o.seller) && !s.m.doubted && late > 3*time.Hour && time.Since(since) > 3*time.Hour {
		s.t.Errorf("%s is in processing %s after its deadline, at a seller that answers", id, late)
	}
}

// checkTicks: no order is polled twice for a tick (G11), whatever sweeps by hand, restarts and clocks there were.
func (s *sim) checkTicks(id string, o *simOrder) {
	kept, err := s.d.store.Order(s.t.Context(), id)
	tick, _, e := s.d.store.LastTick(s.t.Context())
	if err != nil || e != nil {
		s.t.Errorf("%s: %v, %v", id, err, e)
		return
	}
	polls := s.sellers.count(id, order.Processing)
	if o.base == nil || o.base.d != s.d {
		o.base = &simBase{d: s.d, tick: kept.Tick, polls: polls}
	}
	if b := o.base; polls-b.polls > int(tick-b.tick)+b.hand {
		s.t.Errorf("%s: %d polls, %d of them by hand, in %d ticks", id, polls-b.polls, b.hand, tick-b.tick)
	}
}

// justify: every end has a reason outside the daemon.
func (s *sim) justify(id string, o *simOrder, v *simView) {
	says := func(outcome order.Outcome, text string) bool {
		for _, e := range s.sellers.endsOf(id) {
			if e.outcome == outcome && strings.Contains(text, e.text) {
				return true
			}
		}
		return false
	}
	ok := false
	switch {
	case v.State == order.StateCancelled:
		ok = o.cancelled
	case v.State == order.StateCompleted:
		text := string(v.Result)
		if strings.Contains(text, "object_key") {
			_, b, _ := s.d.call(http.MethodGet, "/v1/orders/"+id+"/files/0", nil)
			text = string(b)
		}
		ok = says(order.Completed, text)
	case v.Failure == nil:
	case v.Failure.Code == order.CodeSellerFailed:
		ok = says(order.SellerFailed, v.Failure.Message)
	case v.Failure.Code == order.CodeDeadlineExceeded:
		before := s.m.before.Sub(v.EndedAt)
		ok = !v.EndedAt.Before(v.Deadline) && (!s.m.doubted || before >= 0 && before < simCommit)
	default:
		limit := map[string]time.Duration{order.CodeNotFound: 2 * time.Hour, order.CodeInvalidResponse: 6 * time.Hour, order.CodeRejectedResult: 24 * time.Hour}[v.Failure.Code]
		n := s.sellers.count(id, order.Outcome(v.Failure.Code))
		ok = limit > 0 && n >= 3 && time.Duration(n)*2*simInterval >= limit
	}
	if !ok {
		s.t.Errorf("%s ended without a reason: %s at %s, deadline %s, result %s, failure %v; clock doubted: %v", id, v.State, v.EndedAt, v.Deadline, v.Result, v.Failure, s.m.doubted)
	}
}

// readEvents: the feed is dense, and tells of each end once.
func (s *sim) readEvents() {
	for {
		var page struct{ Items []order.EventView }
		if !s.get(fmt.Sprintf("/v1/events?after=%d&limit=1000", s.m.lastEvent), &page) || len(page.Items) == 0 {
			return
		}
		for _, e := range page.Items {
			if s.m.lastEvent++; e.Number != s.m.lastEvent {
				s.t.Fatalf("event %d follows %d", e.Number, s.m.lastEvent-1)
			}
			switch e.Type {
			case order.EventCompleted, order.EventFailed, order.EventCancelled:
				o := s.m.orders[e.OrderID]
				if o.endEvents++; o.endEvents > 1 {
					s.t.Errorf("%s: a second end, event %d, after event %d", e.OrderID, e.Number, o.endNumber)
				}
				o.endNumber, o.endType = e.Number, e.Type
			case order.EventSubmitted, order.EventProgress, order.EventTrouble, order.EventRecovered:
			}
		}
	}
}

// checkWebhooks: what is told of are ends, and each end is in the feed.
func (s *sim) checkWebhooks() {
	ends := map[uint64]bool{}
	for id, o := range s.m.orders {
		if o.endEvents > 0 {
			ends[o.endNumber] = true
		}
		if o.end != "" && (o.endEvents != 1 || !strings.HasPrefix(o.end, strings.TrimPrefix(string(o.endType), "order."))) {
			s.t.Errorf("%s: %d events tell of its end, the last one of %q; it is %s", id, o.endEvents, o.endType, o.end)
		}
	}
	s.platform.mu.Lock()
	defer s.platform.mu.Unlock()
	for n := range s.platform.bodies {
		if !ends[n] {
			s.t.Errorf("webhook %d tells of what is no end", n)
		}
	}
}

func (p *simPlatform) told(number uint64) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken[number]
}

func (x *simSellers) endsOf(id string) []said {
	x.mu.Lock()
	defer x.mu.Unlock()
	return append([]said(nil), x.ends[id]...)
}

func (x *simSellers) count(id string, outcome order.Outcome) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.kinds[id][outcome]
}
