package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What the API answers, as far as the tests look at it (SPEC §6). The names
// are written out here: one that changes in poller breaks a test.
type (
	orderView struct {
		OrderID     string    `json:"order_id"`
		SellerID    string    `json:"seller_id"`
		State       string    `json:"state"`
		Deadline    time.Time `json:"deadline"`
		Polls       int       `json:"polls"`
		LastOutcome string    `json:"last_outcome"`
		Trouble     *struct {
			Outcome string             `json:"outcome"`
			Clocks  map[string]float64 `json:"clocks"`
		} `json:"trouble"`
		RecentTrouble []struct {
			Outcome    string `json:"outcome"`
			Detail     string `json:"detail"`
			HTTPStatus int    `json:"http_status"`
		} `json:"recent_trouble"`
		Result  *resultView `json:"result"`
		Failure *struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"failure"`
	}
	resultView struct {
		OutputType string     `json:"output_type"`
		Text       string     `json:"text"`
		URL        string     `json:"url"`
		Files      []fileView `json:"files"`
	}
	fileView struct {
		Filename  string `json:"filename"`
		MIMEType  string `json:"mime_type"`
		Size      int    `json:"size"`
		SHA256    string `json:"sha256"`
		ObjectKey string `json:"object_key"`
	}
	eventView struct {
		Number  int             `json:"number"`
		Type    string          `json:"type"`
		OrderID string          `json:"order_id"`
		Data    json.RawMessage `json:"data"`
	}
	sweepView struct {
		ID           int            `json:"id"`
		Tick         int            `json:"tick"`
		Trigger      string         `json:"trigger"`
		State        string         `json:"state"`
		StartedAt    time.Time      `json:"started_at"`
		Due          int            `json:"due"`
		Polled       int            `json:"polled"`
		Skipped      int            `json:"skipped"`
		LeftToSeller int            `json:"left_to_seller"`
		Remaining    int            `json:"remaining"`
		Outcomes     map[string]int `json:"outcomes"`
	}
	pageOf[T any] struct {
		Items []T     `json:"items"`
		Next  *string `json:"next"`
	}
)

// object is a JSON object.
type object = map[string]any

// answer is an HTTP answer, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request to the API and returns whatever it answers. A body of
// bytes is sent as NDJSON, any other as JSON.
func (d *daemon) do(method, path string, body any) (answer, error) {
	var content io.Reader
	contentType := "application/json"
	switch b := body.(type) {
	case nil:
	case []byte:
		content, contentType = bytes.NewReader(b), "application/x-ndjson"
	default:
		text, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.api+path, content)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	if content != nil {
		req.Header.Set("Content-Type", contentType)
	}
	return d.send(req)
}

func (d *daemon) send(req *http.Request) (a answer, err error) {
	client := http.Client{Timeout: patience + time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a = answer{status: resp.StatusCode, header: resp.Header}
	a.body, err = io.ReadAll(resp.Body)
	d.answers.add(fmt.Sprint(resp.Header) + string(a.body))
	return a, err
}

// call sends a request, expects a status, and reads the answer into out (nil: not at all).
func (d *daemon) call(method, path string, body any, status int, out any) {
	d.t.Helper()
	a, err := d.do(method, path, body)
	noError(d.t, err, method+" "+path)
	if a.status != status {
		d.t.Fatalf("%s %s: status %d, want %d: %s", method, path, a.status, status, a.body)
	}
	if out != nil {
		noError(d.t, json.Unmarshal(a.body, out), "decoding the answer to "+method+" "+path)
	}
}

// register puts a seller of a host.
func (d *daemon) register(host int, seller string) {
	d.t.Helper()
	name, value := d.sellers.Credentials(seller)
	body := object{"status_url": d.sellers.StatusURL(host, seller), "headers": object{name: value}}
	d.call(http.MethodPut, "/v1/sellers/"+seller, body, http.StatusCreated, nil)
}

// submit puts in one order.
func (d *daemon) submit(seller, order string) {
	d.t.Helper()
	d.call(http.MethodPost, "/v1/orders", object{"order_id": order, "seller_id": seller}, http.StatusCreated, nil)
}

// submitMany puts in orders by one NDJSON request.
func (d *daemon) submitMany(seller string, orders ...string) {
	d.t.Helper()
	var lines bytes.Buffer
	for _, id := range orders {
		fmt.Fprintf(&lines, `{"order_id":%q,"seller_id":%q}`+"\n", id, seller)
	}
	a, err := d.do(http.MethodPost, "/v1/orders", lines.Bytes())
	noError(d.t, err, "submitting")
	if got, want := lastLine(a.body), fmt.Sprintf(`{"lines":%d,"created":%d,"existing":0,"refused":0}`, len(orders), len(orders)); got != want {
		d.t.Fatalf("submitting: the last line is %s, want %s", got, want)
	}
}

func lastLine(text []byte) string {
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(lines[len(lines)-1])
}

// names returns prefix-0, prefix-1, …
func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = prefix + "-" + strconv.Itoa(i)
	}
	return all
}

func (d *daemon) order(id string) (o orderView) {
	d.t.Helper()
	d.call(http.MethodGet, "/v1/orders/"+id, nil, http.StatusOK, &o)
	return o
}

// orders returns all orders by id.
func (d *daemon) orders() map[string]orderView {
	d.t.Helper()
	all := make(map[string]orderView)
	for o := range allPages[orderView](d, "/v1/orders?limit=1000") {
		if _, twice := all[o.OrderID]; twice {
			d.t.Fatalf("order %s is listed twice", o.OrderID)
		}
		all[o.OrderID] = o
	}
	return all
}

// allPages yields the items of a list, page by page.
func allPages[T any](d *daemon, path string) func(yield func(T) bool) {
	return func(yield func(T) bool) {
		for after := ""; ; {
			var p pageOf[T]
			d.call(http.MethodGet, path+after, nil, http.StatusOK, &p)
			for _, item := range p.Items {
				if !yield(item) {
					return
				}
			}
			if p.Next == nil {
				return
			}
			after = "&after=" + *p.Next
		}
	}
}

// history returns the types of an order's events.
func (d *daemon) history(id string) []string {
	d.t.Helper()
	var p pageOf[eventView]
	d.call(http.MethodGet, "/v1/orders/"+id+"/history", nil, http.StatusOK, &p)
	var types []string
	for _, e := range p.Items {
		types = append(types, strings.TrimPrefix(e.Type, "order."))
	}
	return types
}

// events reads the whole feed.
func (d *daemon) events() []eventView {
	d.t.Helper()
	var all []eventView
	for after := "0"; ; {
		var p pageOf[eventView]
		d.call(http.MethodGet, "/v1/events?limit=1000&after="+after, nil, http.StatusOK, &p)
		if len(p.Items) == 0 {
			return all
		}
		all, after = append(all, p.Items...), *p.Next
	}
}

// checkEvents checks the feed. It returns the end of each order that has ended.
func (d *daemon) checkEvents() map[string]string {
	d.t.Helper()
	ends := map[string]string{}
	for id, e := range checkFeed(d.t, d.events()) {
		if e.ended != nil {
			ends[id] = strings.TrimPrefix(e.ended.Type, "order.")
		}
	}
	return ends
}

// ofOrder is what the feed has of one order.
type ofOrder struct{ submitted, ended *eventView }

// checkFeed checks what always holds of the feed: numbers are dense from 1
// (GUARANTEES, G5), each order is submitted once, and ends at most once (G2), after that.
func checkFeed(t *testing.T, feed []eventView) map[string]ofOrder {
	t.Helper()
	all := make(map[string]ofOrder)
	for i := range feed {
		e := &feed[i]
		if e.Number != i+1 {
			t.Fatalf("event %d stands at place %d", e.Number, i+1)
		}
		o := all[e.OrderID]
		switch e.Type {
		case "order.submitted":
			if o.submitted != nil {
				t.Errorf("order %s was submitted twice", e.OrderID)
			}
			o.submitted = e
		case "order.completed", "order.failed", "order.cancelled":
			if o.ended != nil {
				t.Errorf("order %s: %s after %s", e.OrderID, e.Type, o.ended.Type)
			}
			o.ended = e
		}
		if o.submitted == nil {
			t.Errorf("order %s: event %d (%s) comes before it is submitted", e.OrderID, e.Number, e.Type)
		}
		all[e.OrderID] = o
	}
	return all
}

// sweep runs a sweep by hand to its end.
func (d *daemon) sweep() sweepView {
	d.t.Helper()
	var s sweepView
	d.call(http.MethodPost, "/v1/sweeps", nil, http.StatusAccepted, &s)
	return d.swept(s.ID)
}

// swept waits for the end of a sweep.
func (d *daemon) swept(id int) sweepView {
	d.t.Helper()
	d.waitLog("sweep ended", func(l logLine) bool { return l.number("sweep") == id })
	return d.sweepRecord(id)
}

func (d *daemon) sweepRecord(id int) sweepView {
	d.t.Helper()
	for s := range allPages[sweepView](d, "/v1/sweeps?limit=100") {
		if s.ID == id {
			return s
		}
	}
	d.t.Fatalf("no sweep %d", id)
	return sweepView{}
}

// get asks the metrics listener.
func (d *daemon) get(path string) answer {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, d.metrics+path, nil)
	noError(d.t, err, "making a request")
	a, err := d.send(req)
	noError(d.t, err, "GET "+path)
	return a
}

// samples returns the samples of poller's own metrics, as `name{label="value"}`.
func (d *daemon) samples() map[string]float64 {
	d.t.Helper()
	all := make(map[string]float64)
	for line := range strings.Lines(string(d.get("/metrics").body)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !strings.HasPrefix(name, "poller_") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		noError(d.t, err, "reading the sample "+line)
		all[name] = v
	}
	return all
}

// checkSamples compares some samples.
func (d *daemon) checkSamples(want map[string]float64) {
	d.t.Helper()
	got := d.samples()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if v, there := got[name]; !there || v != want[name] {
			d.t.Errorf("%s is %v (there: %v), want %v", name, v, there, want[name])
		}
	}
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}
