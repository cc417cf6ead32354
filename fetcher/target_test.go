package fetcher

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"poller/order"
)

func TestCheckStatusURL(t *testing.T) {
	c := New(Options{AllowPorts: []uint16{443, 8443}, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}})
	for _, ok := range []string{
		"https://example.com/{order_id}", "HTTPS://Example.COM/a/{order_id}/b?x=1", "https://example.com?id={order_id}", "https://example.com:8443/?{order_id}=1&a={order_id}",
		"https://example.com./s/{order_id}", "https://8.8.8.8/{order_id}", "https://[2606:4700::1111]:443/{order_id}", "https://10.1.2.3/{order_id}",
		"https://example.com/a%2Fb/{order_id}", "https://example.com//x/{order_id}", "https://a_b.example.com/pre-{order_id}.json", "https://example.com/[x]/{order_id}?",
		"https://xn--bcher-kva.example/{order_id}", "https://localhost/{order_id}", "https://e.com/{order_id}" + strings.Repeat("x", 2048-24),
	} {
		if errs := c.CheckSeller(&order.Seller{StatusURL: ok, AllowUnauthenticated: true}); errs != nil {
			t.Errorf("%s: %v", ok, errs)
		}
	}
	for _, b := range []struct{ url, why string }{
		{"", "is missing"},
		{"https://e.com/{order_id}" + strings.Repeat("x", 2048-23), "2049 bytes, at most 2048"},
		{"/status/{order_id}", "must be an absolute URL"},
		{"example.com/{order_id}", "must be an absolute URL"},
		{"http://example.com/{order_id}", "must begin with https://"},
		{" https://example.com/{order_id}", "must begin with https://"},
		{"https:/example.com/{order_id}", "must be an absolute URL"},
		{"https:///{order_id}", "has no host"},
		{"https://:443/{order_id}", "has no host"},
		{"https://user@example.com/{order_id}", "must not have user info"},
		{"https://u:p@example.com/{order_id}", "must not have user info"},
		{"https://example.com/{order_id}#a", "must not have a fragment"},
		{"https://example.com/{order_id}#", "must not have a fragment"},
		{"https://example.com/status", "must contain {order_id}"},
		{"https://example.com/{ORDER_ID}", "may have no other {…}"},
		{"https://example.com/{order_id}/{id}", "may have no other {…}"},
		{"https://example.com/{order_id}}", "may have no other {…}"},
		{"https://example.com/{{order_id}}", "may have no other {…}"},
		{"https://{order_id}.example.com/", "not in host or port"},
		{"https://example.com:{order_id}/", "not in host or port"},
		{"https://{order_id}.example.com/{order_id}", "not in host or port"},
		{"https://example.com/%{order_id}", "% must be followed"},
		{"https://example.com/%4{order_id}", "% must be followed"},
		{"https://example.com/{order_id}%", "% must be followed"},
		{"https://example.com/{order_id}%zz", "% must be followed"},
		{"https://example.com/a b/{order_id}", "must not have spaces"},
		{"https://example.com/{order_id}\r\nX: y", "must not have spaces or control"},
		{"https://example.com/ä/{order_id}", "must be percent-encoded"},
		{`https://example.com\@evil.com/{order_id}`, "must not have user info"},
		{`https://example.com\evil/{order_id}`, "a host name with a character"},
		{`https://example.com/a\b/{order_id}`, "must be percent-encoded"},
		{"https://bücher.example/{order_id}", "xn-- form"},
		{"https://exa mple.com/{order_id}", "a host name with a character"},
		{"https://example.com:80/{order_id}", "port 80 is not an allowed port"},
		{"https://example.com:/{order_id}", "not a number from 1 to 65535"},
		{"https://example.com:0/{order_id}", "not a number from 1 to 65535"},
		{"https://example.com:65536/{order_id}", "not a number from 1 to 65535"},
		{"https://example.com:+443/{order_id}", "not a number from 1 to 65535"},
		{"https://example.com:443:443/{order_id}", "not a number from 1 to 65535"},
		{"https://a..b/{order_id}", "empty or longer than 63"},
		{"https://127.0.0.1/{order_id}", "not public"},
		{"https://[::1]/{order_id}", "not public"},
		{"https://[::ffff:10.0.0.1]/{order_id}", "not public"},
		{"https://[fe80::1%25lo]/{order_id}", "not an IPv6 address"},
		{"https://[127.0.0.1]/{order_id}", "not an IPv6 address"},
		{"https://[::1/{order_id}", "[ without its ]"},
		{"https://10.2.0.1/{order_id}", "not public"},
		{"https://127.1/{order_id}", "ends in a number"},
		{"https://2130706433/{order_id}", "ends in a number"},
		{"https://0x7f.1/{order_id}", "ends in a number"},
		{"https://0x7f000001/{order_id}", "ends in a number"},
		{"https://0177.0.0.1/{order_id}", "ends in a number"},
		{"https://169.254.169.254/{order_id}", "not public"},
	} {
		errs := c.CheckSeller(&order.Seller{StatusURL: b.url, AllowUnauthenticated: true})
		if len(errs) != 1 || errs[0].Field != "status_url" || !strings.Contains(errs[0].Detail, b.why) {
			t.Errorf("%.60s: %v, want %q", b.url, errs, b.why)
		}
	}
}

func TestCheckHeaders(t *testing.T) {
	c := New(Options{AllowPorts: []uint16{443}})
	one := func(name, value string) []order.Header { return []order.Header{{Name: name, Value: value}} }
	many := func(n int) (h []order.Header) {
		for i := range n {
			h = append(h, order.Header{Name: "X-" + itoa(i), Value: "v"})
		}
		return h
	}
	for _, b := range []struct {
		headers    []order.Header
		anonymous  bool
		field, why string
	}{
		{one("Authorization", "Bearer x"), false, "", ""},
		{one("x-api-key", "a\tb c~!"), false, "", ""},
		{one("User-Agent", "me"), false, "", ""},
		{one("Accept", "*/*"), false, "", ""},
		{nil, true, "", ""},
		{many(32), false, "", ""},
		{one("X", strings.Repeat("v", 8<<10)), false, "", ""},
		{nil, false, "headers", "at least one header"},
		{many(33), false, "headers", "33 headers, at most 32"},
		{one("X", strings.Repeat("v", 8<<10+1)), false, "headers.X", "8193 bytes, at most 8192"},
		{one("", "sentinel"), false, "headers", "without a name"},
		{one("Authorization: Bearer sentinel", "x"), false, "headers", "a header name with a character"},
		{one(strings.Repeat("n", 257), "x"), false, "headers", "257 bytes, at most 256"},
		{one("X", ""), false, "headers.X", "empty"},
		{one("X", "***"), false, "headers.X", "***"},
		{one("X", " sentinel"), false, "headers.X", "begins or ends"},
		{one("X", "sentinel\t"), false, "headers.X", "begins or ends"},
		{one("X", "sentinel\r\nY: z"), false, "headers.X", "visible ASCII"},
		{one("X", "sentinel\x00"), false, "headers.X", "visible ASCII"},
		{one("X", "sentinelä"), false, "headers.X", "visible ASCII"},
		{one("X", "sentinel\x7f"), false, "headers.X", "visible ASCII"},
		{append(one("X-Key", "a"), one("x-key", "b")...), false, "headers.x-key", "given twice"},
		{one("host", "a"), false, "headers.host", "can't be chosen"},
		{one("Content-Length", "1"), false, "headers.Content-Length", "can't be chosen"},
		{one("Connection", "close"), false, "headers.Connection", "can't be chosen"},
		{one("Transfer-Encoding", "x"), false, "headers.Transfer-Encoding", "can't be chosen"},
		{one("Accept-Encoding", "br"), false, "headers.Accept-Encoding", "can't be chosen"},
		{one("Keep-Alive", "x"), false, "headers.Keep-Alive", "can't be chosen"},
		{one("Proxy-Authorization", "x"), false, "headers.Proxy-Authorization", "can't be chosen"},
		{one("TE", "trailers"), false, "headers.TE", "can't be chosen"},
		{one("Trailer", "x"), false, "headers.Trailer", "can't be chosen"},
		{one("Upgrade", "h2c"), false, "headers.Upgrade", "can't be chosen"},
		{one("Range", "bytes=0-1"), false, "headers.Range", "can't be chosen"},
		{one("IF-None-Match", "x"), false, "headers.IF-None-Match", "can't be chosen"},
		{one("Expect", "100-continue"), false, "headers.Expect", "can't be chosen"},
	} {
		errs := c.CheckSeller(&order.Seller{StatusURL: "https://e.com/{order_id}", Headers: b.headers, AllowUnauthenticated: b.anonymous})
		switch {
		case b.why == "" && errs == nil:
		case b.why == "" || len(errs) != 1 || errs[0].Field != b.field || !strings.Contains(errs[0].Detail, b.why):
			t.Errorf("%.50v: %v, want %s: %s", b.headers, errs, b.field, b.why)
		case strings.Contains(errs[0].Error(), "sentinel"):
			t.Errorf("shows the value: %v", errs)
		}
	}
	// Everything wrong is told at once.
	if errs := c.CheckSeller(&order.Seller{StatusURL: "x", Headers: append(one("Host", "a"), one("X", "")...)}); len(errs) != 3 {
		t.Errorf("%v", errs)
	}
}

// TestTarget: the seller sees the very bytes of its template, with the id in place.
func TestTarget(t *testing.T) {
	var got string
	s := newSeller(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Host + r.RequestURI
		says(`{"status":"processing"}`)(w, r)
	})
	host := strings.TrimPrefix(s.URL, "https://")
	for tmpl, want := range map[string]string{
		"/s/{order_id}":                      "/s/%s",
		"?id={order_id}":                     "/?id=%s",
		"/{order_id}?":                       "/%s?",
		"/a%2Fb%20c/{order_id}/%7E?q=%26&x=": "/a%2Fb%20c/%s/%7E?q=%26&x=",
		"//a//{order_id}//":                  "//a//%s//",
		"/[a]/(b)/'c'/{order_id};v=1,2?a[]=!$&'()*+,;=:@/?":   "/[a]/(b)/'c'/%s;v=1,2?a[]=!$&'()*+,;=:@/?",
		"/{order_id}/{order_id}?{order_id}={order_id}&a=+%2B": "/%s/%s?%s=%s&a=+%2B",
		"/./../{order_id}": "/./../%s",
		"/*{order_id}":     "/*%s",
	} {
		for _, id := range []string{"o-1", "..a", "a~b_c.-", "..."} {
			ask := s.ask()
			ask.Seller.StatusURL, ask.RemoteID = s.URL+tmpl, id
			obs := s.fetch(t, ask)
			if w := host + strings.ReplaceAll(want, "%s", id); obs.Outcome != order.Processing || got != w {
				t.Errorf("%s: %s %s: the seller saw %s, want %s", tmpl, obs.Outcome, obs.Detail, got, w)
			}
		}
	}
	for _, id := range []string{"", ".", "..", "a/b", "a%2Fb", "a?b", "a#b", "a b"} {
		ask := s.ask()
		ask.RemoteID = id
		if obs := s.fetch(t, ask); obs.Outcome != order.Blocked {
			t.Errorf("id %q: %s", id, obs.Outcome)
		}
	}
}

// FuzzTarget: of an accepted template and id, the request target is the template with the id in place (G18).
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"https://e.com/{order_id}", "https://e.com:8443/a%2fb/{order_id}?{order_id}=1", "https://e.com?x={order_id}", "https://e.com//{order_id}?"} {
		f.Add(s, "o-1")
	}
	g := &guard{ports: []uint16{443, 8443}}
	f.Fuzz(func(t *testing.T, tmpl, id string) {
		parsed, errs := g.parseTemplate(tmpl)
		if errs != nil || !order.ValidID(id) {
			return
		}
		u, err := parsed.url(id)
		if err != nil {
			t.Fatalf("%q accepted, but: %v", tmpl, err)
		}
		rest := tmpl[len("https://")+len(parsed.authority):]
		want := strings.ReplaceAll(rest, placeholder, id)
		if !strings.HasPrefix(want, "/") {
			want = "/" + want
		}
		if got := u.RequestURI(); got != want {
			t.Fatalf("%q with %q: target %q, want %q", tmpl, id, got, want)
		}
		if u.Host != tmpl[len("https://"):len(tmpl)-len(rest)] {
			t.Fatalf("%q: host %q", tmpl, u.Host)
		}
		again, err := url.Parse("https://" + u.Host + want)
		if err != nil || again.Host != u.Host || again.User != nil {
			t.Fatalf("%q: %v %v", tmpl, again, err)
		}
	})
}
