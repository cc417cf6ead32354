package main

import (
	"fmt"
	"net/http"
	"os"
	"testing/synctest"
	"time"
)

func (s *sim) sellerBody(id string) map[string]any {
	return map[string]any{
		"status_url": fmt.Sprintf("https://%s.example/%d/{order_id}", id, s.rnd.IntN(2)),
		"headers":    map[string]string{"authorization": fmt.Sprint("key", s.rnd.IntN(2))},
	}
}

// behave gives a seller a mode.
func (s *sim) behave(seller string) {
	s.sellers.mu.Lock()
	defer s.sellers.mu.Unlock()
	s.sellers.mode[seller] = s.pick(simModes)
	s.wellSince[seller] = time.Now()
}

func (s *sim) setPlatform(mode string) {
	s.platform.mu.Lock()
	defer s.platform.mu.Unlock()
	s.platform.mode = mode
}

// anOrder is any that is not known to be gone; empty: there is none.
func (s *sim) anOrder() string {
	for range 20 {
		if len(s.m.ids) == 0 {
			return ""
		}
		if id := s.pick(s.m.ids); !s.m.orders[id].gone {
			return id
		}
	}
	return ""
}

// submit submits a few new orders, and one again, the same or another.
func (s *sim) submit() {
	for range 1 + s.rnd.IntN(4) {
		if s.active() >= 40 {
			break
		}
		id := fmt.Sprint("o", len(s.m.ids))
		seller := s.pick(s.names)
		o := &simOrder{seller: seller, body: map[string]any{"order_id": id, "seller_id": seller, "metadata": map[string]string{"n": id}}}
		if s.rnd.IntN(3) == 0 {
			o.body["deadline"] = s.wall().Add(time.Duration(1+s.rnd.IntN(6000)) * time.Minute)
		}
		s.m.orders[id] = o
		s.m.ids = append(s.m.ids, id)
		if _, ok := s.must(http.MethodPost, "/v1/orders", o.body, http.StatusCreated); ok {
			o.known = true
		}
	}
	id := s.anOrder()
	if id == "" || !s.m.orders[id].known {
		return
	}
	o := s.m.orders[id]
	gone := o.end != "" && !s.m.doubted && s.wall().Sub(o.endedAt) >= simRetention-time.Minute // or may be so at any moment
	if o.erased || gone {
		return
	}
	s.must(http.MethodPost, "/v1/orders", o.body, http.StatusOK)
	s.must(http.MethodPost, "/v1/orders", map[string]any{"order_id": id, "seller_id": o.seller, "metadata": map[string]string{"n": "another"}}, http.StatusConflict)
}

func (s *sim) active() (n int) {
	for _, o := range s.m.orders {
		if o.end == "" && !o.gone {
			n++
		}
	}
	return n
}

func (s *sim) cancel() {
	if id := s.anOrder(); id != "" {
		s.m.orders[id].cancelled = true
		s.must(http.MethodPost, "/v1/orders/"+id+"/cancel", nil, http.StatusOK, http.StatusConflict, http.StatusGone, http.StatusNotFound)
	}
}

func (s *sim) pollNow() {
	if id := s.anOrder(); id != "" {
		if b := s.m.orders[id].base; b != nil {
			b.hand++
		}
		s.must(http.MethodPost, "/v1/orders/"+id+"/poll", nil, http.StatusOK, http.StatusConflict, http.StatusGone, http.StatusNotFound)
	}
}

func (s *sim) sweep() {
	s.must(http.MethodPost, "/v1/sweeps", map[string]any{"due_only": s.rnd.IntN(2) == 0}, http.StatusAccepted, http.StatusConflict)
}

func (s *sim) pause() {
	seller := s.pick(s.names)
	path := "/pause"
	if s.paused[seller] {
		path = "/resume"
	}
	// Without an answer it may be either: then it is done again, after the crash.
	if _, ok := s.must(http.MethodPost, "/v1/sellers/"+seller+path, nil, http.StatusOK); !ok {
		s.settle()
		s.must(http.MethodPost, "/v1/sellers/"+seller+path, nil, http.StatusOK)
	}
	s.sellers.mu.Lock()
	defer s.sellers.mu.Unlock()
	s.paused[seller] = !s.paused[seller]
	s.wellSince[seller] = time.Now()
}

// erase erases an order's data. What is shown of it no longer is the model's business.
func (s *sim) erase() {
	id := s.anOrder()
	if id == "" {
		return
	}
	o := s.m.orders[id]
	if o.end != "" {
		o.erased = true
	}
	code, ok := s.must(http.MethodDelete, "/v1/orders/"+id, nil, http.StatusNoContent, http.StatusOK, http.StatusConflict, http.StatusGone, http.StatusNotFound)
	if ok && o.end == "" && o.known && code != http.StatusConflict && !o.gone {
		s.t.Errorf("erasing %s, which is in processing: HTTP %d", id, code)
	}
}

func (s *sim) putSeller() {
	id := s.pick(s.names)
	s.must(http.MethodPut, "/v1/sellers/"+id, s.sellerBody(id), http.StatusOK)
	s.must(http.MethodDelete, "/v1/sellers/nobody", nil, http.StatusNotFound)
}

func (s *sim) redeadline() {
	if id := s.anOrder(); id != "" {
		s.must(http.MethodPatch, "/v1/orders/"+id, map[string]any{"deadline": s.wall().Add(time.Duration(1+s.rnd.IntN(6000)) * time.Minute)},
			http.StatusOK, http.StatusConflict, http.StatusGone, http.StatusNotFound)
	}
}

func (s *sim) replay() {
	if id := s.anOrder(); id != "" {
		s.must(http.MethodPost, "/v1/webhook/replay", map[string]any{"order_id": id}, http.StatusOK, http.StatusAccepted, http.StatusConflict, http.StatusGone, http.StatusNotFound)
	}
}

// passSome lets minutes to days pass.
func (s *sim) passSome() {
	d := time.Duration(s.rnd.IntN(7200)) * time.Second
	switch s.rnd.IntN(6) {
	case 0:
		d *= 12
	case 1:
		d *= 6
	}
	s.pass(d)
}

// pass lets time pass in which nobody does anything, and counts the polls: each due order has one at each tick (G11).
func (s *sim) pass(d time.Duration) {
	s.settle()
	s.awayFromTicks()
	s.settle()
	watched := map[string]bool{}
	for id, o := range s.m.orders {
		watched[id] = o.known && !o.gone && o.end == "" && s.well(o.seller) && time.Since(s.wellSince[o.seller]) > 2*time.Hour
	}
	begin := s.wall()
	if in := begin.Add(d).Sub(begin.Add(d).Truncate(simInterval)); in < time.Minute || in > simInterval-time.Minute {
		d += 2 * time.Minute
	}
	exact := !s.stepped && time.Since(s.m.quietAt) > 2*simInterval
	s.sellers.mu.Lock()
	clear(s.sellers.polls)
	s.sellers.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
	if s.d.cut.Load() {
		return
	}
	ticks := int(s.wall().Truncate(simInterval).Sub(begin.Truncate(simInterval)) / simInterval)
	s.settle()
	s.sellers.mu.Lock()
	defer s.sellers.mu.Unlock()
	for id, o := range s.m.orders {
		if !watched[id] || o.end != "" || o.gone {
			continue
		}
		n := s.sellers.polls[id]
		if n < ticks-1 || n > ticks+1 || exact && n != ticks {
			s.t.Errorf("%s: %d polls in %s with %d ticks, from %s", id, n, d, ticks, begin)
		}
		s.did["orders watched over ticks"]++
	}
}

// awayFromTicks waits until there are no polls: not at a tick, nor shortly before one.
func (s *sim) awayFromTicks() {
	if in := s.wall().Sub(s.wall().Truncate(simInterval)); in < time.Minute || in > simInterval-2*time.Minute {
		time.Sleep(3 * time.Minute)
	}
}

// stepClock moves the wall clock, or says that it is right.
func (s *sim) stepClock() {
	const day = 24 * time.Hour
	s.check()
	if s.m.off != 0 && s.rnd.IntN(3) > 0 {
		if s.rnd.IntN(2) == 0 {
			if _, ok := s.must(http.MethodPost, "/v1/clock/confirm", map[string]any{}, http.StatusOK); ok {
				s.m.confirmed()
			}
			return
		}
		s.moveClock(-s.m.off)
		return
	}
	steps := []time.Duration{-day, -61 * time.Minute, -30 * time.Minute, 30 * time.Minute, 61 * time.Minute, day, 365 * day, -365 * day, 3652 * day, -3652 * day}
	s.moveClock(steps[s.rnd.IntN(len(steps))])
}

// moveClock moves the wall clock by d, within twenty years.
func (s *sim) moveClock(d time.Duration) {
	if off := time.Duration(s.off.Load()) + d; off.Abs() > 20*365*24*time.Hour {
		return
	}
	if s.m.before = (time.Time{}); !s.m.doubted {
		s.m.before = s.wall()
	}
	s.off.Add(int64(d))
	s.m.stepped(d)
	s.stepped = true
}

// restart stops the daemon as SIGTERM does, and starts it after a while in which the clock may step.
func (s *sim) restart() {
	s.check()
	if err := s.d.stop(); err != nil {
		s.t.Errorf("run: %v", err)
	}
	if s.d.cut.Load() { // it crashed while it stopped
		s.crashed()
		return
	}
	s.away(s.d.dir)
}

// crashNow kills the daemon at rest.
func (s *sim) crashNow() {
	s.settle()
	dir := s.newDir()
	copyData(s.t, s.d.dir, dir)
	old := s.d
	old.cut.Store(true)
	if err := old.stop(); err != nil {
		s.t.Errorf("run: %v", err)
	}
	if err := os.RemoveAll(old.dir); err != nil {
		s.t.Error(err)
	}
	s.away(dir)
}

// away lets time pass without a daemon, and starts it again: whatever was missed, each order gets one poll (G13).
func (s *sim) away(dir string) {
	began, stepped, doubted, off := time.Now(), false, s.m.doubted, s.m.off
	if s.rnd.IntN(2) == 0 {
		time.Sleep(time.Duration(s.rnd.IntN(3*24*60)) * time.Minute)
	}
	if s.rnd.IntN(4) == 0 {
		s.did["clock, over a restart"]++
		steps := []time.Duration{-24 * time.Hour, -2 * time.Hour, time.Hour, 24 * time.Hour, 365 * 24 * time.Hour, 3652 * 24 * time.Hour}
		if d := steps[s.rnd.IntN(len(steps))]; (time.Duration(s.off.Load()) + d).Abs() < 20*365*24*time.Hour {
			s.off.Add(int64(d))
			stepped = true
		}
	}
	s.sellers.mu.Lock()
	clear(s.sellers.polls)
	s.sellers.mu.Unlock()
	s.awayFromTicks()
	s.start(dir)
	down := time.Since(began)
	if still := off > 0 || off+down < -time.Hour; !stepped && s.m.doubted != (doubted && still) && (off+down+time.Hour).Abs() > time.Hour {
		s.t.Errorf("a start %s later: clock doubted %v, and was %v, %s off", down, s.m.doubted, doubted, off)
	}
	time.Sleep(30 * time.Second)
	synctest.Wait()
	s.sellers.mu.Lock()
	defer s.sellers.mu.Unlock()
	for id, o := range s.m.orders {
		if !o.known || o.gone || o.end != "" || s.sellers.mode[o.seller] != "well" || s.paused[o.seller] || time.Since(s.wellSince[o.seller]) < 2*time.Hour {
			continue
		}
		// By a clock that is behind what was recorded, nothing was missed yet.
		n, missed := s.sellers.polls[id], down+min(off, 0) > simInterval && !stepped
		if n > 1 || n == 0 && missed {
			s.t.Errorf("%s: %d polls within half a minute of a start, %s after the stop", id, n, down)
		}
		s.did["orders watched over an outage"]++
	}
}

// setCrash sets a crash at one of the next commits.
func (s *sim) setCrash() {
	if s.crashSet() != nil {
		return
	}
	c := &crashPoint{skip: s.rnd.IntN(30), late: s.rnd.IntN(2) == 0, dir: s.newDir()}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	s.d.crash = c
}
