package outbox

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poller/order"
)

// SPEC §6: 8 at once, and one that hangs holds up none of the other seven.
func TestASlowAttemptHoldsUpNobody(t *testing.T) {
	in(t, newPlatform(nil), func(w *world) {
		w.p.say(func(a attempt, _ int) (int, time.Duration) {
			if a.number == 1 {
				return 0, 0
			}
			return 200, 100 * time.Millisecond
		})
		w.store.queue(numbers(1, 71)...)
		w.pass(1050 * time.Millisecond)
		pending, _ := w.left()
		equal(t, "pending after a second", pending, 1)
		equal(t, "at once", w.p.most, maxInFlight)
		w.pass(14 * time.Second)
		equal(t, "timeouts", w.results[TimedOut], 1)
		w.p.say(always(200))
		w.pass(6 * time.Second)
		equal(t, "attempts", len(w.p.attempts(1)), 2)
	})
}

// A commit that takes its time does not keep the platform waiting, up to a bound.
func TestSlowCommitsHoldUpNobody(t *testing.T) {
	in(t, newPlatform(always(200)), func(w *world) {
		w.store.queue(numbers(1, 100)...)
		w.store.with(func() { w.store.refuse = errors.New("busy") })
		w.pass(time.Second)
		equal(t, "delivered", len(w.p.attempts(0)), maxOpen)
		w.store.with(func() { w.store.refuse = nil })
		w.pass(10 * time.Second)
		equal(t, "delivered", len(w.p.attempts(0)), 100)
		pending, _ := w.left()
		equal(t, "pending", pending, 0)
	})
}

// GUARANTEES, G25: what a stop cuts off counts for nothing, and nothing outlives Run (or the bubble panics).
func TestAStopCutsOffWhatIsInFlight(t *testing.T) {
	in(t, newPlatform(func(a attempt, _ int) (int, time.Duration) {
		if a.number == 1 {
			return 200, 0
		}
		return 0, 0
	}), func(w *world) {
		w.store.queue(1, 2, 3)
		w.pass(time.Second)
		begun := time.Now()
		if err := w.stop(); err != nil {
			t.Errorf("stopped with %v", err)
		}
		equal(t, "stopped after", time.Since(begun), 0)
		if len(w.store.recorded) != 1 || !w.store.recorded[0].Taken {
			t.Errorf("recorded %+v", w.store.recorded)
		}
		equal(t, "results", fmt.Sprint(w.results), fmt.Sprint(map[Result]int{Taken: 1}))
		equal(t, "log", w.logged(), "")
	})
}

// GUARANTEES, G7: with a full disk what was taken is not told again and again, and is recorded when there is space again.
func TestAFullDisk(t *testing.T) {
	in(t, newPlatform(always(200)), func(w *world) {
		w.store.refuse = fmt.Errorf("commit: %w", order.ErrNoSpace)
		w.store.queue(1, 2, 3)
		w.pass(10 * time.Minute)
		equal(t, "attempts", len(w.p.attempts(0)), 3)
		equal(t, "log", w.logged(), "webhook deliveries can't be read or recorded; trying until they can")
		w.store.with(func() { w.store.refuse = nil })
		w.store.queue(4)
		w.pass(time.Minute)
		pending, _ := w.left()
		equal(t, "pending", pending, 0)
		equal(t, "attempts", len(w.p.attempts(0)), 4)
		equal(t, "lines", w.logs.Len(), 1)
		w.store.with(func() { w.store.refuse = order.ErrNoSpace })
		w.store.queue(5)
		w.pass(time.Minute)
		equal(t, "lines after the second time", w.logs.Len(), 2)
		if err := w.stop(); err != nil {
			t.Errorf("stopped with %v", err)
		}
	})
}

func TestAStoreThatCannotBeRead(t *testing.T) {
	in(t, newPlatform(always(200)), func(w *world) {
		w.store.with(func() { w.store.reads, w.store.unread = 0, errors.New("io") })
		w.store.queue(1)
		w.pass(5*time.Second + 10*time.Second + 20*time.Second + 40*time.Second + 60*time.Second + time.Second)
		equal(t, "reads", w.store.reads, 6)
		equal(t, "lines", w.logs.Len(), 1)
		w.store.with(func() { w.store.unread = nil })
		w.pass(time.Minute)
		equal(t, "attempts", len(w.p.attempts(1)), 1)
	})
}

// GUARANTEES, G6: a database that can't be trusted ends Run.
func TestABrokenStoreEndsRun(t *testing.T) {
	for name, breaks := range map[string]func(*fakeStore){
		"read":   func(s *fakeStore) { s.unread = fmt.Errorf("a: %w", order.ErrBroken) },
		"record": func(s *fakeStore) { s.refuse = fmt.Errorf("b: %w", order.ErrBroken) },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, newPlatform(func(a attempt, _ int) (int, time.Duration) {
				if a.number == 1 {
					return 0, 0 // cut off
				}
				return 200, 0
			}), func(w *world) {
				w.store.queue(1)
				w.pass(time.Second)
				w.store.with(func() { breaks(w.store) })
				w.store.queue(2)
				select {
				case err := <-w.done:
					w.done <- err
					if !errors.Is(err, order.ErrBroken) {
						t.Errorf("ended with %v", err)
					}
				case <-time.After(time.Second):
					t.Error("runs on")
				}
			})
		})
	}
}

// Nothing due: no reads but one a minute. The next one due wakes the outbox, and so does a commit.
func TestTheOutboxSleepsUntilThereIsSomethingToDo(t *testing.T) {
	in(t, newPlatform(refuse(1)), func(w *world) {
		w.store.with(func() { w.store.reads = 0 })
		w.pass(time.Hour)
		if n := w.store.reads; n < 59 || n > 63 {
			t.Errorf("%d reads in an hour with nothing due", n)
		}
		begun := time.Now()
		w.store.queue(1)
		synctest.Wait()
		equal(t, "attempts at once", len(w.p.attempts(1)), 1)
		w.pass(6 * time.Second)
		tries := w.p.attempts(1)
		if len(tries) != 2 || tries[1].at.Sub(begun) > pauses[0]*11/10 {
			t.Errorf("attempts at %v", tries)
		}
		// More is due, says the store, but does not hand it out: it can't take damaged ones out of the way.
		w.store.with(func() { w.store.more, w.store.reads = true, 0 })
		w.store.queue(2)
		w.pass(time.Minute)
		if n := w.store.reads; n > 62 {
			t.Errorf("%d reads in a minute with nothing to get", n)
		}
	})
}

// A page that was read before an attempt was recorded still holds the delivery; it is not made again.
func TestAPageOlderThanARecordedAttempt(t *testing.T) {
	in(t, newPlatform(func(a attempt, _ int) (int, time.Duration) {
		if a.number == 1 {
			return 200, 3 * time.Second
		}
		return 200, 0
	}), func(w *world) {
		w.store.queue(1)
		w.pass(time.Second)
		w.store.with(func() {
			w.store.hold = func() {
				w.store.with(func() { w.store.hold = nil })
				time.Sleep(5 * time.Second) // event 1 is taken and recorded meanwhile
			}
		})
		w.store.queue(2)
		w.pass(time.Minute)
		equal(t, "attempts at 1", len(w.p.attempts(1)), 1)
		equal(t, "attempts at 2", len(w.p.attempts(2)), 1)
	})
}

// SPEC §3: webhook changes live.
func TestReload(t *testing.T) {
	in(t, newPlatform(always(500)), func(w *world) {
		w.store.queue(numbers(1, 20)...)
		w.pass(time.Second)
		equal(t, "log", w.logged(), "webhook is down; resting")
		before := len(w.p.attempts(0))

		w.reload("http://platform/hook", testSecret) // the same again changes nothing
		w.pass(time.Second)
		equal(t, "attempts after nothing changed", len(w.p.attempts(0)), before)

		for _, bad := range []Config{
			{URL: "http://platform/hook"}, {URL: "platform/hook", Secrets: []string{testSecret}}, {URL: "ftp://platform/?x=hush", Secrets: []string{testSecret}},
			{URL: "http://hush:pass@/", Secrets: []string{testSecret}}, {URL: "http://platform/\x7fhush", Secrets: []string{testSecret}},
			{URL: "http://platform/hook", Secrets: []string{testSecret, "whsec_hush"}},
		} {
			if err := w.o.Reload(bad); err == nil || strings.Contains(err.Error(), "hush") {
				t.Errorf("%+v: %v", bad, err)
			}
		}
		w.pass(time.Second)
		equal(t, "attempts after faulty ones", len(w.p.attempts(0)), before)

		w.reload("")
		w.store.queue(21)
		w.pass(24 * time.Hour)
		equal(t, "attempts without a URL", len(w.p.attempts(0)), before)
		pending, _ := w.left()
		equal(t, "pending", pending, 21)

		w.p.say(always(200))
		w.reload("http://other/hook", testSecret)
		synctest.Wait()
		if n := len(w.p.attempts(0)) - before; n != 21 {
			t.Errorf("%d attempts at the new URL, want 21 at once", n)
		}
		equal(t, "log", w.logged(), "webhook is down; resting")
		for _, a := range w.p.attempts(0)[before:] {
			if a.header.Get("Webhook-Signature") == "" {
				t.Error("not signed")
			}
		}
	})
}

// What an attempt at the old URL brings says nothing about the new one.
func TestAttemptsAtAnOldURLDoNotCount(t *testing.T) {
	in(t, newPlatform(func(a attempt, n int) (int, time.Duration) {
		if n == 0 {
			return 500, 5 * time.Second
		}
		return 200, 0
	}), func(w *world) {
		w.store.queue(numbers(1, 8)...)
		w.pass(time.Second)
		w.reload("http://other/hook", otherSecret)
		w.pass(5 * time.Second)
		equal(t, "log", w.logged(), "")
		for _, a := range w.store.recorded {
			if a.Attempts != 0 {
				t.Errorf("counted: %+v", a)
			}
		}
		pending, _ := w.left()
		equal(t, "pending", pending, 0)
		equal(t, "attempts", len(w.p.attempts(0)), 16)
	})
}

// GUARANTEES, G29: an event erased while it waits is sent erased, though it was due when others were read.
func TestAnErasedEventIsNeverSentFromMemory(t *testing.T) {
	in(t, newPlatform(func(attempt, int) (int, time.Duration) { return 200, time.Second }), func(w *world) {
		w.store.queue(numbers(1, 20)...)
		w.pass(500 * time.Millisecond)
		w.store.with(func() {
			for _, d := range w.store.pending {
				d.Event.Erased = true
			}
		})
		w.pass(10 * time.Second)
		sent := w.p.attempts(0)
		slices.SortFunc(sent, func(a, b attempt) int { return a.at.Compare(b.at) })
		for i, a := range sent {
			if erased := strings.Contains(a.body, `"data":{"erased":true}`); erased != (i >= maxInFlight) {
				t.Errorf("attempt %d: %s", i, a.body)
			}
		}
	})
}

// An attempt has 15 s in all; the answer's body is not waited for.
func TestTimesOfAnAttempt(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    Result
		within  time.Duration
	}{
		"no answer":       {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, TimedOut, attemptTimeout},
		"endless 1xx":     {func(w http.ResponseWriter, r *http.Request) { hints(w, r) }, TimedOut, attemptTimeout},
		"head, then none": {func(w http.ResponseWriter, r *http.Request) { drip(w, r, 200, 0) }, Taken, readTimeout},
		"dripping":        {func(w http.ResponseWriter, r *http.Request) { drip(w, r, 202, 100*time.Millisecond) }, Taken, readTimeout},
		"dripping a 500":  {func(w http.ResponseWriter, r *http.Request) { drip(w, r, 500, 100*time.Millisecond) }, Refused, readTimeout},
		"endless body":    {func(w http.ResponseWriter, r *http.Request) { flood(w, r) }, Taken, readTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, newPlatform(always(200)), func(w *world) {
				network := newPipes()
				server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body) // before it has, a server does not notice that nobody waits any more
					c.handler(w, r)
				})}
				go server.Serve(network)
				defer server.Close()
				s, err := newSender(&Config{URL: "http://platform", Secrets: []string{testSecret}}, "st", "v", network.dial)
				if err != nil {
					t.Fatal(err)
				}
				defer s.close()
				e := ended(1)
				a := s.send(w.t.Context(), &e, time.Now())
				if a.result != c.want || a.took > c.within {
					t.Errorf("%+v", a)
				}
			})
		})
	}
}

func wait(r *http.Request, d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
}

func hints(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		w.WriteHeader(http.StatusEarlyHints)
		wait(r, time.Second)
	}
}

func drip(w http.ResponseWriter, r *http.Request, status int, pause time.Duration) {
	w.WriteHeader(status)
	_ = http.NewResponseController(w).Flush()
	for pause > 0 && r.Context().Err() == nil {
		_, _ = w.Write([]byte("."))
		_ = http.NewResponseController(w).Flush()
		wait(r, pause)
	}
	<-r.Context().Done()
}

func flood(w http.ResponseWriter, r *http.Request) {
	b := make([]byte, 32<<10)
	for r.Context().Err() == nil {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}
