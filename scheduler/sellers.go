package scheduler

import (
	"context"
	"errors"
	"net/url"
	"time"

	"go.uber.org/zap"

	"poller/order"
)

// hostOf is the name and port of a status URL.
func hostOf(statusURL string) string {
	u, err := url.Parse(statusURL)
	if err != nil {
		return "" // checked at registration; a template that no longer parses is blocked at the poll
	}
	if u.Port() == "" {
		return u.Hostname() + ":443"
	}
	return u.Host
}

// meet makes lanes for sellers that the scheduler has not met yet. It reads the store, so the lock is not held.
func (s *Scheduler) meet(ctx context.Context, due []order.Due) error {
	s.mu.Lock()
	var unknown []uint32
	for _, d := range due {
		n := d.Ref.Seller
		if s.lanes[n] == nil && (len(unknown) == 0 || unknown[len(unknown)-1] != n) {
			unknown = append(unknown, n)
		}
	}
	s.mu.Unlock()
	for _, n := range unknown {
		seller, err := s.store.SellerByNumber(ctx, n)
		if errors.Is(err, order.ErrNotFound) || errors.Is(err, order.ErrDamaged) {
			s.log.Error("seller of due orders can't be read: they are not polled", zap.Uint32("number", n), zap.Error(err))
			continue
		}
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.laneOf(&seller)
		s.mu.Unlock()
		// SellerChanged could tell no lane of a change since it was read.
		if changed, err := s.store.SellerByNumber(ctx, n); err == nil { // the lane has seller: it is not to be changed
			s.SellerChanged(changed)
		}
	}
	return nil
}

// laneOf returns the seller's lane, made if need be. The lock is held.
func (s *Scheduler) laneOf(seller *order.Seller) *lane {
	if l := s.lanes[seller.Number]; l != nil {
		return l
	}
	l := &lane{seller: seller, host: s.hostNamed(hostOf(seller.StatusURL)), busy: make(map[uint64]*flight)}
	if h, ok := s.healths[seller.Number]; ok {
		l.health = h
		l.brk.failures = h.FailuresInARow
		l.brk.open = h.FailuresInARow >= s.cfg.BreakerFailures
		l.brk.newSweep()
		if l.brk.open {
			s.metrics.BreakersOpen.WithLabelValues("seller").Inc()
		}
		if inTrouble(h.LastOutcome) {
			s.metrics.SellersInTrouble.Inc()
		}
		s.evidence.recall(l.host.name, h)
		delete(s.healths, seller.Number)
	}
	s.lanes[seller.Number] = l
	return l
}

func (s *Scheduler) hostNamed(name string) *host {
	h := s.hosts[name]
	if h == nil {
		h = &host{name: name}
		s.hosts[name] = h
	}
	return h
}

// SellerChanged takes a seller as it is now in the store; call it after every
// durable change. An older version than the one known is ignored.
func (s *Scheduler) SellerChanged(seller order.Seller) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[seller.Number]
	if l == nil || l.seller.Version >= seller.Version {
		return
	}
	was := l.seller
	if seller.Revision != was.Revision { // another endpoint, or other headers: a new start
		s.closeBreaker(l)
		l.brk.answered = false
		l.restUntil, l.rest = time.Time{}, 0
	}
	if name := hostOf(seller.StatusURL); name != l.host.name {
		s.leaveHost(l, now)
		l.host = s.hostNamed(name)
	}
	l.seller = &seller
	if seller.Paused {
		l.queue.clear()
		l.targets = nil
		if l.fresh != nil {
			l.fresh.clear()
		}
	}
	s.refreshLane(l, now)
	s.pump(now)
	s.poke()
}

// leaveHost takes the lane out of its host's accounts. The lock is held.
func (s *Scheduler) leaveHost(l *lane, now time.Time) {
	if l.place != 0 {
		l.host.ready.drop(l)
	}
	if l.counts {
		l.host.lanes--
		l.counts = false
	}
	l.held = false
	s.refreshHost(l.host, now)
}

// SellerDeleted forgets a seller that is no longer in the store.
func (s *Scheduler) SellerDeleted(number uint32) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.healths, number)
	l := s.lanes[number]
	if l == nil {
		return
	}
	if l.brk.open {
		s.metrics.BreakersOpen.WithLabelValues("seller").Dec()
	}
	if inTrouble(l.health.LastOutcome) {
		s.metrics.SellersInTrouble.Dec()
	}
	if l.overQuota {
		s.metrics.SellersOverQuota.Dec()
	}
	l.queue, l.fresh = queue{}, nil
	s.count(l)
	s.leaveHost(l, now)
	delete(s.lanes, number)
}

// forgetHosts drops the hosts that no seller has any more. The lock is held.
func (s *Scheduler) forgetHosts() {
	used := make(map[*host]bool, len(s.hosts))
	for _, l := range s.lanes {
		used[l.host] = true
	}
	for name, h := range s.hosts {
		if used[h] || h.inFlight > 0 {
			continue
		}
		if h.brk.open {
			s.metrics.BreakersOpen.WithLabelValues("host").Dec()
		}
		delete(s.hosts, name)
		s.evidence.forget(name)
	}
}

// SellerHealth returns what is known of how a seller answers, and its breaker.
func (s *Scheduler) SellerHealth(number uint32) (order.Health, order.Breaker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lanes[number]; l != nil {
		h := l.health
		h.FailuresInARow = l.brk.failures
		return h, l.brk.state()
	}
	h := s.healths[number]
	if s.cfg.BreakerFailures > 0 && h.FailuresInARow >= s.cfg.BreakerFailures {
		return h, order.BreakerOpen
	}
	return h, order.BreakerClosed
}
