package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"poller/internal/fakeseller"
)

// tortureKinds are the kinds of orders of a torture; the first part of an id is its kind.
//
//	text, long   complete at the second poll with a text; a long one is kept as a file
//	files        complete at the first poll with one to three files
//	half         sends a whole file and one that is none, and then its files
//	messy        sends rubbish first, and then a text
//	up           names a file that was uploaded, once it was
//	fail         fails
//	never        makes progress for ever
var tortureKinds = []string{"text", "long", "files", "half", "messy", "up", "fail", "never"}

const tortureSellers = 4

// A torture is a poller under a load of every kind, which is stopped again and
// again by whatever means, and what its surroundings remember of it.
type torture struct {
	*site
	*history
	t      *testing.T
	random *rand.Rand // for who holds no lock: the test alone
	proxy  *tlsProxy
	life   int // how often it was loaded

	uploads sync.Mutex
	keys    map[string]string // of whole uploads, by order

	perhaps map[string]*telling // see recalls
}

func newTorture(t *testing.T, random *rand.Rand) *torture {
	t.Helper()
	c := &torture{site: newSite(t, 2), t: t, random: random, proxy: newTLSProxy(t), keys: make(map[string]string)}
	c.history = newHistory(t)
	c.mayEnd = c.checkResult
	c.set("log.level", "info", "fetch.per_seller", "8", "uploads.listen", "127.0.0.1:0", "uploads.public_url", c.proxy.URL)
	c.newPlatform()
	done := c.observed(c.answer)
	processing := fakeseller.Step{JSON: object{"status": "processing", "progress": 10}}
	c.sellers.Handle("*/*", fakeseller.Script{done})
	c.sellers.Handle("*/text-*", fakeseller.Script{processing, done})
	c.sellers.Handle("*/long-*", fakeseller.Script{processing, done})
	c.sellers.Handle("*/half-*", fakeseller.Script{c.observed(sendOneAndAHalf), done})
	c.sellers.Handle("*/messy-*", slices.Concat(fakeseller.InvalidJSON(), fakeseller.WrongOrderID(), fakeseller.Status(http.StatusInternalServerError), fakeseller.Drop(), fakeseller.Script{done}))
	return c
}

// newPlatform starts a platform, of which poller is told when it starts next.
func (c *torture) newPlatform() {
	c.t.Helper()
	c.platform = newReceiver(c.t)
	c.tells(c.platform)
	// One attempt in eight fails, but an event's second try doesn't: after eight in a row the outbox would rest for a minute.
	c.platform.replies(func(a attempt) int {
		c.note(func() {})
		switch {
		case a.try > 1 || a.number%8 != 0:
			return http.StatusOK
		case a.number%16 == 0:
			return breakOff
		}
		return http.StatusInternalServerError
	})
}

// observed is a step that is counted among what the history saw.
func (c *torture) observed(answer func(id string) any) fakeseller.Step {
	return fakeseller.Step{Func: func(w http.ResponseWriter, r *http.Request) {
		c.note(func() {})
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer(path.Base(r.URL.Path))) // poller may be gone
	}}
}

// answer is what an order's seller says in the end, the same each time.
func (c *torture) answer(id string) any {
	kind, _, _ := strings.Cut(id, "-")
	switch kind {
	case "text", "messy", "long":
		return object{"status": "completed", "result_text": tortureText(id)}
	case "fail":
		return object{"status": "failed", "error": "no luck with " + id}
	case "files", "half":
		var all []object
		for _, f := range tortureFiles(id) {
			all = append(all, object{"filename": f.Name, "mime_type": f.MIME, "file_base64": f.Bytes})
		}
		return object{"status": "completed", "output_type": "file", "files": all}
	case "up":
		c.uploads.Lock()
		defer c.uploads.Unlock()
		if key := c.keys[id]; key != "" {
			return object{"status": "completed", "output_type": "file", "object_key": key}
		}
	}
	return object{"status": "processing", "progress": rand.IntN(100)}
}

// sendOneAndAHalf is an answer whose first file has been stored when the second one proves to be none.
func sendOneAndAHalf(id string) any {
	f := tortureFiles(id)[0]
	return object{"status": "completed", "output_type": "file", "files": []object{
		{"filename": f.Name, "mime_type": f.MIME, "file_base64": f.Bytes},
		{"filename": f.Name, "mime_type": f.MIME, "file_base64": "this is no base64!"},
	}}
}

func tortureText(id string) string {
	text := "the text of " + id
	if strings.HasPrefix(id, "long-") {
		text = strings.Repeat(text+"\n", 80<<10/len(text)) // more than is kept in the order
	}
	return text
}

// tortureFiles are the files that an order has, the same each time.
func tortureFiles(id string) []fakeseller.File {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	random := rand.New(rand.NewPCG(h.Sum64(), 0))
	var files []fakeseller.File
	for n := range 1 + random.IntN(3) {
		if n > 0 && strings.HasPrefix(id, "up-") {
			break
		}
		content := randomBytes(1+random.IntN(40<<10), byte(random.Uint32()))
		files = append(files, fakeseller.File{Name: fmt.Sprintf("%s-%d.bin", id, n), MIME: "application/x-torture", Bytes: content})
	}
	return files
}

// checkResult says what is wrong with an order's end, going by what its seller says.
func (c *torture) checkResult(id string, o *orderView) error {
	kind, _, _ := strings.Cut(id, "-")
	want := map[string]string{"fail": "failed", "never": "no end"}[kind]
	if want == "" {
		want = "completed"
	}
	if o.State != want || (o.Result == nil) != (want == "failed") {
		return errors.New("want " + want)
	}
	if o.Result == nil {
		return nil
	}
	var sizes []string // and digests
	switch kind {
	case "text", "messy":
		if o.Result.Text != tortureText(id) {
			return errors.New("another text")
		}
	case "long":
		sizes = append(sizes, fmt.Sprint(len(tortureText(id)), digest([]byte(tortureText(id)))))
	case "files", "half", "up":
		for _, f := range tortureFiles(id) {
			sizes = append(sizes, fmt.Sprint(f.Len(), digest(f.Bytes)))
		}
	}
	var has []string
	for _, f := range o.Result.Files {
		has = append(has, fmt.Sprint(f.Size, f.SHA256))
	}
	if !slices.Equal(has, sizes) {
		return fmt.Errorf("its seller sent %v", sizes)
	}
	return nil
}

// serves waits until a poller that was launched serves, and tells the surroundings where.
func (c *torture) serves(d *daemon) {
	c.t.Helper()
	d.serving()
	d.readToken()
	to, err := url.Parse(d.waitLog("serving", nil).text("uploads"))
	noError(c.t, err, "reading where uploads are taken")
	c.proxy.to = to
}

// begin starts poller for the first time and registers the sellers.
func (c *torture) begin() *daemon {
	c.t.Helper()
	d := c.launch()
	c.serves(d)
	for n := range tortureSellers {
		d.register(n%2, fmt.Sprintf("seller-%d", n))
	}
	return d
}

// load has many clients at once do everything until poller is gone, or until
// the function that it returns is called, which waits for all of them.
func (c *torture) load(d *daemon) (wait func()) {
	c.life++
	var wg sync.WaitGroup
	var stopped bool
	var mu sync.Mutex
	going := func() bool {
		select {
		case <-d.exited:
			return false
		default:
		}
		mu.Lock()
		defer mu.Unlock()
		return !stopped
	}
	for n, does := range []func(*client) error{
		(*client).submitOne, (*client).submitSome, (*client).sweepOnce, (*client).cancelOne, (*client).pollOne, (*client).upload, (*client).follow,
	} {
		seed := c.random.Uint64()
		k := &client{torture: c, d: d, name: fmt.Sprintf("%d-%d", c.life, n), random: rand.New(rand.NewPCG(seed, seed))}
		wg.Go(func() {
			for going() && does(k) == nil {
				time.Sleep(time.Duration(k.random.IntN(4)) * time.Millisecond) // its pace
			}
		})
	}
	return func() {
		mu.Lock()
		stopped = true
		mu.Unlock()
		wg.Wait()
	}
}

// A client does one kind of thing again and again. Each of its deeds returns an error when there is no answer.
type client struct {
	*torture
	d      *daemon
	name   string
	random *rand.Rand
	n      int
	mine   []string // orders that it has submitted
}

// perLife bounds, for each of two clients, the orders that they submit in one life of poller: what is checked in the end grows with them.
const perLife = 60

// order makes up an order and writes down that it is submitted.
func (k *client) order() (id string, content object) {
	k.n++
	id = fmt.Sprintf("%s-%s-%d", tortureKinds[k.random.IntN(len(tortureKinds))], k.name, k.n)
	content = object{"order_id": id, "seller_id": fmt.Sprintf("seller-%d", k.random.IntN(tortureSellers)), "metadata": map[string]string{"buyer": k.name, "note": strings.Repeat("x", k.random.IntN(200))}}
	if k.n%3 == 0 {
		content["deadline"] = time.Now().Add(time.Hour * time.Duration(1+k.random.IntN(1000))).UTC().Format(time.RFC3339)
	}
	k.posts(id, content)
	return id, content
}

// submitOne submits an order by itself, or one of its own once more, with the same content or another one.
func (k *client) submitOne() error {
	if len(k.mine) > 0 && k.random.IntN(4) == 0 || k.n >= perLife {
		id := k.mine[k.random.IntN(len(k.mine))]
		k.mu.Lock()
		content, want := maps.Clone(k.orders[id].content), http.StatusOK
		k.mu.Unlock()
		if k.random.IntN(2) == 0 {
			content["metadata"], want = map[string]string{"other": "content"}, http.StatusConflict
		}
		a, err := k.d.do(http.MethodPost, "/v1/orders", content)
		if a.status != want && a.status != 0 {
			k.t.Errorf("submitting %s again: status %d, want %d", id, a.status, want)
		}
		return err
	}
	id, content := k.order()
	a, err := k.d.do(http.MethodPost, "/v1/orders", content)
	if a.status == http.StatusCreated { // the head was there, whatever came of the rest
		k.of(id, func(s *submission) { s.acknowledged = true })
		k.mine = append(k.mine, id)
	} else if a.status != 0 {
		k.t.Errorf("submitting %s: status %d: %s", id, a.status, a.body)
	}
	return err
}

// submitSome submits up to 20 orders in one request. What is answered of it counts, line by line.
func (k *client) submitSome() error {
	if k.n >= perLife {
		return errors.New("enough")
	}
	var lines bytes.Buffer
	for range 1 + k.random.IntN(20) {
		_, content := k.order()
		_ = json.NewEncoder(&lines).Encode(content) // it can be written
	}
	a, err := k.d.do(http.MethodPost, "/v1/orders", lines.Bytes())
	for line := range bytes.Lines(a.body) {
		var said struct {
			ID     string `json:"order_id"`
			Status int    `json:"status"`
		}
		if json.Unmarshal(line, &said) != nil || said.ID == "" {
			continue // cut off, or the last one
		}
		if said.Status != http.StatusCreated {
			k.t.Errorf("submitting lines: %s", line)
		}
		k.of(said.ID, func(s *submission) { s.acknowledged = true })
	}
	return err
}

// sweepOnce starts a sweep, unless one is under way.
func (k *client) sweepOnce() error {
	_, err := k.d.do(http.MethodPost, "/v1/sweeps", nil)
	time.Sleep(10 * time.Millisecond) // its pace
	return err
}

// any returns an order that was acknowledged, of these kinds (none: of any), or "".
func (k *client) any(kinds ...string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []string
	for id, s := range k.orders {
		kind, _, _ := strings.Cut(id, "-")
		if s.acknowledged && (len(kinds) == 0 || slices.Contains(kinds, kind)) {
			all = append(all, id)
		}
	}
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	return all[k.random.IntN(len(all))]
}

// cancelOne cancels an order, which may have ended, or end at this moment.
func (k *client) cancelOne() error {
	id := k.any()
	if id == "" {
		return nil
	}
	k.of(id, func(s *submission) { s.cancelling = true })
	a, err := k.d.do(http.MethodPost, "/v1/orders/"+id+"/cancel", nil)
	switch {
	case a.status == http.StatusOK:
		k.of(id, func(s *submission) { s.cancelled = true })
		if err == nil {
			k.shown(a.body)
		}
	case a.status != http.StatusConflict && a.status != 0:
		k.t.Errorf("cancelling %s: status %d: %s", id, a.status, a.body)
	}
	time.Sleep(10 * time.Millisecond) // most are to end otherwise
	return err
}

// pollOne has an order polled and believes what it is told.
func (k *client) pollOne() error {
	id := k.any()
	if id == "" {
		return nil
	}
	a, err := k.d.do(http.MethodPost, "/v1/orders/"+id+"/poll", nil)
	var polled struct{ Order json.RawMessage }
	if err == nil && a.status == http.StatusOK && json.Unmarshal(a.body, &polled) == nil {
		k.shown(polled.Order)
	}
	return err
}

// upload uploads a file for an order. When that was acknowledged, its seller completes it.
func (k *client) upload() error {
	id := k.any("up")
	k.uploads.Lock()
	done := id == "" || k.keys[id] != ""
	k.uploads.Unlock()
	if done {
		return nil
	}
	f := tortureFiles(id)[0]
	a, err := k.d.do(http.MethodPost, "/v1/orders/"+id+"/uploads", object{"filename": f.Name, "mime_type": f.MIME, "size": f.Len()})
	if err != nil || a.status == http.StatusConflict { // it was cancelled
		return err
	}
	var u uploadView
	if err := json.Unmarshal(a.body, &u); err != nil || a.status != http.StatusOK {
		k.t.Errorf("preparing an upload for %s: status %d: %s", id, a.status, a.body)
		return err
	}
	if put(k.t, k.proxy.Client(), u, bytes.NewReader(f.Bytes), int(f.Len()))/100 == 2 {
		k.uploads.Lock()
		defer k.uploads.Unlock()
		k.keys[id] = u.ObjectKey
	}
	return nil
}

// follow reads what is new in the feed.
func (k *client) follow() error {
	k.mu.Lock()
	after := len(k.feed)
	k.mu.Unlock()
	items, _, err := k.d.feed(k.t.Context(), fmt.Sprint(after), "1s")
	for _, item := range items {
		k.read(item)
	}
	return err
}

// A memory is what was known at a moment.
type memory struct {
	history  *history
	platform *receiver
	keys     map[string]string
}

// remembers returns what is known now.
func (c *torture) remembers() memory {
	c.uploads.Lock()
	defer c.uploads.Unlock()
	return memory{history: c.copy(), platform: c.platform.copy(), keys: maps.Clone(c.keys)}
}

// forgets takes the world back to a moment that poller, which is gone, will be taken back to. There is another platform
// with the memory of the first one, since that may still be told what never was. What clients have asked for since may
// have been done before the moment was fixed.
func (c *torture) forgets(m memory) {
	c.uploads.Lock()
	c.keys = m.keys
	c.uploads.Unlock()
	c.goBack(m.history)
	was := c.platform.copy()
	c.newPlatform()
	c.platform.mu.Lock()
	defer c.platform.mu.Unlock()
	c.platform.told, c.platform.last = m.platform.told, m.platform.last
	c.perhaps = was.told
}

// recalls gives the platform back what it was told after the moment of forgets and before that was fixed: what is in
// the feed all the same. Poller may know that it was taken.
func (c *torture) recalls(feed []eventView) {
	c.platform.mu.Lock()
	defer c.platform.mu.Unlock()
	for id, e := range c.perhaps {
		if e.Number <= len(feed) && feed[e.Number-1].Type == e.Type && sameJSON(feed[e.Number-1].Data, e.Data) && c.platform.told[id] == nil {
			c.platform.told[id] = e
		}
	}
	c.perhaps = nil
}

// finish lets every order end: those that never would are cancelled.
func (c *torture) finish(d *daemon) {
	c.t.Helper()
	until(c.t, "the end of every order", func() bool {
		left := 0
		for id, o := range d.orders() {
			if o.State != "processing" {
				continue
			}
			c.uploads.Lock()
			waits := strings.HasPrefix(id, "never-") || strings.HasPrefix(id, "up-") && c.keys[id] == ""
			c.uploads.Unlock()
			if left++; waits {
				c.of(id, func(s *submission) { s.cancelling = true })
				d.call(http.MethodPost, "/v1/orders/"+id+"/cancel", nil, http.StatusOK, nil)
			}
		}
		a, err := d.do(http.MethodPost, "/v1/sweeps", nil)
		noError(c.t, err, "starting a sweep")
		if a.status == http.StatusAccepted {
			var s sweepView
			noError(c.t, json.Unmarshal(a.body, &s), "decoding a sweep")
			d.swept(s.ID)
		}
		return left == 0
	})
	c.checkDone(d)
}
