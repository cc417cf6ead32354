package fetcher

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"poller/order"
)

// answers is a handler with this status, headers ("K: V") and body.
func answers(code int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, h := range headers {
			k, v, _ := strings.Cut(h, ": ")
			w.Header().Add(k, v)
		}
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

func TestStatusOutcome(t *testing.T) {
	const ok = `{"status":"processing"}`
	for _, c := range []struct {
		code    int
		body    string
		headers []string
		want    order.Outcome
		detail  string
	}{
		{200, ok, nil, order.Processing, ""},
		{200, ok, []string{"Content-Type: text/html"}, order.Processing, ""},
		{202, ok, nil, order.Processing, ""},
		{200, ok, []string{"Content-Encoding: identity"}, order.Processing, ""},
		{202, `{"status":"completed","result_text":"x"}`, nil, order.HTTPError, "202"},
		{204, "", nil, order.HTTPError, "HTTP 204 No Content"},
		{201, ok, nil, order.HTTPError, "201"},
		{206, ok, nil, order.HTTPError, "206"},
		{300, ok, []string{"Location: /x"}, order.HTTPError, "300"},
		{301, "", nil, order.HTTPError, "without a usable Location"},
		{302, "", []string{"Location: "}, order.HTTPError, "without a usable Location"},
		{302, "", []string{"Location: https://%zz/"}, order.HTTPError, "without a usable Location"},
		{302, "", []string{"Location: /a", "Location: /b"}, order.HTTPError, "without a usable Location"},
		{304, "", nil, order.HTTPError, "304"},
		{400, "", nil, order.HTTPError, "400"},
		{401, "", nil, order.Unauthorized, "401"},
		{403, "", nil, order.Unauthorized, "403"},
		{407, "", nil, order.Unauthorized, "407"},
		{404, "", nil, order.NotFound, "404"},
		{410, "", nil, order.NotFound, "410"},
		{429, "", nil, order.Throttled, "429"},
		{429, "", []string{"Retry-After: 30"}, order.Throttled, "asks to wait 30s"},
		{503, "", []string{"Retry-After: 30"}, order.Throttled, "503"},
		{503, "", []string{"Retry-After: soon"}, order.Throttled, "503"},
		{503, "", nil, order.HTTPError, "503"},
		{500, "", nil, order.HTTPError, "HTTP 500 Internal Server Error"},
		{522, "", nil, order.HTTPError, "HTTP 522"},
		{999, "", nil, order.HTTPError, "HTTP 999"},
		{200, ok, []string{"Content-Encoding: br"}, order.InvalidResponse, "content coding"},
		{200, ok, []string{"Content-Encoding: gzip, gzip"}, order.InvalidResponse, "content coding"},
		{200, ok, []string{"Content-Encoding: gzip"}, order.InvalidResponse, "gzip coding is broken"},
	} {
		t.Run(fmt.Sprint(c.code, c.headers), func(t *testing.T) {
			s := newSeller(t, answers(c.code, c.body, c.headers...))
			obs := s.fetch(t, s.ask())
			if obs.Outcome != c.want || !strings.Contains(obs.Detail, c.detail) || !obs.Answered || obs.HTTPStatus != c.code || obs.NoConnection || obs.Duration <= 0 {
				t.Errorf("%+v, want %s %q", obs, c.want, c.detail)
			}
			if wait := strings.Contains(fmt.Sprint(c.headers), "Retry-After: 30"); (obs.RetryAfter != nil) != wait || wait && *obs.RetryAfter != 30*time.Second {
				t.Errorf("Retry-After %v", obs.RetryAfter)
			}
		})
	}
}

func TestRetryAfterOnProcessing(t *testing.T) {
	s := newSeller(t, answers(200, `{"status":"processing"}`, "Retry-After: 3600"))
	if obs := s.fetch(t, s.ask()); obs.RetryAfter == nil || *obs.RetryAfter != time.Hour {
		t.Errorf("%+v", obs)
	}
}

func TestRequest(t *testing.T) {
	var got *http.Request
	s := newSeller(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		says(`{"status":"processing"}`)(w, r)
	})
	ask := s.ask()
	s.fetch(t, ask)
	for k, v := range map[string]string{"Accept": "application/json", "Cache-Control": "no-cache", "User-Agent": "poller/test", "Accept-Encoding": "gzip", "Authorization": sentinel} {
		if got.Header.Get(k) != v {
			t.Errorf("%s: %q", k, got.Header.Get(k))
		}
	}
	if got.Method != http.MethodGet || got.ProtoMajor != 1 || got.TLS.Version < tls.VersionTLS12 || len(got.Header) != 5 {
		t.Errorf("%s %s %v", got.Method, got.Proto, got.Header)
	}
	ask = s.ask() // a seller is never changed, only replaced
	ask.Seller.Headers = []order.Header{{Name: "user-agent", Value: "me"}, {Name: "accept", Value: "*/*"}}
	s.fetch(t, ask)
	if got.UserAgent() != "me" || got.Header.Get("Accept") != "*/*" {
		t.Errorf("%v", got.Header)
	}
}

func TestGzip(t *testing.T) {
	body := `{"status":"completed","file_base64":"` + b64(3_000_000) + `"}`
	pack := func(s string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		io.WriteString(z, s)
		z.Close()
		return b.String()
	}
	s := newSeller(t, answers(200, pack(body), "Content-Encoding: gzip"))
	if obs := s.fetch(t, s.ask()); obs.Outcome != order.Completed || obs.Result.Files[0].Size != 3_000_000 || obs.Bytes != int64(len(body)) {
		t.Errorf("%+v", obs)
	}
	s = newSeller(t, answers(200, pack(body)[:1000], "Content-Encoding: gzip"))
	if obs := s.fetch(t, s.ask()); obs.Outcome != order.InvalidResponse || len(s.files.keys()) != 0 {
		t.Errorf("cut: %+v", obs)
	}
	bomb := pack(`{"status":"processing","x":"` + strings.Repeat("0", 100<<20/scale) + `"}`)
	s = newSeller(t, answers(200, bomb, "Content-Encoding: gzip"), func(o *Options) { o.MaxBody = 4 << 20 })
	if obs := s.fetch(t, s.ask()); obs.Outcome != order.InvalidResponse || !strings.Contains(obs.Detail, "larger than") {
		t.Errorf("bomb: %+v", obs)
	}
}

func TestRedirects(t *testing.T) {
	other := newSeller(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get("X-Key") != "" || r.UserAgent() != "poller/test" {
			t.Errorf("seller's headers went to another origin: %v", r.Header)
		}
		if back := r.URL.Query().Get("back"); back != "" {
			http.Redirect(w, r, back, http.StatusFound)
			return
		}
		says(`{"status":"processing"}`)(w, r)
	})
	var wantKey atomic.Bool
	s := newSeller(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("X-Key") == "sentinel"; got != wantKey.Load() && r.URL.Path != "/status/o-1" {
			t.Errorf("%s: header sent: %v", r.URL, got)
		}
		q := r.URL.Query()
		switch r.URL.Path {
		case "/end":
			says(`{"status":"processing"}`)(w, r)
		case "/n":
			n := len(q.Get("n"))
			if n == 0 {
				says(`{"status":"processing"}`)(w, r)
				return
			}
			w.Header().Set("Location", "/n?n="+strings.Repeat("x", n-1))
			w.WriteHeader(http.StatusTemporaryRedirect)
		default:
			w.Header().Set("Location", q.Get("to"))
			w.WriteHeader(http.StatusFound)
			io.WriteString(w, "moved")
		}
	})
	ports := []uint16{portOfURL(t, s.URL), portOfURL(t, other.URL)}
	s.opts.AllowPorts = ports
	s.opts.RootCAs = s.opts.RootCAs.Clone()
	s.opts.RootCAs.AddCert(other.Certificate())
	s.c.Reload(s.opts)
	host := strings.TrimPrefix(s.URL, "https://")
	for _, c := range []struct {
		name, to string
		key      bool
		want     order.Outcome
		detail   string
	}{
		{"same origin", "/end", true, order.Processing, ""},
		{"same origin, absolute", s.URL + "/end#frag", true, order.Processing, ""},
		{"same origin, no scheme", "//" + host + "/end", true, order.Processing, ""},
		{"other port", other.URL + "/x", false, order.Processing, ""},
		{"there and back", other.URL + "/x?back=" + s.URL + "/end", false, order.Processing, ""},
		{"three in all", "/n?n=xx", true, order.Processing, ""},
		{"a fourth", "/n?n=xxx", true, order.Blocked, "more than 3 redirects"},
		{"loop", "/status/o-1?to=/status/o-1", true, order.HTTPError, "Location"},
		{"http", "http://" + host + "/end", true, order.Blocked, "not to https"},
		{"ftp", "ftp://example.com/", true, order.Blocked, "not to https"},
		{"inward", "https://10.0.0.1:" + itoa(int(ports[0])) + "/", true, order.Blocked, "not public"},
		{"metadata", "https://169.254.169.254:" + itoa(int(ports[0])) + "/", true, order.Blocked, "not public"},
		{"IPv6 loopback", "https://[::1]:" + itoa(int(ports[0])) + "/", true, order.Blocked, "not public"},
		{"zone", "https://[fe80::1%25lo]:" + itoa(int(ports[0])) + "/", true, order.Blocked, ""},
		{"odd address", "https://2130706433:" + itoa(int(ports[0])) + "/", true, order.Blocked, "ends in a number"},
		{"port", "https://127.0.0.1:22/", true, order.Blocked, "port 22"},
		{"user info", "https://u:p@" + host + "/end", true, order.Blocked, "user info"},
		{"no host", "https:///end", true, order.HTTPError, "Location"},
		{"opaque", "https:end", true, order.HTTPError, "Location"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantKey.Store(c.key)
			ask := s.ask()
			ask.Seller.Headers = append(ask.Seller.Headers, order.Header{Name: "X-Key", Value: "sentinel"})
			ask.Seller.StatusURL += "?to=" + strings.NewReplacer(":", "%3A", "/", "%2F", "?", "%3F", "#", "%23", "&", "%26", "%", "%25").Replace(c.to)
			obs := s.fetch(t, ask)
			if obs.Outcome != c.want || !strings.Contains(obs.Detail, c.detail) || !obs.Answered {
				t.Errorf("%s %q, want %s %q", obs.Outcome, obs.Detail, c.want, c.detail)
			}
		})
	}
	s.opts.Redirects = 0
	s.c.Reload(s.opts)
	ask := s.ask()
	ask.Seller.StatusURL += "?to=/end"
	if obs := s.fetch(t, ask); obs.Outcome != order.Blocked {
		t.Errorf("redirects: 0: %+v", obs)
	}
}

func TestTLSDetails(t *testing.T) {
	ca := newCA(t)
	now := time.Now()
	loopback := []net.IP{net.IPv4(127, 0, 0, 1)}
	expired := now.Add(-48 * time.Hour)
	for _, c := range []struct {
		name string
		conf *tls.Config
		pool *x509.CertPool
		want string
	}{
		{"expired", &tls.Config{Certificates: []tls.Certificate{ca.issue(t, now.Add(-72*time.Hour), expired, loopback)}}, ca.pool, "TLS: certificate expired on " + expired.UTC().Format(time.DateOnly)},
		{"not yet", &tls.Config{Certificates: []tls.Certificate{ca.issue(t, now.Add(time.Hour), now.Add(2*time.Hour), loopback)}}, ca.pool, "TLS: certificate not valid before"},
		{"other name", &tls.Config{Certificates: []tls.Certificate{ca.issue(t, now.Add(-time.Hour), now.Add(time.Hour), []net.IP{net.IPv4(10, 1, 2, 3)}, "x.example")}}, ca.pool, "TLS: certificate is for another host name"},
		{"unknown authority", &tls.Config{Certificates: []tls.Certificate{ca.issue(t, now.Add(-time.Hour), now.Add(time.Hour), loopback)}}, newCA(t).pool, "TLS: certificate signed by an unknown authority"},
		{"TLS 1.1", &tls.Config{Certificates: []tls.Certificate{ca.issue(t, now.Add(-time.Hour), now.Add(time.Hour), loopback)}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, ca.pool, "TLS: "},
		{"client certificate", &tls.Config{Certificates: []tls.Certificate{ca.issue(t, now.Add(-time.Hour), now.Add(time.Hour), loopback)}, ClientAuth: tls.RequireAnyClientCert}, ca.pool, "TLS: the server refuses: certificate required"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ln, err := tls.Listen("tcp", "127.0.0.1:0", c.conf)
			if err != nil {
				t.Fatal(err)
			}
			s := listen(t, ln, c.pool, func(conn net.Conn) { io.Copy(io.Discard, conn) })
			obs := s.fetch(t, s.ask())
			if obs.Outcome != order.Unreachable || !strings.HasPrefix(obs.Detail, c.want) || obs.Answered {
				t.Errorf("%+v, want %q", obs, c.want)
			}
			if c.name != "client certificate" && !obs.NoConnection {
				t.Error("NoConnection")
			}
		})
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := listen(t, ln, ca.pool, func(conn net.Conn) { io.WriteString(conn, "SSH-2.0-x\r\n"); io.Copy(io.Discard, conn) })
	if obs := s.fetch(t, s.ask()); obs.Outcome != order.Unreachable || !strings.Contains(obs.Detail, "does not speak TLS") || !obs.NoConnection {
		t.Errorf("no TLS: %+v", obs)
	}
	s.c.Close()
	ln.Close()
	if obs := s.fetch(t, s.ask()); obs.Outcome != order.Unreachable || obs.Detail != "connect: connection refused" || !obs.NoConnection {
		t.Errorf("refused: %+v", obs)
	}
}

// TestKeptConnection: connections are kept, and one that the server closed meanwhile fails no poll.
func TestKeptConnection(t *testing.T) {
	var conns atomic.Int32
	for _, body := range []string{`{"status":"processing"}`, `{"status":"processing","x":"` + strings.Repeat("x", 200000) + `"}`} {
		s := newSeller(t, says(body))
		for range 5 {
			if obs := s.fetch(t, s.ask()); obs.Outcome != order.Processing {
				t.Fatalf("%+v", obs)
			}
		}
		s.CloseClientConnections()
		for range 3 {
			if obs := s.fetch(t, s.ask()); obs.Outcome != order.Processing {
				t.Fatalf("after the server closed: %+v", obs)
			}
		}
	}
	s := rawServer(t, func(conn net.Conn) {
		conns.Add(1)
		buf := make([]byte, 4096)
		for {
			if _, err := conn.Read(buf); err != nil {
				return
			}
			io.WriteString(conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone")
		}
	})
	for range 5 {
		if obs := s.fetch(t, s.ask()); obs.Outcome != order.NotFound || obs.Bytes != 4 {
			t.Fatalf("%+v", obs)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for five polls", n)
	}
}

func TestShutdownAndLocalFaults(t *testing.T) {
	s := newSeller(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	obs := s.c.Fetch(ctx, s.ask())
	if obs.Outcome != order.LocalFault || !strings.Contains(obs.Detail, "shutting down") {
		t.Errorf("%+v", obs)
	}
	up := []net.Interface{{Flags: net.FlagUp | net.FlagLoopback}, {Flags: net.FlagUp}}
	for _, c := range []struct {
		err    error
		ifaces []net.Interface
		want   order.Outcome
		detail string
	}{
		{os.NewSyscallError("socket", syscall.EMFILE), up, order.LocalFault, "out of open files"},
		{os.NewSyscallError("socket", syscall.ENFILE), up, order.LocalFault, "open files"},
		{os.NewSyscallError("connect", syscall.ENOBUFS), up, order.LocalFault, "buffers"},
		{os.NewSyscallError("connect", syscall.ENOMEM), up, order.LocalFault, "memory"},
		{os.NewSyscallError("connect", syscall.EADDRNOTAVAIL), up, order.LocalFault, "out of local ports"},
		{&net.OpError{Op: "dial", Addr: &net.TCPAddr{IP: net.ParseIP("2606:4700::1")}, Err: os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)}, up, order.Unreachable, "connect: "},
		{os.NewSyscallError("connect", syscall.ENETUNREACH), up, order.Unreachable, "connect: network is unreachable"},
		{os.NewSyscallError("connect", syscall.ENETUNREACH), up[:1], order.LocalFault, "no network interface is up"},
		{os.NewSyscallError("connect", syscall.EHOSTUNREACH), up, order.Unreachable, "no route to host"},
		{os.NewSyscallError("connect", syscall.ECONNREFUSED), up[:1], order.Unreachable, "connection refused"},
		{&net.DNSError{Err: "no such host", IsNotFound: true, Name: "10.0.0.9"}, up[:1], order.Unreachable, "DNS: no such host"},
		{&net.DNSError{Err: "server misbehaving", IsTemporary: true}, up, order.Unreachable, "SERVFAIL"},
		{&net.DNSError{Err: "server misbehaving"}, up, order.Unreachable, "REFUSED"},
		{&net.DNSError{Err: "dial udp 10.0.0.1:53: connect: connection refused"}, up, order.LocalFault, "our resolver refuses"},
		{&net.DNSError{Err: "i/o timeout", IsTimeout: true}, up, order.Unreachable, "timed out"},
		{&net.DNSError{Err: "i/o timeout", IsTimeout: true}, up[:1], order.LocalFault, "no network interface"},
		{errors.New("10.0.0.1 is odd"), up, order.Unreachable, "connect: no connection"},
	} {
		set := newSettings(Options{Interfaces: func() ([]net.Interface, error) { return c.ifaces, nil }})
		p := &poll{set: set, parent: context.Background()}
		p.hop.dialled = true
		v := p.classify(c.err)
		if v.outcome != c.want || !strings.Contains(v.detail, c.detail) || strings.Contains(v.detail, "10.0.0") {
			t.Errorf("%v: %v, want %s %q", c.err, v, c.want, c.detail)
		}
	}
}

func TestResolver(t *testing.T) {
	refusing := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "udp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}}
	s := newSeller(t, says(`{}`), func(o *Options) { o.Resolver = refusing })
	ask := s.ask()
	ask.Seller.StatusURL = "https://seller.example:" + itoa(int(s.opts.AllowPorts[0])) + "/{order_id}"
	if obs := s.fetch(t, ask); obs.Outcome != order.LocalFault || !strings.Contains(obs.Detail, "resolver") {
		t.Errorf("%+v", obs)
	}
}

func TestReload(t *testing.T) {
	s := newSeller(t, says(`{"status":"processing"}`))
	ask := s.ask() // the same for all polls: what was made of the seller is not used under other options
	if obs := s.fetch(t, ask); obs.Outcome != order.Processing {
		t.Fatalf("%+v", obs)
	}
	// A kept connection to what is no longer allowed is not used.
	o := s.opts
	o.AllowNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	s.c.Reload(o)
	if obs := s.fetch(t, ask); obs.Outcome != order.Blocked {
		t.Errorf("%+v", obs)
	}
	o.AllowPorts = []uint16{443}
	s.c.Reload(o)
	if obs := s.fetch(t, ask); obs.Outcome != order.Blocked || !strings.Contains(obs.Detail, "port") {
		t.Errorf("%+v", obs)
	}
	s.c.Reload(s.opts)
	if obs := s.fetch(t, ask); obs.Outcome != order.Processing {
		t.Errorf("%+v", obs)
	}
}
