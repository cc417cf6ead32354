package api

import (
	"strings"
	"testing"

	"poller/order"
)

// SPEC §6: PUT creates (201) or replaces (200), and a header value is never shown again.
func TestPutSeller(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	body := `{"status_url":"https://a.example/s/{order_id}","headers":{"Authorization":"Bearer ` + secret + `","X-Key":"` + secret + `"},"max_concurrency":16,"max_per_minute":60,"note":"n"}`
	a := g.do("PUT", "/v1/sellers/s1", body).want(t, 201)
	if got := a.header.Get("Location"); got != "/v1/sellers/s1" {
		t.Errorf("Location %q", got)
	}
	var v SellerView
	a.into(t, &v)
	if v.Headers["authorization"] != "***" || v.Headers["x-key"] != "***" || len(v.Headers) != 2 {
		t.Errorf("headers %v", v.Headers)
	}
	if v.SellerID != "s1" || *v.MaxConcurrency != 16 || *v.MaxPerMinute != 60 || v.Note != "n" || v.ResultBytes != 7 {
		t.Errorf("view %+v", v)
	}
	if h := v.Health; *h.LastOutcome != order.Timeout || h.FailuresInARow != 4 || h.Breaker != order.BreakerOpen || h.LastAnsweredAt != nil {
		t.Errorf("health %+v", h)
	}
	g.do("POST", "/v1/sellers/s1/pause", "").want(t, 200)
	a = g.do("PUT", "/v1/sellers/s1", `{"status_url":"https://b.example/{order_id}","allow_unauthenticated":true}`).want(t, 200)
	v = SellerView{}
	a.into(t, &v)
	if !v.Paused {
		t.Error("paused did not stay as it was")
	}
	if v.MaxConcurrency != nil || len(v.Headers) != 0 || v.Headers == nil {
		t.Errorf("not replaced: %+v", v)
	}
	if n := len(g.scheduler.changed); n != 3 {
		t.Errorf("the scheduler was told %d times, not 3", n)
	}
	if h := g.scheduler.changed[0].Headers; h[0].Value != "Bearer "+secret {
		t.Errorf("stored headers %v", h)
	}
}

// SPEC §6: 400 not JSON, a member twice; 413; 415; 422 values, unknown members.
func TestPutSellerRefused(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	const url = `"status_url":"https://a.example/{order_id}"`
	ok := `{` + url + `,"allow_unauthenticated":true`
	for _, tc := range []struct {
		name, id, body string
		status         int
		field          string // "": none
	}{
		{"not JSON", "s", `{"status_url":`, 400, ""},
		{"empty", "s", ``, 400, ""},
		{"two values", "s", ok + `} {}`, 400, ""},
		{"no UTF-8", "s", ok + ",\"note\":\"\xff\"}", 400, ""},
		{"a member twice", "s", ok + `,"note":"a","note":"b"}`, 400, "note"},
		{"a header twice", "s", `{` + url + `,"headers":{"A":"` + secret + `","A":"x"}}`, 400, "A"},
		{"no object", "s", `[]`, 422, ""},
		{"unknown member", "s", ok + `,"Note":"x"}`, 422, "Note"},
		{"wrong type", "s", ok + `,"note":1}`, 422, "note"},
		{"header no string", "s", `{` + url + `,"headers":{"A":["` + secret + `"]}}`, 422, "headers"},
		{"header null", "s", `{` + url + `,"headers":{"A":null}}`, 422, "headers"},
		{"headers that differ in case", "s", `{` + url + `,"headers":{"a":"` + secret + `","A":"x"}}`, 422, "headers.a"},
		{"no status_url", "s", `{"allow_unauthenticated":true}`, 422, "status_url"},
		{"http", "s", `{"status_url":"http://a.example/{order_id}","allow_unauthenticated":true}`, 422, "status_url"},
		{"no headers", "s", `{` + url + `}`, 422, "headers"},
		{"stars", "s", `{` + url + `,"headers":{"A":"***"}}`, 422, "headers.A"},
		{"max_concurrency 0", "s", ok + `,"max_concurrency":0}`, 422, "max_concurrency"},
		{"max_concurrency 17", "s", ok + `,"max_concurrency":17}`, 422, "max_concurrency"},
		{"max_concurrency 1.5", "s", ok + `,"max_concurrency":1.5}`, 422, "max_concurrency"},
		{"max_per_minute -1", "s", ok + `,"max_per_minute":-1}`, 422, "max_per_minute"},
		{"note too long", "s", ok + `,"note":"` + strings.Repeat("é", 1001) + `"}`, 422, "note"},
		{"id", "s%20x", ok + `}`, 422, "seller_id"},
		{"id too long", strings.Repeat("x", 129), ok + `}`, 422, "seller_id"},
		{"over 1 MiB", "s", ok + strings.Repeat(" ", 1<<20) + `}`, 413, ""},
	} {
		a := g.do("PUT", "/v1/sellers/"+tc.id, tc.body)
		p := a.problem(t)
		if a.status != tc.status {
			t.Errorf("%s: status %d, not %d: %s", tc.name, a.status, tc.status, a.body)
			continue
		}
		if tc.field != "" {
			if got := fieldOf(t, p); got != tc.field {
				t.Errorf("%s: field %q, not %q", tc.name, got, tc.field)
			}
		}
	}
	g.do("PUT", "/v1/sellers/s", ok+`}`, "Content-Type: text/plain").want(t, 415).problem(t)
	g.do("PUT", "/v1/sellers/s", ok+`}`, "Content-Type: application/merge-patch+json").want(t, 415)
	g.do("PUT", "/v1/sellers/s", `{"status_url":"https://BIG.example/{order_id}","allow_unauthenticated":true,"max_concurrency":216}`).want(t, 201)
	exact := ok + strings.Repeat(" ", 1<<20-len(ok)-1) + `}`
	g.do("PUT", "/v1/sellers/s", exact, "Content-Type: application/json; charset=utf-8").want(t, 200)
}

// All faults are told at once.
func TestAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	p := g.do("PUT", "/v1/sellers/s", `{"status_url":"http://x","max_per_minute":0,"note":"`+strings.Repeat("x", 1001)+`"}`).want(t, 422).problem(t)
	if len(p.Errors) != 4 {
		t.Errorf("faults %+v", p.Errors)
	}
}

// SPEC §6: merge patch (RFC 7396); headers, when given, replace all of them; null takes a member away.
func TestPatchSeller(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.do("PUT", "/v1/sellers/s", `{"status_url":"https://a.example/{order_id}","headers":{"A":"1","B":"2"},"max_concurrency":3,"note":"n"}`).want(t, 201)
	for _, tc := range []struct {
		name, body string
		check      func(order.Seller) bool
	}{
		{"nothing", `{}`, func(s order.Seller) bool { return s.Note == "n" && len(s.Headers) == 2 && s.MaxConcurrency == 3 }},
		{"note", `{"note":"m"}`, func(s order.Seller) bool { return s.Note == "m" && len(s.Headers) == 2 }},
		{"headers replace", `{"headers":{"C":"3"}}`, func(s order.Seller) bool { return len(s.Headers) == 1 && s.Headers[0].Name == "C" }},
		{"null", `{"max_concurrency":null,"note":null}`, func(s order.Seller) bool { return s.MaxConcurrency == 0 && s.Note == "" && len(s.Headers) == 1 }},
		{"headers null", `{"headers":null,"allow_unauthenticated":true}`, func(s order.Seller) bool { return len(s.Headers) == 0 && s.AllowUnauthenticated }},
	} {
		g.do("PATCH", "/v1/sellers/s", tc.body, "Content-Type: application/merge-patch+json").want(t, 200)
		if s := g.store.sellers["s"]; !tc.check(s) {
			t.Errorf("%s: %+v", tc.name, s)
		}
	}
	if f := fieldOf(t, g.do("PATCH", "/v1/sellers/s", `{"status_url":null}`).want(t, 422).problem(t)); f != "status_url" {
		t.Errorf("field %q", f)
	}
	g.do("PATCH", "/v1/sellers/nobody", `{}`).want(t, 404).problem(t)
	if s := g.store.sellers["s"]; s.StatusURL == "" {
		t.Error("a refused patch changed the seller")
	}
}

// SPEC §6: the list, DELETE 409 while orders are in processing, pause and resume.
func TestSellerLifeCycle(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for _, id := range []string{"a", "b", "c"} {
		g.seller(id)
	}
	var l List[SellerView]
	g.do("GET", "/v1/sellers?limit=2", "").want(t, 200).into(t, &l)
	if len(l.Items) != 2 || l.Next == nil {
		t.Fatalf("page %+v", l)
	}
	next := *l.Next
	l = List[SellerView]{}
	g.do("GET", "/v1/sellers?limit=2&after="+next, "").want(t, 200).into(t, &l)
	if len(l.Items) != 1 || l.Items[0].SellerID != "c" || l.Next != nil {
		t.Fatalf("last page %+v", l)
	}
	g.order("o1", "a")
	var v SellerView
	g.do("GET", "/v1/sellers/a", "").want(t, 200).into(t, &v)
	if v.ActiveOrders != 1 {
		t.Errorf("active_orders %d", v.ActiveOrders)
	}
	g.do("DELETE", "/v1/sellers/a", "").want(t, 409).problem(t)
	g.do("DELETE", "/v1/sellers/b", "").want(t, 204)
	g.do("DELETE", "/v1/sellers/b", "").want(t, 404).problem(t)
	if len(g.scheduler.deleted) != 1 {
		t.Errorf("the scheduler was told of %v", g.scheduler.deleted)
	}
	g.do("POST", "/v1/sellers/a/pause", "").want(t, 200).into(t, &v)
	if !v.Paused {
		t.Error("not paused")
	}
	g.do("POST", "/v1/sellers/a/resume", "").want(t, 200).into(t, &v)
	if v.Paused {
		t.Error("not resumed")
	}
	g.do("POST", "/v1/sellers/nobody/pause", "").want(t, 404)
}
