package outbox

import (
	"math/rand/v2"
	"testing"
	"time"

	"poller/order"
)

func refuse(bad ...uint64) func(attempt, int) (int, time.Duration) {
	set := make(map[uint64]bool)
	for _, n := range bad {
		set[n] = true
	}
	return func(a attempt, _ int) (int, time.Duration) {
		if set[a.number] {
			return 500, 0
		}
		return 204, 0
	}
}

// SPEC §6: the pauses, within a tenth.
func TestPausesAndJitter(t *testing.T) {
	now := time.Unix(1e9, 0)
	want := []time.Duration{5 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 10 * time.Hour}
	for i, pause := range want {
		for _, c := range []struct{ chance, part float64 }{{0, .9}, {.5, 1}, {1, 1.1}} {
			due, dead := retry(i+1, now, c.chance)
			if got, want := due.Sub(now), time.Duration(float64(pause)*c.part); dead || (got-want).Abs() > time.Microsecond {
				t.Errorf("after %d failures with chance %v: %v, %v, want %v", i+1, c.chance, got, dead, want)
			}
		}
	}
	if _, dead := retry(len(want)+1, now, .5); !dead {
		t.Error("not set aside after the last pause")
	}
	if due, _ := retry(len(want), now, 0); due.Sub(now) != lastPause {
		t.Errorf("lastPause is %v, the shortest last pause %v", lastPause, due.Sub(now))
	}
}

// SPEC §6: an event that is never taken, beside others that are, is tried nine times with the same id and
// body, and then set aside, with one line in the log.
func TestAnEventThatIsNeverTakenIsSetAside(t *testing.T) {
	in(t, newPlatform(refuse(1)), func(w *world) {
		w.store.queue(1)
		for n := range uint64(200) { // something is taken every ten minutes
			w.pass(10 * time.Minute)
			w.store.queue(100 + n)
		}
		w.pass(time.Minute)
		tries := w.p.attempts(1)
		if len(tries) != 9 {
			t.Fatalf("%d attempts, want 9", len(tries))
		}
		for i, a := range tries {
			if a.id != "st-1" || a.body != tries[0].body {
				t.Errorf("attempt %d: id %q, body %s", i+1, a.id, a.body)
			}
			if i == 0 {
				continue
			}
			pause := pauses[i-1]
			if got := a.at.Sub(tries[i-1].at); got < pause*9/10-time.Second || got > pause*11/10+time.Second {
				t.Errorf("pause %d is %v, want %v within a tenth", i, got, pause)
			}
		}
		pending, dead := w.left()
		equal(t, "pending", pending, 0)
		equal(t, "set aside", dead, 1)
		equal(t, "log", w.logged(), "webhook delivery set aside")
		fields := w.logs.All()[0].ContextMap()
		if fields["order_id"] != "o-1" || fields["number"] != uint64(1) || fields["attempts"] != int64(9) || fields["reason"] != "HTTP 500" {
			t.Errorf("logged %v", fields)
		}
		equal(t, "refused", w.results[Refused], 9)
		equal(t, "taken", w.results[Taken], 200)
	})
}

// SPEC §6: after 8 failures in a row one attempt a minute is made, which counts against no event and goes round; when one is
// taken, attempts widen by one with each that is taken, up to 8.
func TestRestAndSlowStart(t *testing.T) {
	in(t, newPlatform(always(503)), func(w *world) {
		w.store.queue(numbers(1, 100)...)
		w.pass(time.Second)
		first := len(w.p.attempts(0))
		if first < 8 || first > 15 { // those in flight when the eighth fails end as they will
			t.Fatalf("%d attempts before the rest", first)
		}
		begun := time.Now()
		w.pass(30 * time.Minute)
		probes := w.p.attempts(0)[first:]
		equal(t, "probes in half an hour", len(probes), 30)
		probed := make(map[uint64]bool)
		for i, a := range probes {
			probed[a.number] = true
			if i > 0 && a.at.Sub(probes[i-1].at) != time.Minute {
				t.Errorf("probe %d comes %v after the one before", i, a.at.Sub(probes[i-1].at))
			}
		}
		equal(t, "events probed", len(probed), 30)
		counted := 0
		for _, a := range w.store.recorded {
			if a.Attempts > 0 {
				counted++
			}
			if a.Attempts > 1 || a.Dead {
				t.Errorf("recorded %+v", a)
			}
		}
		equal(t, "attempts that counted", counted, restAfter)
		equal(t, "log", w.logged(), "webhook is down; resting")
		equal(t, "reason", w.logs.All()[0].ContextMap()["reason"], any("HTTP 503"))

		w.p.say(func(attempt, int) (int, time.Duration) { return 200, time.Second })
		before := len(w.p.attempts(0))
		w.p.watch()
		w.pass(time.Until(begun.Add(31*time.Minute)) - 500*time.Millisecond)
		for _, most := range []int{1, 1, 2, 4, 8, 8} { // the probe, then as many as the second before plus one for each taken
			equal(t, "at once", w.p.now, most)
			w.pass(time.Second)
		}
		w.pass(time.Minute)
		equal(t, "delivered", len(w.p.attempts(0))-before, 100)
		equal(t, "at most at once", w.p.most, maxInFlight)
		pending, dead := w.left()
		equal(t, "pending", pending, 0)
		equal(t, "set aside", dead, 0)
		equal(t, "log", w.logged(), "webhook is down; resting; webhook is taken again")
	})
}

// GUARANTEES, G4: an outage sets nothing aside, however many failures an event had before.
func TestAnOutageSetsNothingAside(t *testing.T) {
	in(t, newPlatform(always(500)), func(w *world) {
		for n := range uint64(9) {
			w.store.put(&order.Delivery{Event: order.Event{Number: n + 1}, Attempts: int(n), DueAt: time.Now()})
		}
		w.store.queue()
		w.pass(3 * 24 * time.Hour)
		pending, dead := w.left()
		equal(t, "pending", pending, 9)
		equal(t, "set aside", dead, 0)
		w.p.say(always(200))
		w.pass(12 * time.Hour)
		pending, dead = w.left()
		equal(t, "pending afterwards", pending, 0)
		equal(t, "set aside afterwards", dead, 0)
	})
}

// Events that are never taken are not every probe: what the platform would take gets its turn.
func TestEventsNeverTakenDoNotBlockOthers(t *testing.T) {
	in(t, newPlatform(refuse(numbers(1, 20)...)), func(w *world) {
		w.store.queue(numbers(1, 20)...)
		w.pass(10 * time.Minute)
		w.store.queue(numbers(21, 30)...)
		w.pass(30 * time.Minute)
		pending, _ := w.left()
		equal(t, "pending", pending, 20)
		w.pass(24 * time.Hour)
		w.store.queue(31) // a life sign
		w.pass(30 * time.Minute)
		equal(t, "life sign", len(w.p.attempts(31)), 1)
	})
}

// Issue 5: three days of outage with 100,000 events waiting cost one small read a minute.
func TestThreeDaysOfOutage(t *testing.T) {
	in(t, newPlatform(always(502)), func(w *world) {
		w.store.queue(numbers(1, 100_000)...)
		w.pass(72 * time.Hour)
		attempts := len(w.p.attempts(0))
		if attempts < 72*60 || attempts > 72*60+15 {
			t.Errorf("%d attempts", attempts)
		}
		if w.store.reads > attempts+10 || w.store.limit > maxOpen+maxInFlight {
			t.Errorf("%d reads, at most %d at once", w.store.reads, w.store.limit)
		}
		w.p.say(func(attempt, int) (int, time.Duration) { return 200, 100 * time.Millisecond })
		w.p.watch()
		w.pass(90 * time.Second)
		equal(t, "at most at once", w.p.most, maxInFlight)
		if n := len(w.p.attempts(0)) - attempts; n < 2000 {
			t.Errorf("%d delivered in a minute and a half", n)
		}
	})
}

// Any platform, any order of its answers: nothing is lost, nothing has two attempts at once, everything arrives in the end.
func TestRandomPlatforms(t *testing.T) {
	for range 5 {
		seed := rand.Uint64()
		random, answers := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1))
		open := make(map[uint64]int)
		in(t, newPlatform(nil), func(w *world) {
			w.p.say(func(a attempt, _ int) (int, time.Duration) {
				after := time.Duration(answers.IntN(20_000)) * time.Millisecond
				if open[a.number]++; open[a.number] > 1 {
					t.Errorf("seed %d: two attempts of %d at once", seed, a.number)
				}
				time.AfterFunc(min(after, attemptTimeout), func() { w.p.mu.Lock(); open[a.number]--; w.p.mu.Unlock() })
				return []int{200, 200, 500, 404}[answers.IntN(4)], after
			})
			for n := range uint64(100) {
				w.store.queue(n + 1)
				w.pass(time.Duration(random.IntN(5000)) * time.Millisecond)
			}
			w.pass(5 * time.Hour)
			w.p.say(always(200))
			w.pass(24 * time.Hour)
			pending, dead := w.left()
			taken := 0
			for _, a := range w.store.recorded {
				if a.Taken {
					taken++
				}
			}
			if pending != 0 || dead+taken != 100 || dead > 0 {
				t.Errorf("seed %d: %d pending, %d set aside, %d taken", seed, pending, dead, taken)
			}
		})
	}
}

// Probes and rests go by the monotonic clock.
func TestAStepOfTheClockDoesNotStopProbes(t *testing.T) {
	in(t, newPlatform(always(500)), func(w *world) {
		w.store.queue(numbers(1, 50)...)
		w.pass(time.Second)
		for _, step := range []time.Duration{time.Hour, -50 * time.Minute, 0} {
			w.mu.Lock()
			w.wallOff = step
			w.mu.Unlock()
			before := len(w.p.attempts(0))
			w.pass(10 * time.Minute)
			if n := len(w.p.attempts(0)) - before; step >= 0 && n != 10 {
				t.Errorf("step %v: %d probes in ten minutes", step, n)
			}
		}
	})
}
