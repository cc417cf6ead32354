package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"

	"poller/internal/fakeseller"
)

// completes has orders of acme submitted and completed, by a sweep.
func (d *daemon) completes(orders ...string) {
	d.t.Helper()
	d.submitMany("acme", orders...)
	d.sweep()
}

// replay asks for deliveries again and expects that so many are.
func (d *daemon) replay(body object, want int) {
	d.t.Helper()
	var v struct{ Replayed int }
	d.call(http.MethodPost, "/v1/webhook/replay", body, http.StatusOK, &v)
	equal(d.t, fmt.Sprintf("events replayed by %v", body), v.Replayed, want)
}

// signers notes who signed what was told of each order.
type signers struct {
	mu  sync.Mutex
	all map[string][]string
}

func (s *signers) reply(a attempt) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[string][]string)
	}
	s.all[a.order] = a.signedBy
	return http.StatusOK
}

func (s *signers) check(t *testing.T, order string, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.all[order], want) {
		t.Errorf("order %s is signed by %q, want %q", order, s.all[order], want)
	}
}

// A new secret is brought in without a moment at which either side is not
// understood: two sign, then the new one alone (SPEC §3, §6; GUARANTEES, G24).
func TestWebhookSecretsRotate(t *testing.T) {
	t.Parallel()
	before, after := secretOf("old"), secretOf("new")
	r := newReceiver(t, before, after) // it knows both, and says who signed
	who := &signers{}
	r.replies(who.reply)
	s := newSite(t, 1)
	s.tells(r, before)
	s.sellers.Handle("acme/*", fakeseller.Quick("done"))
	d := s.start()
	d.register(0, "acme")
	for n, secrets := range [][]string{{before}, {before, after}, {after}} {
		if n > 0 {
			s.tells(r, secrets...)
			d.reload()
		}
		order := "order-" + strconv.Itoa(n)
		d.completes(order)
		r.waitTaken(within(t), n+1)
		who.check(t, order, secrets...)
	}
	d.waitPending(0)
	d.checkTold(r)
	d.checkSamples(map[string]float64{`poller_webhook_attempts_total{result="taken"}`: 3, "poller_outbox_pending": 0})
}

// Events from before the URL was set are not sent unless they are replayed, by
// order or by place in the feed; a replay has the same id and body, and is kept over a kill (SPEC §6).
func TestWebhookURLGoesAndComesBackAndReplay(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	s := newSite(t, 1)
	s.sellers.Handle("acme/*", fakeseller.Quick("done"))
	s.sellers.Handle("acme/failing", fakeseller.Failed("out of paper"))
	s.sellers.Handle("acme/busy", fakeseller.Processing())
	d := s.start()
	d.register(0, "acme")
	d.completes("unset", "busy")
	d.call(http.MethodPost, "/v1/webhook/replay", object{"order_id": "unset"}, http.StatusConflict, nil) // to whom?

	s.tells(r)
	d.reload()
	d.completes("set")
	r.waitTaken(within(t), 1)
	s.set("webhook.url", `""`)
	d.reload()
	d.completes("gone-0", "gone-1", "failing")
	d.submit("acme", "called-off")
	d.call(http.MethodPost, "/v1/orders/called-off/cancel", nil, http.StatusOK, nil)
	d.waitPending(0)
	s.tells(r)
	d.reload()
	d.completes("again")
	r.waitTaken(within(t), 2)
	d.waitPending(0)
	set := r.of("set")
	if again := r.of("again"); set.tries != 1 || again.tries != 1 {
		t.Errorf("told of what ended while there was a URL: %+v, %+v", set, again)
	}

	// By order: one that was never queued, and one that was taken.
	d.replay(object{"order_id": "gone-1"}, 1)
	r.waitTaken(within(t), 3)
	d.replay(object{"order_id": "set"}, 1)
	r.wait(within(t), "a taken event is told again", func() bool { return r.told[set.id].taken == 2 })
	d.call(http.MethodPost, "/v1/webhook/replay", object{"order_id": "busy"}, http.StatusConflict, nil)
	d.call(http.MethodPost, "/v1/webhook/replay", object{"order_id": "nobody"}, http.StatusNotFound, nil)
	d.call(http.MethodPost, "/v1/webhook/replay", object{"after": 1000}, http.StatusGone, nil)

	// By place, over a kill: those that a receiver who hangs has not taken are still there.
	d.waitPending(0)
	r.replies(hangs)
	d.replay(object{"after": set.Store + "-" + strconv.Itoa(set.Number)}, 5)
	d.kill()
	r.replies(taken)
	d = s.start()
	d.waitPending(0)
	r.waitTaken(within(t), 6)
	if again := r.of("set"); again.taken != 2 {
		t.Errorf("an event from before the place was told again: %+v", again)
	}

	// All of the feed, by the command.
	s.set("api.listen", d.api[len("http://"):])
	code, stdout, stderr := s.runPoller("webhook", "replay", "--after", "0")
	equal(t, "the command's exit code and output", fmt.Sprint(code, stdout, stderr), "07 ends of orders will be delivered again\n")
	r.waitTaken(within(t), 7)
	d.waitPending(0)
	d.checkTold(r)
}
