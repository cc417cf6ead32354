package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A history is what the outside was told by a poller in all its lives: what was
// acknowledged, which ends were seen, which events were read. What the platform
// and the sellers saw is kept by them. After any fault, check compares it with
// what is there (GUARANTEES, G1 to G5).
type history struct {
	t        *testing.T
	platform *receiver // nil: there is none
	// mayEnd says whether an order may have ended so. Cancelling is judged by who asked for it.
	mayEnd func(id string, o *orderView) error

	mu     sync.Mutex
	orders map[string]*submission
	feed   []json.RawMessage // events that were read, from 1 on
	seen   int               // observations of any kind
	wake   map[int]chan struct{}
}

// A submission is what was said about one order.
type submission struct {
	content      map[string]any // the body that was posted
	acknowledged bool
	cancelling   bool            // somebody asked for it; perhaps there was no answer
	cancelled    bool            // ... and was told that it was done
	ended        json.RawMessage // the order as it was shown after its end; nil: never
}

func newHistory(t *testing.T) *history {
	return &history{
		t: t, mayEnd: func(string, *orderView) error { return nil },
		orders: make(map[string]*submission), wake: make(map[int]chan struct{}),
	}
}

// note writes something down, and counts it.
func (h *history) note(write func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	write()
	h.seen++
	if done := h.wake[h.seen]; done != nil {
		close(done)
	}
}

// after is closed when so many more things have been seen.
func (h *history) after(n int) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	done := make(chan struct{})
	h.wake[h.seen+n] = done
	return done
}

// posts writes down that an order is about to be submitted.
func (h *history) posts(id string, content map[string]any) {
	h.note(func() { h.orders[id] = &submission{content: content} })
}

// of changes what is known of an order. Those that were not submitted have nothing to be changed.
func (h *history) of(id string, change func(*submission)) {
	h.note(func() {
		if s := h.orders[id]; s != nil {
			change(s)
		}
	})
}

// shown writes down an order as an answer showed it.
func (h *history) shown(order json.RawMessage) {
	var o orderView
	if err := json.Unmarshal(order, &o); err != nil {
		h.t.Errorf("an answer shows %s: %v", order, err)
		return
	}
	h.of(o.OrderID, func(s *submission) {
		switch {
		case o.State == "processing" && s.ended != nil:
			h.t.Errorf("order %s had ended and is processing again:\n%s\n%s", o.OrderID, s.ended, order)
		case o.State == "processing":
		case s.ended == nil:
			s.ended = order
		case !sameJSON(s.ended, order):
			h.t.Errorf("order %s has another end:\n%s\n%s", o.OrderID, s.ended, order)
		}
	})
}

// read writes down an event of the feed, which must be the next one.
func (h *history) read(event json.RawMessage) {
	var e eventView
	if err := json.Unmarshal(event, &e); err != nil {
		h.t.Errorf("the feed has %s: %v", event, err)
	}
	h.note(func() {
		if e.Number != len(h.feed)+1 {
			h.t.Errorf("event %d was read after %d events", e.Number, len(h.feed))
		}
		h.feed = append(h.feed, event)
	})
}

// copy returns the history as it is now; what becomes of h leaves it as it is.
func (h *history) copy() *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := newHistory(h.t)
	c.mayEnd, c.seen, c.feed = h.mayEnd, h.seen, slices.Clone(h.feed)
	for id, s := range h.orders {
		one := *s
		c.orders[id] = &one
	}
	return c
}

// goBack makes the history what it was at an earlier moment, but for what was
// asked for since then: it may or may not have been done.
func (h *history) goBack(past *history) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.feed = past.feed
	for id, s := range h.orders {
		was := submission{}
		if p := past.orders[id]; p != nil {
			was = *p
		}
		was.content, was.cancelling = s.content, s.cancelling
		*s = was
	}
}

// check compares the history with what a running poller has. Nobody else may
// write into either; poller itself may go on meanwhile. It returns the orders.
func (h *history) check(d *daemon) map[string]orderView {
	d.t.Helper()
	told := h.told()
	raw := d.rawOrders()
	feed := d.events() // after both: what they have is in it
	byOrder := checkFeed(d.t, feed)
	h.checkRead(feed)
	orders := make(map[string]orderView, len(raw))
	for id, text := range raw {
		var o orderView
		noError(d.t, json.Unmarshal(text, &o), "decoding order "+id)
		orders[id] = o
		h.shown(text) // an end that was seen is still the same
		h.checkEnd(&o, text, byOrder[id])
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, s := range h.orders {
		h.checkSubmission(id, s, raw[id], byOrder[id])
	}
	for id, e := range byOrder {
		if h.orders[id] == nil || e.submitted == nil {
			h.t.Errorf("the feed has order %s, which nobody submitted", id)
		}
	}
	checkWebhooks(h.t, told, d.status().Store, feed)
	h.checkFiles(d.data("results"), orders)
	return orders
}

// rawOrders returns all orders as they are shown.
func (d *daemon) rawOrders() map[string]json.RawMessage {
	d.t.Helper()
	all := make(map[string]json.RawMessage)
	for text := range allPages[json.RawMessage](d, "/v1/orders?limit=1000") {
		var o struct {
			ID string `json:"order_id"`
		}
		noError(d.t, json.Unmarshal(text, &o), "decoding an order")
		if all[o.ID] != nil {
			d.t.Errorf("order %s is listed twice", o.ID)
		}
		all[o.ID] = text
	}
	return all
}

// checkRead checks that what readers of the feed saw is what it begins with.
func (h *history) checkRead(feed []eventView) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.feed) > len(feed) {
		h.t.Errorf("%d events were read, the feed has only %d; the first that is gone: %s", len(h.feed), len(feed), h.feed[len(feed)])
	}
	for i := range min(len(h.feed), len(feed)) {
		var read eventView
		_ = json.Unmarshal(h.feed[i], &read) // it was looked at when it was read
		if is := feed[i]; read.Type != is.Type || read.OrderID != is.OrderID || !sameJSON(read.Data, is.Data) {
			h.t.Errorf("event %d was read as\n%s\nand is now %+v %s", i+1, h.feed[i], is, is.Data)
		}
	}
}

// checkSubmission checks that what was acknowledged is there, with the same content.
func (h *history) checkSubmission(id string, s *submission, text json.RawMessage, e ofOrder) {
	there := text != nil
	switch {
	case !there && s.acknowledged:
		h.t.Errorf("order %s was acknowledged and is missing", id)
	case there != (e.submitted != nil):
		h.t.Errorf("order %s: there: %v, in the feed: %v", id, there, e.submitted != nil)
	case !there && (s.cancelled || s.ended != nil):
		h.t.Errorf("order %s has ended and is missing", id)
	}
	if !there {
		return
	}
	var has map[string]any
	_ = json.Unmarshal(text, &has) // it was decoded before
	for name, want := range s.content {
		if got := has[name]; fmt.Sprint(got) != fmt.Sprint(want) {
			h.t.Errorf("order %s: %s is %v, was submitted as %v", id, name, got, want)
		}
	}
	if end := has["state"]; s.cancelled && end != "cancelled" || end == "cancelled" && !s.cancelling {
		h.t.Errorf("order %s is %v; cancelling was tried: %v, acknowledged: %v", id, end, s.cancelling, s.cancelled)
	}
}

// checkEnd checks that an order and its end in the feed are the same.
func (h *history) checkEnd(o *orderView, text json.RawMessage, e ofOrder) {
	switch {
	case o.State == "processing":
		return // its end, if there is one, has come since
	case e.ended == nil:
		h.t.Errorf("order %s is %s, and the feed does not say so", o.OrderID, o.State)
		return
	case e.ended.Type != "order."+o.State || !sameJSON(e.ended.Data, text):
		h.t.Errorf("order %s is\n%s\nthe feed says %s\n%s", o.OrderID, text, e.ended.Type, e.ended.Data)
	}
	if err := h.mayEnd(o.OrderID, o); err != nil && o.State != "cancelled" {
		h.t.Errorf("order %s can't have ended so: %v\n%s", o.OrderID, err, text)
	}
}

// told returns what the platform was told.
func (h *history) told() (all []telling) {
	if h.platform == nil {
		return nil
	}
	h.platform.mu.Lock()
	defer h.platform.mu.Unlock()
	for _, e := range h.platform.told {
		all = append(all, *e)
	}
	return all
}

// checkWebhooks checks that everything that the platform was told is in the feed.
func checkWebhooks(t *testing.T, told []telling, store string, feed []eventView) {
	t.Helper()
	for _, e := range told {
		if e.Number > len(feed) || e.Store != store {
			t.Errorf("the platform was told %s, which is not in the feed: %s", e.id, e.body)
		} else if is := feed[e.Number-1]; is.Type != e.Type || !sameJSON(is.Data, e.Data) {
			t.Errorf("the platform was told %s:\n%s\nthe feed has %s\n%s", e.id, e.body, is.Type, is.Data)
		}
	}
}

// checkFiles checks that the files of completed orders are there, with the recorded size and digest.
func (h *history) checkFiles(dir string, orders map[string]orderView) {
	owner := make(map[string]string)
	for id, o := range orders {
		if o.Result == nil {
			continue
		}
		for _, f := range o.Result.Files {
			if f.ObjectKey == "" {
				continue // a link
			}
			content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.ObjectKey)))
			if err != nil || len(content) != f.Size || digest(content) != f.SHA256 {
				h.t.Errorf("order %s: of its file %+v there are %d bytes with the digest %s (%v)", id, f, len(content), digest(content), err)
			}
			if owner[f.ObjectKey] != "" {
				h.t.Errorf("orders %s and %s have the same file %s", id, owner[f.ObjectKey], f.ObjectKey)
			}
			owner[f.ObjectKey] = id
		}
	}
}

// checkDone is check when every order has ended and the platform is well: it is told of every end. Poller is stopped,
// a day passes for the files, and then there are no others than those that orders name; bbolt has nothing to say about the database.
func (h *history) checkDone(d *daemon) {
	d.t.Helper()
	h.t.Helper()
	orders := h.check(d)
	named := make(map[string]bool)
	for id, o := range orders {
		if o.State == "processing" {
			h.t.Errorf("order %s has not ended: %+v", id, o)
		}
		if o.Result != nil {
			for _, f := range o.Result.Files {
				named[f.ObjectKey] = true
			}
		}
	}
	if h.platform != nil {
		d.waitPending(0)
		d.checkTold(h.platform)
	}
	d.stop()
	checkDatabase(h.t, d.data("poller.db"))

	const planted = "orders/planted/orphan" // so that the log says when the sweep of orphans is done
	dir := d.data("results")
	noError(h.t, os.MkdirAll(filepath.Join(dir, "orders/planted"), 0o700), "planting an orphan")
	noError(h.t, os.WriteFile(filepath.Join(dir, planted), nil, 0o600), "planting an orphan")
	for _, name := range resultFiles(h.t, dir) {
		past := time.Now().Add(-25 * time.Hour)
		noError(h.t, os.Chtimes(filepath.Join(dir, name), past, past), "letting a day pass")
	}
	d = d.site.start()
	d.waitLog("files that no order names deleted", nil)
	for _, name := range resultFiles(h.t, dir) {
		if !named[name] {
			h.t.Errorf("%s is left, which no order names", name)
		}
	}
	h.check(d)
	d.call(http.MethodPost, "/v1/sweeps", nil, http.StatusAccepted, nil) // it still works
	d.stop()
}

// resultFiles returns the files in a result folder but for its mark.
func resultFiles(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && !strings.HasSuffix(path, "/poller-store-id") {
			all = append(all, filepath.ToSlash(strings.TrimPrefix(path, dir+"/")))
		}
		return err
	})
	noError(t, err, "listing result files")
	return all
}
