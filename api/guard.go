package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"strings"

	"go.uber.org/zap"

	"poller/order"
)

// maxStack is how much of a panic's stack is logged, in characters: a record stays one line of at most 8 KiB.
const maxStack = 6000

// ServeHTTP guards every route (GUARANTEES, G23): a foreign Host (421), a
// foreign Origin (403), a missing token (401), and only then what the path says.
func (a *API) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := newWriter(rw, r)
	defer a.rescue(w, r)
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	switch {
	case !a.ourHost(r):
		writeProblem(w, problem(http.StatusMisdirectedRequest, "this host is not served here; see api.hosts"))
		return
	case !a.ourOrigin(r):
		writeProblem(w, problem(http.StatusForbidden, "requests from pages of another origin are refused"))
		return
	case !public(r) && !a.authorised(r):
		// RFC 6750: no error code for a request that brought no token at all.
		challenge := `Bearer realm="poller"`
		if r.Header.Get("Authorization") != "" {
			challenge += `, error="invalid_token"`
		}
		h.Set("WWW-Authenticate", challenge)
		writeProblem(w, problem(http.StatusUnauthorized, "a valid bearer token is needed"))
		return
	case path.Clean(r.URL.Path) != r.URL.Path:
		// The mux would redirect.
		writeProblem(w, problem(http.StatusNotFound, "there is no such path"))
		return
	}
	if !public(r) {
		seatOf(r).work()
	}
	if handler, pattern := a.mux.Handler(r); pattern == "" {
		refuse(w, r, handler)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// rescue turns a panic into a 500, once logged, or cuts the connection if an answer has begun.
func (a *API) rescue(w *writer, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v != http.ErrAbortHandler { //nolint:errorlint // the very value, as net/http compares it
		a.log.Error("panic in a request",
			zap.String("method", order.Clip(r.Method, maxName)), zap.String("route", r.Pattern),
			zap.String("panic", order.Clip(fmt.Sprint(v), order.MaxDetail)),
			zap.String("stack", order.Clip(string(debug.Stack()), maxStack)))
		if !w.begun {
			writeProblem(w, problem(http.StatusInternalServerError, "an error of poller's own; its log says more"))
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// public reports whether the request needs no token.
func public(r *http.Request) bool {
	return r.URL.Path == documentPath && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// authorised reports whether the request has a valid token. Digests are
// compared, each with every valid one, so that the time tells nothing of a token's prefix.
func (a *API) authorised(r *http.Request) bool {
	given := r.Header.Values("Authorization")
	if len(given) != 1 {
		return false
	}
	scheme, token, _ := strings.Cut(given[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	digest := sha256.Sum256([]byte(strings.TrimSpace(token)))
	match := 0
	for _, valid := range a.opt.Tokens() {
		match |= subtle.ConstantTimeCompare(digest[:], valid[:])
	}
	return match == 1
}

// ourHost reports whether the Host is ours, so that a name that an attacker
// points at this machine (DNS rebinding) gets nowhere. Ours are localhost, the host of
// the listen address, the names in api.hosts, and a literal address if it is the one that the
// connection came in at. The port does not count: tunnels and proxies change it.
//
// No page in a browser reaches a unix socket by itself, and clients of one
// send any Host: there every Host is ours, unless api.hosts names some.
func (a *API) ourHost(r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	hosts := a.opt.Hosts()
	if local != nil && local.Network() == "unix" && len(hosts) == 0 {
		return true
	}
	host := hostname(r.Host)
	if host == "" {
		return false
	}
	if ip := net.ParseIP(host); ip != nil {
		if tcp, ok := local.(*net.TCPAddr); ok && tcp.IP.Equal(ip) {
			return true
		}
		if ip.IsLoopback() {
			return true
		}
	}
	return host == "localhost" || host == hostname(a.opt.Listen) || among(hosts, host)
}

// ourOrigin reports whether the request comes from no web page, or from one of
// the same origin. Behind a proxy that changes Host, api.hosts names that origin.
func (a *API) ourOrigin(r *http.Request) bool {
	if len(r.Header.Values("Origin")) == 0 {
		return true
	}
	u, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return false // "null" too
	}
	port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	same := strings.EqualFold(strings.TrimSuffix(u.Host, port), strings.TrimSuffix(r.Host, port))
	return same || among(a.opt.Hosts(), hostname(u.Host))
}

func among(hosts []string, host string) bool {
	for _, h := range hosts {
		if hostname(h) == host {
			return true
		}
	}
	return false
}

// hostname is the host of "host:port", "host", "[v6]:port" or "[v6]", in lower case, without a final dot.
func hostname(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// refuse answers for a path or method that no route takes: as the mux would (404, 405 with Allow), but as a problem.
func refuse(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	probe := &statusProbe{header: http.Header{}}
	handler.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", probe.header.Get("Allow"))
		writeProblem(w, problem(http.StatusMethodNotAllowed, "this path does not take the method"))
		return
	}
	writeProblem(w, problem(http.StatusNotFound, "there is no such path"))
}

// statusProbe finds out which status a handler answers.
type statusProbe struct {
	header http.Header
	status int
}

func (p *statusProbe) Header() http.Header         { return p.header }
func (p *statusProbe) WriteHeader(status int)      { p.status = status }
func (p *statusProbe) Write(b []byte) (int, error) { return len(b), nil }
