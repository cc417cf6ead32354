package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"poller/internal/fakeseller"
)

// A receiver is the platform's end of the webhook: it judges every signature
// with the library of Standard Webhooks, as platforms do, writes down what it
// was told, and answers as the test says.
type receiver struct {
	t      *testing.T
	server *fakeseller.Server // its TLS, and what a network does to it

	mu       sync.Mutex
	secrets  []string // every attempt must be signed by at least one of them
	reply    func(attempt) int
	after    func(attempt)       // called when the answer has been sent; nil: nothing is
	told     map[string]*telling // by webhook-id
	last     map[string]int      // the newest event's number, by order
	inFlight int
	most     int         // in flight at any one time
	answers  map[int]int // how many by status, hang and breakOff too
	changed  chan struct{}
}

// A telling is all that was said about one event.
type telling struct {
	id, body string // the same at each try
	order    string
	webhookView
	tries, taken int // taken: answered with 2xx
	open, most   int // attempts in flight, and the most of them at once
	first        time.Time
}

// webhookView is the body of a webhook (SPEC §6).
type webhookView struct {
	Type      string          `json:"type"`
	Timestamp time.Time       `json:"timestamp"`
	Store     string          `json:"store"`
	Number    int             `json:"number"`
	Data      json.RawMessage `json:"data"`
}

// An attempt is one request, with a signature that is right.
type attempt struct {
	id, order string
	number    int
	try       int             // of this event, from 1
	signedBy  []string        // of the receiver's secrets
	gone      <-chan struct{} // closed when poller has hung up
}

// What a receiver may do beside answering with a status.
const (
	hang     = -1 // until poller hangs up
	breakOff = -2 // close the connection without an answer
)

// taken answers every attempt as platforms should.
func taken(attempt) int { return http.StatusNoContent }

// hangs answers none.
func hangs(attempt) int { return hang }

// secretOf makes a secret of the webhook.
func secretOf(name string) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(name + strings.Repeat("-", 32))[:32])
}

// newReceiver starts a receiver that takes everything. Without secrets it knows secretOf("platform").
func newReceiver(t *testing.T, secrets ...string) *receiver {
	t.Helper()
	if len(secrets) == 0 {
		secrets = []string{secretOf("platform")}
	}
	r := &receiver{
		t: t, secrets: secrets, reply: taken, told: make(map[string]*telling),
		last: make(map[string]int), answers: make(map[int]int), changed: make(chan struct{}),
	}
	var err error
	r.server, err = fakeseller.Start(context.Background(), fakeseller.Options{Handler: r})
	noError(t, err, "starting a receiver")
	t.Cleanup(r.server.Close)
	return r
}

// tells has poller told of the receiver, signing with these secrets (none: those that it knows).
func (s *site) tells(r *receiver, secrets ...string) {
	s.t.Helper()
	if len(secrets) == 0 {
		secrets = r.secrets
	}
	both := filepath.Join(s.dir, "both.pem")
	noError(s.t, os.WriteFile(both, append(s.sellers.CAPEM(), r.server.CAPEM()...), 0o600), "writing certificates")
	list, err := json.Marshal(secrets)
	noError(s.t, err, "listing secrets")
	s.set("fetch.ca_file", both, "webhook.url", strconv.Quote(r.server.URL(0)+"/hook?from=poller"), "webhook.secrets", string(list))
}

// replies changes what the receiver does from the next attempt on.
func (r *receiver) replies(reply func(attempt) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reply = reply
}

// whenAnswered has a function called after each attempt whose answer has been sent; nil: none.
func (r *receiver) whenAnswered(after func(attempt)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.after = after
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // poller was killed before it had said everything
	}
	a, reply := r.begin(req, body)
	if reply == nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	status := reply(a)
	if status == hang {
		<-req.Context().Done()
	}
	after := r.end(a.id, status)
	if status < 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
	if after != nil {
		_ = http.NewResponseController(w).Flush() // poller may have hung up
		after(a)
	}
}

// begin judges an attempt and writes it down; nil: it is refused.
func (r *receiver) begin(req *http.Request, body []byte) (attempt, func(attempt) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := attempt{id: req.Header.Get(standardwebhooks.HeaderWebhookID), gone: req.Context().Done()}
	for _, secret := range r.secrets {
		judge, err := standardwebhooks.NewWebhook(secret)
		if err == nil && judge.Verify(body, req.Header) == nil {
			a.signedBy = append(a.signedBy, secret)
		}
	}
	var v webhookView
	var o struct {
		OrderID string `json:"order_id"`
	}
	err := json.Unmarshal(body, &v)
	if err == nil {
		err = json.Unmarshal(v.Data, &o)
	}
	if err != nil || len(a.signedBy) == 0 || req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/json" ||
		a.id != v.Store+"-"+strconv.Itoa(v.Number) || req.URL.RawQuery != "from=poller" {
		r.t.Errorf("not a webhook (%v): %s %s %v\n%s", err, req.Method, req.URL, req.Header, body)
		return a, nil
	}
	e := r.told[a.id]
	switch {
	case e == nil:
		e = &telling{id: a.id, body: string(body), order: o.OrderID, webhookView: v, first: time.Now()}
		r.told[a.id] = e
		if was := r.last[o.OrderID]; was >= v.Number {
			r.t.Errorf("order %s: event %d comes after %d", o.OrderID, v.Number, was)
		}
		r.last[o.OrderID] = v.Number
	case e.body != string(body):
		r.t.Errorf("%s: another body than before:\n%s\n%s", a.id, e.body, body)
	}
	e.tries++
	e.open++
	e.most = max(e.most, e.open)
	a.order, a.number, a.try = o.OrderID, v.Number, e.tries
	r.inFlight++
	r.most = max(r.most, r.inFlight)
	r.tell()
	return a, r.reply
}

// end writes down the answer before it is given.
func (r *receiver) end(id string, status int) (after func(attempt)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inFlight--
	r.answers[status]++
	e := r.told[id]
	e.open--
	if status/100 == 2 {
		e.taken++
	}
	r.tell()
	return r.after
}

// copy returns a receiver that knows what this one was told, and does nothing.
func (r *receiver) copy() *receiver {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &receiver{told: make(map[string]*telling), last: maps.Clone(r.last)}
	for id, e := range r.told {
		one := *e
		one.open = 0
		c.told[id] = &one
	}
	return c
}

// tell wakes those that wait. The lock is held.
func (r *receiver) tell() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// wait returns when what the receiver has seen is as wanted. want is called with the lock held.
func (r *receiver) wait(ctx context.Context, what string, want func() bool) {
	r.t.Helper()
	for {
		r.mu.Lock()
		done, changed := want(), r.changed
		state := fmt.Sprintf("%d events told, %d in flight, answers %v", len(r.told), r.inFlight, r.answers)
		r.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			r.t.Fatalf("waiting until %s: %v; %s", what, ctx.Err(), state)
		}
	}
}

// waitTaken waits until so many events have been taken.
func (r *receiver) waitTaken(ctx context.Context, n int) {
	r.t.Helper()
	r.wait(ctx, fmt.Sprintf("%d events are taken", n), func() bool { return len(r.told) >= n && len(r.untaken()) == 0 })
}

// untaken returns the events that were told and never taken. The lock is held.
func (r *receiver) untaken() (left []*telling) {
	for _, e := range r.told {
		if e.taken == 0 {
			left = append(left, e)
		}
	}
	return left
}

// of returns what was told of an order's end; the zero value: nothing.
func (r *receiver) of(order string) telling {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.told {
		if e.order == order {
			return *e
		}
	}
	return telling{}
}

// statusView is the part of GET /v1/status that the tests look at.
type statusView struct {
	Store   string                      `json:"store"`
	Webhook struct{ Pending, Dead int } `json:"webhook"`
}

func (d *daemon) status() (v statusView) {
	d.t.Helper()
	d.call(http.MethodGet, "/v1/status", nil, http.StatusOK, &v)
	return v
}

// waitPending asks until so many deliveries are pending, which may need a commit after the receiver's answer.
func (d *daemon) waitPending(want int) {
	d.t.Helper()
	ctx := within(d.t)
	for {
		v := d.status().Webhook
		if v.Pending == want && v.Dead == 0 {
			return
		}
		if ctx.Err() != nil {
			d.t.Fatalf("webhook: %+v, want %d pending", v, want)
		}
	}
}

// checkTold checks that the webhook was told of every end in the feed, and of
// nothing else: the same number, type, time and data, which are those of the order too.
func (d *daemon) checkTold(r *receiver) {
	d.t.Helper()
	store := d.status().Store
	r.mu.Lock()
	defer r.mu.Unlock()
	ends := 0
	for _, e := range d.events() {
		if e.Type != "order.completed" && e.Type != "order.failed" && e.Type != "order.cancelled" {
			continue
		}
		ends++
		told := r.told[store+"-"+strconv.Itoa(e.Number)]
		if told == nil || told.taken == 0 {
			d.t.Errorf("event %d of order %s was not taken: %+v", e.Number, e.OrderID, told)
			continue
		}
		order, err := d.do(http.MethodGet, "/v1/orders/"+e.OrderID, nil)
		noError(d.t, err, "reading an order")
		if told.Type != e.Type || !sameJSON(told.Data, e.Data) || !sameJSON(told.Data, order.body) {
			d.t.Errorf("event %d: the webhook was told\n%s %s\nthe feed has\n%s %s\nthe order is\n%s", e.Number, told.Type, told.Data, e.Type, e.Data, order.body)
		}
	}
	if ends != len(r.told) {
		d.t.Errorf("%d ends in the feed, %d told", ends, len(r.told))
	}
}

// sameJSON compares two JSON values but for order and white space.
func sameJSON(a, b []byte) bool {
	var texts [2][]byte
	for i, text := range [][]byte{a, b} {
		var v any
		if json.Unmarshal(text, &v) != nil {
			return false
		}
		texts[i], _ = json.Marshal(v) // what was just read can be written
	}
	return bytes.Equal(texts[0], texts[1])
}

// checkFiles checks that an order's files are what its seller sent, by what is recorded and by what is served.
func (d *daemon) checkFiles(order string, sent []fakeseller.File) {
	d.t.Helper()
	o := d.order(order)
	if o.Result == nil || len(o.Result.Files) != len(sent) {
		d.t.Errorf("order %s: result %+v, want %d files", order, o.Result, len(sent))
		return
	}
	for i, f := range sent {
		got, content := o.Result.Files[i], d.file(order, i).body
		want := fmt.Sprint(f.Len(), f.SHA256())
		if recorded, served := fmt.Sprint(got.Size, got.SHA256), fmt.Sprint(len(content), digest(content)); recorded != want || served != want {
			d.t.Errorf("order %s, file %d: recorded %s, served %s, sent %s", order, i, recorded, served, want)
		}
	}
}

// reload has the configuration read again.
func (d *daemon) reload() {
	d.t.Helper()
	mark := d.log.mark()
	d.signal(syscall.SIGHUP)
	d.waitLogAfter(mark, "configuration reloaded", nil)
}
