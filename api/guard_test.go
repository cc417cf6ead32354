package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// routes lists "METHOD path" of every operation in the document.
func (g *rig) routes() (all []string) {
	for path, item := range g.api.doc.Paths {
		for method, op := range map[string]any{"GET": item.Get, "PUT": item.Put, "POST": item.Post, "PATCH": item.Patch, "DELETE": item.Delete} {
			if fmt.Sprint(op) != "<nil>" {
				all = append(all, method+" "+path)
			}
		}
	}
	slices.Sort(all)
	return all
}

// concrete fills in the parameters of a path.
func concrete(path string) string {
	return strings.NewReplacer("{seller_id}", "s", "{order_id}", "o", "{n}", "0").Replace(path)
}

// GUARANTEES G23: without a valid token every route answers 401, but for openapi.json.
func TestEveryRouteNeedsAToken(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	all := append(g.routes(), "GET /", "GET /v1/nothing", "OPTIONS /v1/orders", "POST /openapi.json", "GET /docs", "GET //openapi.json", "GET /v1/../openapi.json")
	for _, route := range all {
		method, path, _ := strings.Cut(route, " ")
		if route == "GET /openapi.json" {
			g.do(method, path, "", "Authorization: ").want(t, 200)
			continue
		}
		for _, auth := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Basic " + token, token, "Bearer " + token + "x", "Bearer " + token[:5]} {
			a := g.do(method, concrete(path), "", "Authorization: "+auth)
			if a.status != 401 || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("%s with %q: %d", route, auth, a.status)
			}
			a.problem(t)
		}
	}
	if n := len(g.routes()); n != 27 {
		t.Errorf("%d routes: %v", n, g.routes())
	}
	g.do("GET", "/v1/status", "", "Authorization: bearer "+token).want(t, 200)
	g.do("GET", "/v1/status", "", "Authorization: Bearer another").want(t, 200)
	r := g.request("GET", "/v1/status", nil)
	r.Header["Authorization"] = []string{"Bearer " + token, "Bearer wrong"}
	g.send(r).want(t, 401)
}

// GUARANTEES G23: a foreign Host is refused (421).
func TestHost(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.hosts = []string{"poller.example", "Proxy.Example:443"}
	for host, status := range map[string]int{
		"localhost": 200, "localhost:9999": 200, "LOCALHOST.": 200, "127.0.0.1": 200, "[::1]:8080": 200,
		"poller.internal": 200, "poller.internal:1": 200, "poller.example": 200, "POLLER.example:8443": 200, "proxy.example": 200,
		"evil.example": 421, "localhost.evil.example": 421, "poller.example.evil": 421, "10.0.0.1": 421, "0.0.0.0": 421,
	} {
		g.do("GET", "/v1/status", "", "Host: "+host).want(t, status)
		g.do("GET", "/openapi.json", "", "Host: "+host, "Authorization: ").want(t, status)
	}
}

// GUARANTEES G23: so is a foreign Origin (403).
func TestOrigin(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.hosts = []string{"poller.example"}
	for _, tc := range []struct {
		host, origin string
		status       int
	}{
		{"localhost:8080", "http://localhost:8080", 200},
		{"localhost:8080", "http://localhost:3000", 403},
		{"localhost", "http://localhost:80", 200},
		{"localhost", "https://localhost", 200},
		{"localhost:8080", "https://poller.example", 200},
		{"localhost:8080", "https://evil.example", 403},
		{"localhost:8080", "null", 403},
		{"localhost:8080", "file://localhost:8080", 403},
		{"localhost:8080", "%", 403},
	} {
		if a := g.do("GET", "/v1/status", "", "Host: "+tc.host, "Origin: "+tc.origin); a.status != tc.status {
			t.Errorf("%+v: %d", tc, a.status)
		}
	}
}

// SPEC §6: what no route takes is a problem as well.
func TestNoRoute(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for _, path := range []string{"/", "/v1", "/v1/orders/", "/v1/orders//x", "/v1/./orders", "/docs", "/schemas/Problem.json", "/openapi.yaml", "/v1/check"} {
		g.do("GET", path, "").want(t, 404).problem(t)
	}
	a := g.do("DELETE", "/v1/sweeps", "").want(t, 405)
	a.problem(t)
	if allow := a.header.Get("Allow"); !strings.Contains(allow, "GET") || !strings.Contains(allow, "POST") {
		t.Errorf("Allow: %q", allow)
	}
}

// A panic is a 500 that tells nothing, logged once.
func TestPanic(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	g.store.panics = true
	g.do("POST", "/v1/orders", `{"order_id":"o","seller_id":"s"}`).want(t, 500).problem(t)
	if l := g.logs.FilterMessage("panic in a request").All(); len(l) != 1 || len(l[0].ContextMap()["stack"].(string)) > 8<<10 {
		t.Errorf("logged %v", l)
	}
}

// GUARANTEES G19: a header value is in no answer (rig.send looks at each) and in no log.
func TestSecretsAreNotLogged(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	g.do("PATCH", "/v1/sellers/s", `{"headers":{"A":"`+secret+`"},"note":3}`).want(t, 422)
	g.do("PUT", "/v1/sellers/s", `{"headers":{"A":"`+secret+`\q"}}`).want(t, 400)
	g.do("PUT", "/v1/sellers/s", `{"headers":"`+secret+`"}`).want(t, 422)
	g.do("POST", "/v1/sellers/s/pause", "")
	g.do("GET", "/v1/sellers", "")
	g.do("GET", "/v1/status", "", "Authorization: Bearer "+secret).want(t, 401)
	for _, e := range g.logs.All() {
		if s := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(s, secret) || strings.Contains(s, token) {
			t.Errorf("logged: %s", s)
		}
	}
}

// SPEC §6: GET /openapi.json describes all of it: routes are made from the same source as
// the document; here it is asked which of them serves each operation.
func TestDocumentMatchesRoutes(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	a := g.do("GET", "/openapi.json", "", "Authorization: ").want(t, 200)
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ Responses map[string]any }
		Components struct{ Schemas map[string]any }
	}
	a.into(t, &doc)
	if doc.OpenAPI != "3.1.0" || len(doc.Paths) == 0 {
		t.Fatalf("%.200s", a.body)
	}
	for path, item := range doc.Paths {
		for method, op := range item {
			r := g.request(strings.ToUpper(method), concrete(path), nil)
			if _, pattern := g.api.mux.Handler(r); pattern != strings.ToUpper(method)+" "+path {
				t.Errorf("%s %s is served by %q", method, path, pattern)
			}
			if path != documentPath && op.Responses["401"] == nil {
				t.Errorf("%s %s: no 401", method, path)
			}
		}
	}
	for _, gone := range []string{"ErrorModel", "ErrorDetail"} {
		if doc.Components.Schemas[gone] != nil {
			t.Errorf("%s is in the document", gone)
		}
	}
	for _, needed := range []string{"Problem", "View", "SellerView", "SweepView", "EventView", "StatusView", "SubmitLine", "SubmitSummary", "Upload", "ReplayView"} {
		if doc.Components.Schemas[needed] == nil {
			t.Errorf("%s is not in the document", needed)
		}
	}
	for i := range strings.SplitSeq(string(a.body), `"$ref":"#/components/schemas/`) {
		if name, _, ok := strings.Cut(i, `"`); ok && !strings.HasPrefix(i, "{") && doc.Components.Schemas[name] == nil {
			t.Errorf("$ref to %s, which is not there", name)
		}
	}
}

// SPEC §3: api.listen may be a unix socket; there any Host is ours, unless api.hosts names some.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix:" + path); err == nil {
		t.Error("a socket in use was taken over")
	}
	s := NewServer(g.api, 8, g.api.log)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	ask := func(host string) int {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "GET /v1/status HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", host, token)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode
	}
	if got := ask("anything"); got != 200 {
		t.Errorf("status %d", got)
	}
	g.hosts = []string{"poller.example"}
	if got := ask("anything"); got != 421 {
		t.Errorf("with api.hosts: status %d", got)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	if l, err = Listen("unix:" + path); err != nil {
		t.Errorf("a dead socket is not replaced: %v", err)
	} else {
		l.Close()
	}
	if _, err := Listen("unix:" + t.TempDir()); err == nil {
		t.Error("a folder was replaced")
	}
}

// "OPTIONS *" would be answered by net/http itself, without a token.
func TestOptionsStar(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	c, err := net.Dial("tcp", g.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("%v, %v", res, err)
	}
	res.Body.Close()
}

// Each member that a body's type documents is one that is read, and the other way round.
func TestMembersMatchTheDocument(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for name, m := range map[string]members{
		"SellerBody": new(SellerBody).members(), "SellerPatch": new(SellerBody).members(), "SubmitBody": new(SubmitBody).members(),
		"UploadBody": new(UploadBody).members(), "ReplayBody": new(ReplayBody).members(),
	} {
		schema := g.api.doc.Components.Schemas.Map()[name]
		for member := range m {
			if schema.Properties[member] == nil {
				t.Errorf("%s: %s is read, but not documented", name, member)
			}
		}
		if len(schema.Properties) != len(m) {
			t.Errorf("%s documents %d members, %d are read", name, len(schema.Properties), len(m))
		}
	}
}
