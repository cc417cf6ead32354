package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"poller/order"
)

// SPEC §6, POST /v1/orders: 201; the same again 200; other content 409; unknown seller 422.
func TestSubmitOne(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	const o1 = `{"order_id":"o1","seller_id":"s","deadline":"2026-11-24T00:00:00+01:00","metadata":{"k":"v"}}`
	a := g.do("POST", "/v1/orders", o1).want(t, 201)
	var v order.View
	a.into(t, &v)
	if a.header.Get("Location") != "/v1/orders/o1" || v.RemoteID != "o1" || v.Metadata["k"] != "v" || v.NextPollAt == nil {
		t.Errorf("%v %+v", a.header, v)
	}
	if !strings.Contains(string(a.body), `"deadline":"2026-11-23T23:00:00Z"`) {
		t.Errorf("times are UTC: %s", a.body)
	}
	for _, tc := range []struct {
		name, body string
		status     int
		field      string
	}{
		{"the same again", o1, 200, ""},
		{"the same, another zone", strings.Replace(o1, "2026-11-24T00:00:00+01:00", "2026-11-23T23:00:00Z", 1), 200, ""},
		{"other content", `{"order_id":"o1","seller_id":"s"}`, 409, ""},
		{"other content, with a fault: compared first", `{"order_id":"o1","seller_id":"s","remote_id":".."}`, 409, ""},
		{"unknown seller", `{"order_id":"o2","seller_id":"nobody"}`, 422, "seller_id"},
		{"no order_id", `{"seller_id":"s"}`, 422, "order_id"},
		{"order_id ..", `{"order_id":"..","seller_id":"s"}`, 422, "order_id"},
		{"seller_id missing", `{"order_id":"o2"}`, 422, "seller_id"},
		{"remote_id empty", `{"order_id":"o2","seller_id":"s","remote_id":""}`, 422, "remote_id"},
		{"deadline past", `{"order_id":"o2","seller_id":"s","deadline":"2026-11-23T12:00:00Z"}`, 422, "deadline"},
		{"deadline no time", `{"order_id":"o2","seller_id":"s","deadline":"tomorrow"}`, 422, "deadline"},
		{"metadata no strings", `{"order_id":"o2","seller_id":"s","metadata":{"a":1}}`, 422, "metadata"},
		{"metadata over 4 KiB", `{"order_id":"o2","seller_id":"s","metadata":{"a":"` + strings.Repeat("x", 4090) + `"}}`, 422, "metadata"},
		{"unknown member", `{"order_id":"o2","seller_id":"s","x":1}`, 422, "x"},
		{"case counts", `{"Order_id":"o2","seller_id":"s"}`, 422, "Order_id"},
		{"a member twice", `{"order_id":"o2","order_id":"o3","seller_id":"s"}`, 400, "order_id"},
		{"not JSON", `nonsense`, 400, ""},
		{"over 1 MiB", `{"order_id":"o2","seller_id":"s"}` + strings.Repeat(" ", 1<<20), 413, ""},
		{"null is absent", `{"order_id":"o4","seller_id":"s","remote_id":null,"deadline":null,"metadata":null}`, 201, ""},
		{"metadata of 4 KiB", `{"order_id":"o5","seller_id":"s","metadata":{"a":"` + strings.Repeat("x", 4088) + `"}}`, 201, ""},
	} {
		a := g.do("POST", "/v1/orders", tc.body)
		if a.status != tc.status {
			t.Errorf("%s: status %d, not %d: %s", tc.name, a.status, tc.status, a.body)
			continue
		}
		if tc.field != "" {
			if got := fieldOf(t, a.problem(t)); got != tc.field {
				t.Errorf("%s: field %q", tc.name, got)
			}
		}
	}
	g.do("POST", "/v1/orders", o1, "Content-Type: application/xml").want(t, 415).problem(t)
	g.do("POST", "/v1/orders", o1, "Content-Type: application/json").want(t, 200)
}

// SPEC §6: the same again is compared before anything else is checked, as it was sent: a deadline may have passed since.
func TestSubmitAgainAfterDeadline(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	past := start.Add(-time.Hour)
	s := order.Submission{OrderID: "o1", SellerID: "s", Deadline: &past}
	g.store.submit(&s, 0, past.Add(-time.Hour))
	g.do("POST", "/v1/orders", `{"order_id":"o1","seller_id":"s","deadline":"2026-11-23T11:00:00Z"}`).want(t, 200)
}

// What the store and the disk refuse (SPEC §3 min_free, GUARANTEES G6, G7).
func TestSubmitRefusedByStore(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	const body = `{"order_id":"o1","seller_id":"s"}`
	for _, tc := range []struct {
		err    error
		status int
	}{
		{order.ErrNoSpace, 507},
		{order.ErrBroken, 503},
		{order.ErrStopping, 503},
		{errors.New("disk on fire"), 500},
	} {
		g.store.fail = fmt.Errorf("store: %w", tc.err)
		if p := g.do("POST", "/v1/orders", body).want(t, tc.status).problem(t); strings.Contains(p.Detail, "fire") {
			t.Errorf("the cause is told: %+v", p)
		}
		var l SubmitLine
		a := g.do("POST", "/v1/orders", body, "Content-Type: application/x-ndjson").want(t, 200)
		if err := json.NewDecoder(strings.NewReader(string(a.body))).Decode(&l); err != nil || l.Status != tc.status || l.Problem == nil {
			t.Errorf("line %s", a.body)
		}
	}
	if n := g.logs.FilterMessage("request failed").Len(); n != 2 {
		t.Errorf("%d errors logged, not 2", n)
	}
	g.store.fail = nil
	g.full.Store(true)
	g.do("POST", "/v1/orders", body).want(t, 507).problem(t)
	g.do("POST", "/v1/orders", body, "Content-Type: application/x-ndjson").want(t, 507).problem(t)
	g.do("POST", "/v1/orders/o1/poll", "").want(t, 507).problem(t)
	g.do("GET", "/v1/orders", "").want(t, 200)
	g.full.Store(false)
	g.do("POST", "/v1/orders", body).want(t, 201)
}

// SPEC §6: GET /v1/orders?state=&seller=; 422 for limit outside 1…1000, unknown cursors and states.
func TestListOrders(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	g.seller("u")
	for i := range 120 {
		g.order(fmt.Sprintf("o%03d", i), []string{"s", "u"}[i%2])
	}
	g.do("POST", "/v1/orders/o001/cancel", "").want(t, 200)
	held := g.store.orders["o002"]
	held.Held = &order.Failure{Code: order.CodeNotFound}
	g.store.orders["o002"] = held
	count := func(query string) (n int) {
		for after := ""; ; {
			var l List[order.View]
			g.do("GET", "/v1/orders?"+query+after, "").want(t, 200).into(t, &l)
			n += len(l.Items)
			if l.Next == nil {
				return n
			}
			after = "&after=" + *l.Next
		}
	}
	for query, want := range map[string]int{
		"limit=1000": 120, "limit=7": 120, "limit=60": 120, "state=cancelled": 1, "state=processing": 119,
		"seller=s": 60, "seller=u&state=processing": 59, "held=true": 1, "held=false": 120,
	} {
		if n := count(query); n != want {
			t.Errorf("%s: %d orders, not %d", query, n, want)
		}
	}
	for query, field := range map[string]string{
		"limit=0": "limit", "limit=1001": "limit", "limit=-1": "limit", "limit=x": "limit", "state=done": "state", "after=zzz": "after",
		"sate=failed": "sate", "seller=a%2Fb": "seller",
	} {
		if f := fieldOf(t, g.do("GET", "/v1/orders?"+query, "").want(t, 422).problem(t)); f != field {
			t.Errorf("%s: field %q", query, f)
		}
	}
}

// A page of long results is cut by its size, and goes on at the next.
func TestListOrdersIsBounded(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	text := strings.Repeat("x", order.MaxInlineText)
	for i := range 300 {
		id := fmt.Sprintf("o%03d", i)
		g.store.orders[id] = order.Order{ID: id, State: order.StateCompleted, Result: &order.Result{OutputType: order.OutputText, Text: &text}}
		g.store.list = append(g.store.list, id)
	}
	total := 0
	for after := ""; ; {
		a := g.do("GET", "/v1/orders?limit=1000"+after, "").want(t, 200)
		if len(a.body) > pageBytes+pageStep*70<<10 {
			t.Fatalf("an answer of %d bytes", len(a.body))
		}
		var l List[order.View]
		a.into(t, &l)
		total += len(l.Items)
		if l.Next == nil {
			break
		}
		after = "&after=" + *l.Next
	}
	if total != 300 {
		t.Errorf("%d orders", total)
	}
}

// SPEC §6: PATCH {deadline} while processing; cancel (again: 200; 409 if ended otherwise); 410 once erased.
func TestOrderChanges(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	for _, id := range []string{"o1", "o2", "o3"} {
		g.order(id, "s")
	}
	var v order.View
	g.do("PATCH", "/v1/orders/o1", `{"deadline":"2026-12-01T00:00:00Z"}`).want(t, 200).into(t, &v)
	if !v.Deadline.Equal(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("deadline %v", v.Deadline)
	}
	for _, body := range []string{`{}`, `{"deadline":null}`, `{"deadline":"2026-11-23T12:00:00Z"}`, `{"deadline":5}`, `{"state":"failed"}`} {
		g.do("PATCH", "/v1/orders/o1", body).want(t, 422).problem(t)
	}
	g.do("PATCH", "/v1/orders/nobody", `{"deadline":"2026-12-01T00:00:00Z"}`).want(t, 404)
	g.do("POST", "/v1/orders/o1/cancel", "").want(t, 200).into(t, &v)
	if v.State != order.StateCancelled || v.EndedAt == nil {
		t.Errorf("%+v", v)
	}
	g.do("POST", "/v1/orders/o1/cancel", "").want(t, 200)
	g.do("PATCH", "/v1/orders/o1", `{"deadline":"2026-12-01T00:00:00Z"}`).want(t, 409).problem(t)
	failed := g.store.orders["o2"]
	failed.State, failed.Failure = order.StateFailed, &order.Failure{Code: order.CodeNotFound}
	g.store.orders["o2"] = failed
	g.do("POST", "/v1/orders/o2/cancel", "").want(t, 409).problem(t)
	g.do("POST", "/v1/orders/nobody/cancel", "").want(t, 404)
	erased := g.store.orders["o3"]
	erased.State, erased.Erased = order.StateCancelled, true
	g.store.orders["o3"] = erased
	for _, path := range []string{"GET /v1/orders/o3", "GET /v1/orders/o3/history", "POST /v1/orders/o3/cancel", "GET /v1/orders/o3/files/0"} {
		method, path, _ := strings.Cut(path, " ")
		g.do(method, path, "").want(t, 410).problem(t)
	}
	g.do("GET", "/v1/orders/nobody", "").want(t, 404).problem(t)
	g.do("GET", "/v1/orders/nobody/history", "").want(t, 404)
	g.do("GET", "/v1/orders/a%20b", "").want(t, 422)
	g.do("GET", "/v1/orders/%2e%2e", "").want(t, 404)
}

// GUARANTEES G29: an order that has ended is erased (204; 404, 409 while processing), and from then on its id answers 410 everywhere.
func TestErase(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	g.order("o1", "s")
	g.do("DELETE", "/v1/orders/nobody", "").want(t, 404).problem(t)
	if p := g.do("DELETE", "/v1/orders/o1", "").want(t, 409).problem(t); !strings.Contains(p.Detail, "cancel it first") {
		t.Errorf("%+v", p)
	}
	g.do("POST", "/v1/orders/o1/cancel", "").want(t, 200)
	if a := g.do("DELETE", "/v1/orders/o1", "").want(t, 204); len(a.body) != 0 {
		t.Errorf("%s", a.body)
	}
	if g.logs.FilterMessage("order erased").Len() != 1 {
		t.Error("it is not in the log")
	}
	g.scheduler.err = order.ErrEnded // which is all that the scheduler knows
	for _, call := range []struct{ method, path, body string }{
		{"DELETE", "/v1/orders/o1", ""},
		{"GET", "/v1/orders/o1", ""},
		{"GET", "/v1/orders/o1/history", ""},
		{"GET", "/v1/orders/o1/files/0", ""},
		{"PATCH", "/v1/orders/o1", `{"deadline":"2026-12-01T00:00:00Z"}`},
		{"POST", "/v1/orders/o1/cancel", ""},
		{"POST", "/v1/orders/o1/poll", ""},
		{"POST", "/v1/orders/o1/uploads", wantedFile},
	} {
		g.do(call.method, call.path, call.body).want(t, 410).problem(t)
	}
	g.order("o2", "s")
	var l List[order.View]
	g.do("GET", "/v1/orders?limit=1", "").want(t, 200).into(t, &l)
	if len(l.Items) != 1 || l.Items[0].OrderID != "o2" {
		t.Errorf("listed: %+v", l)
	}
	g.store.fail = order.ErrNoSpace
	g.store.orders["o3"] = order.Order{ID: "o3", State: order.StateFailed}
	g.do("DELETE", "/v1/orders/o3", "").want(t, 507).problem(t)
}

// SPEC §6: poll answers {outcome, detail, order}; 409 if it has ended.
func TestPollOrder(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.scheduler.obs = order.Observation{Outcome: order.NotFound, Detail: "HTTP 404"}
	g.scheduler.order = order.Order{ID: "o1", State: order.StateProcessing}
	var v PollView
	g.do("POST", "/v1/orders/o1/poll", "").want(t, 200).into(t, &v)
	if v.Outcome != order.NotFound || v.Detail != "HTTP 404" || v.Order.OrderID != "o1" {
		t.Errorf("%+v", v)
	}
	for err, status := range map[error]int{
		order.ErrNotFound: 404, order.ErrEnded: 409, order.ErrNoSpace: 507, order.ErrStopping: 503, order.ErrErased: 410,
	} {
		g.scheduler.err = err
		g.do("POST", "/v1/orders/o1/poll", "").want(t, status).problem(t)
	}
}
