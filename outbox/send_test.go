package outbox

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"poller/order"
)

// received is a request as a server got it.
type received struct {
	method, path string
	header       http.Header
	body         []byte
}

// sendTo makes one attempt at a TLS server that answers as the handler does, with its CA known, and returns the request that came.
func sendTo(t *testing.T, e *order.Event, now time.Time, handler http.HandlerFunc, secrets ...string) (answer, received) {
	t.Helper()
	var got received
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = received{r.Method, r.URL.String(), r.Header.Clone(), b}
		handler(w, r)
	}))
	defer server.Close()
	s := senderTo(t, Config{URL: server.URL + "/hook?key=1", Secrets: secrets, RootCAs: caOf(server)})
	return s.send(t.Context(), e, now), got
}

func senderTo(t *testing.T, c Config) *sender {
	t.Helper()
	s, err := newSender(&c, "st", "v1.2", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func caOf(server *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return pool
}

func taken(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

func verifier(t *testing.T, secret string) *standardwebhooks.Webhook {
	t.Helper()
	v, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// SPEC §6: the request, to the byte.
func TestTheRequest(t *testing.T) {
	e := ended(7)
	now := time.Now()
	a, got := sendTo(t, &e, now, taken, testSecret)
	if a.result != Taken {
		t.Fatalf("%+v", a)
	}
	if got.method != http.MethodPost || got.path != "/hook?key=1" {
		t.Errorf("%s %s", got.method, got.path)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "poller/v1.2", "Webhook-Id": "st-7", "Content-Length": strconv.Itoa(len(got.body)),
		"Webhook-Timestamp": strconv.FormatInt(now.Unix(), 10), "Webhook-Signature": got.header.Get("Webhook-Signature"),
	} {
		equal(t, name, strings.Join(got.header[name], "|"), want)
	}
	equal(t, "headers", len(got.header), 6)
	var m struct {
		Type, Timestamp, Store string
		Number                 uint64
		Data                   order.View
	}
	if err := json.Unmarshal(got.body, &m); err != nil {
		t.Fatal(err)
	}
	if m.Type != "order.completed" || m.Timestamp != "2026-03-01T11:00:07.25Z" || m.Store != "st" || m.Number != 7 || m.Data.OrderID != "o-7" || *m.Data.Result.Text != "42 <b>" {
		t.Errorf("%s", got.body)
	}
	if !bytes.HasPrefix(got.body, []byte(`{"type":"order.completed","timestamp":"2026-03-01T11:00:07.25Z","store":"st","number":7,"data":{"order_id":"o-7",`)) ||
		!bytes.Contains(got.body, []byte(`"metadata":{"a":"1","b":"2","c":"3"}}}`)) {
		t.Errorf("%s", got.body)
	}
	for range 20 { // the order of a map's keys is not chance
		if b, err := body("st", &e); err != nil || !bytes.Equal(b, got.body) {
			t.Fatalf("another body: %s, %v", b, err)
		}
	}
}

// GUARANTEES, G29: of an erased order nothing is told but that it is.
func TestAnErasedEvent(t *testing.T) {
	e := ended(7)
	e.Order, e.Erased = nil, true
	b, err := body("st", &e)
	if want := `{"type":"order.completed","timestamp":"2026-03-01T11:00:07.25Z","store":"st","number":7,"data":{"erased":true}}`; err != nil || string(b) != want {
		t.Errorf("%s, %v", b, err)
	}
}

// GUARANTEES, G24: what was changed never verifies; what is older than five minutes is refused; two secrets verify during rotation.
func TestOnlyWhatWasSentVerifies(t *testing.T) {
	e := ended(7)
	_, got := sendTo(t, &e, time.Now(), taken, testSecret, otherSecret)
	_, other := sendTo(t, &e, time.Now().Add(-time.Minute), taken, testSecret, otherSecret)
	_, old := sendTo(t, &e, time.Now().Add(-5*time.Minute-2*time.Second), taken, testSecret)
	_, early := sendTo(t, &e, time.Now().Add(5*time.Minute+5*time.Second), taken, testSecret)
	equal(t, "signatures", len(strings.Split(got.header.Get("webhook-signature"), " ")), 2)
	with := func(r received, name, value string) received {
		r.header = r.header.Clone()
		r.header.Set(name, value)
		return r
	}
	bodyOf := func(r received, b string) received { r.body = []byte(b); return r }
	flipped := func() string {
		b := []byte(got.header.Get("webhook-signature"))
		for i := range b {
			if b[i] == ',' {
				b[i+1] ^= 1
			}
		}
		return string(b)
	}
	for name, c := range map[string]struct {
		r    received
		want bool
	}{
		"as sent":                       {got, true},
		"changed body":                  {bodyOf(got, strings.Replace(string(got.body), "42", "43", 1)), false},
		"body with a space more":        {bodyOf(got, string(got.body)+" "), false},
		"empty body":                    {bodyOf(got, ""), false},
		"changed id":                    {with(got, "webhook-id", "st-8"), false},
		"no id":                         {with(got, "webhook-id", ""), false},
		"changed timestamp":             {with(got, "webhook-timestamp", strconv.FormatInt(time.Now().Unix()+1, 10)), false},
		"no timestamp":                  {with(got, "webhook-timestamp", ""), false},
		"changed signature":             {with(got, "webhook-signature", flipped()), false},
		"another attempt's signature":   {with(got, "webhook-signature", other.header.Get("webhook-signature")), false},
		"signature of another version":  {with(got, "webhook-signature", strings.ReplaceAll(got.header.Get("webhook-signature"), "v1,", "v0,")), false},
		"no signature":                  {with(got, "webhook-signature", ""), false},
		"older than five minutes":       {old, false},
		"five minutes ahead":            {early, false},
		"old, with the time put right":  {with(old, "webhook-timestamp", strconv.FormatInt(time.Now().Unix(), 10)), false},
		"a minute old, another attempt": {other, true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, secret := range []string{testSecret, otherSecret} {
				if err := verifier(t, secret).Verify(c.r.body, c.r.header); (err == nil) != c.want {
					t.Errorf("%v", err)
				}
			}
			if verifier(t, "whsec_"+base64.StdEncoding.EncodeToString(make([]byte, 24))).Verify(c.r.body, c.r.header) == nil {
				t.Error("verifies with a secret that did not sign")
			}
		})
	}
}

func TestCheckSecret(t *testing.T) {
	encode := func(n int) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, n)) }
	for _, c := range []struct {
		secret string
		want   string // in the error; empty: none
	}{
		{testSecret, ""},
		{otherSecret, ""},
		{"whsec_" + encode(24), ""},
		{"whsec_" + encode(64), ""},
		{"", "must begin with whsec_"},
		{encode(32), "must begin with whsec_"},
		{"WHSEC_" + encode(32), "must begin with whsec_"},
		{"whsec_", "must have 24 to 64 bytes, has 0"},
		{"whsec_" + encode(23), "has 23"},
		{"whsec_" + encode(65), "has 65"},
		{"whsec_" + strings.TrimRight(encode(32), "="), "standard base64"},
		{"whsec_" + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, 33)), "standard base64"},
		{"whsec_" + encode(32) + "\n", "standard base64"},
		{"whsec_" + encode(32) + " ", "standard base64"},
		{"whsec_" + strings.Replace(encode(31), "w==", "x==", 1), "standard base64"},
		{"whsec_hunter2hunter2hunter2hunter2!", "standard base64"},
	} {
		err := CheckSecret(c.secret)
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%q: %v, want %q", c.secret, err, c.want)
		case err != nil && len(c.secret) > 10 && strings.Contains(err.Error(), c.secret[6:12]):
			t.Errorf("%v shows the secret", err)
		}
	}
}

// SPEC §6: only 2xx is taken; redirects are not followed.
func TestStatuses(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	e := ended(1)
	for status, want := range map[int]Result{
		200: Taken, 201: Taken, 202: Taken, 204: Taken, 226: Taken, 299: Taken,
		300: Refused, 301: Refused, 302: Refused, 303: Refused, 304: Refused, 307: Refused, 308: Refused,
		400: Refused, 401: Refused, 404: Refused, 410: Refused, 429: Refused, 500: Refused, 502: Refused, 503: Refused, 599: Refused, 999: Refused,
	} {
		for _, location := range []string{other.URL, "http://%zz/"} {
			a, _ := sendTo(t, &e, time.Now(), func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", location)
				w.WriteHeader(status)
			}, testSecret)
			reason := "HTTP " + strconv.Itoa(status)
			if want == Taken {
				reason = ""
			}
			if a.result != want || a.reason != reason {
				t.Errorf("%d: %+v", status, a)
			}
		}
	}
	equal(t, "redirects followed", elsewhere.Load(), 0)
}

func TestServersThatCannotBeReached(t *testing.T) {
	e := ended(1)
	quiet := func(s *httptest.Server) *httptest.Server {
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		t.Cleanup(s.Close)
		return s
	}
	plain := quiet(httptest.NewServer(http.HandlerFunc(taken)))
	known := quiet(httptest.NewTLSServer(http.HandlerFunc(taken)))
	old := quiet(httptest.NewUnstartedServer(http.HandlerFunc(taken)))
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11} // that is what is refused
	old.StartTLS()
	closed := httptest.NewServer(http.HandlerFunc(taken))
	closed.Close()
	for name, c := range map[string]struct {
		url, reason string
		roots       *x509.CertPool
	}{
		"an unknown CA":   {known.URL, "tls: failed to verify certificate", nil},
		"another name":    {strings.Replace(known.URL, "127.0.0.1", "localhost", 1), "tls: failed to verify certificate", caOf(known)},
		"TLS 1.1":         {old.URL, "tls: ", caOf(old)},
		"not TLS":         {strings.Replace(plain.URL, "http:", "https:", 1), "tls: the other side does not speak TLS", nil},
		"nobody":          {closed.URL, "connection refused", nil},
		"closed at once":  {raw(t, ""), "connection closed without an answer", nil},
		"not HTTP":        {raw(t, "SSH-2.0-OpenSSH\r\n\r\n"), "not an answer in HTTP", nil},
		"head too long":   {raw(t, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", maxHeaderBytes)+"\r\n\r\n"), "not an answer in HTTP", nil},
		"a broken header": {raw(t, "HTTP/1.1 200 OK\r\nleaked hunter2\r\n\r\n"), "not an answer in HTTP", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := senderTo(t, Config{URL: c.url, Secrets: []string{testSecret}, RootCAs: c.roots})
			a := s.send(t.Context(), &e, time.Now())
			if a.result != Unreachable || !strings.Contains(a.reason, c.reason) || strings.Contains(a.reason, "hunter2") {
				t.Errorf("%+v, want %q", a, c.reason)
			}
		})
	}
	if a := senderTo(t, Config{URL: plain.URL, Secrets: []string{testSecret}}).send(t.Context(), &e, time.Now()); a.result != Taken {
		t.Errorf("http: %+v", a)
	}
	if senderTo(t, Config{URL: plain.URL, Secrets: []string{testSecret}}).transport.Proxy != nil {
		t.Error("a proxy may be used")
	}
}

// What a log may say of an error.
func TestReasons(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, c := range []struct {
		err    error
		result Result
		want   string
	}{
		{refused, Unreachable, "dial tcp 192.0.2.1:443: connect: connection refused"},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "nobody.invalid"}}, Unreachable, "lookup nobody.invalid: no such host"},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "i/o timeout", Name: "nobody.invalid", IsTimeout: true}}, TimedOut, "no answer within 15s"},
		{fmt.Errorf("a: %w", context.DeadlineExceeded), TimedOut, "no answer within 15s"},
		{fmt.Errorf("a: %w", os.ErrDeadlineExceeded), TimedOut, "no answer within 15s"},
		{fmt.Errorf("hunter2: %w", syscall.ECONNRESET), Unreachable, "connection reset by peer"},
		{fmt.Errorf("hunter2: %w", io.ErrUnexpectedEOF), Unreachable, "connection closed without an answer"},
		{errors.New("tls: no"), Unreachable, "tls: no"},
		{errors.New(`malformed HTTP response "hunter2"`), Unreachable, "connection broken, or not an answer in HTTP"},
	} {
		if a := failure(c.err); a.result != c.result || a.reason != c.want {
			t.Errorf("%v: %+v, want %q", c.err, a, c.want)
		}
	}
}

// raw is the URL of a server that says one thing to whoever has written something, and hangs up.
func raw(t *testing.T, says string) string {
	return serve(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, says)
	})
}

// serve is the URL of a server that does as it likes with each connection.
func serve(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); handle(c) }()
		}
	}()
	return "http://" + l.Addr().String() + "/"
}

// A kept connection that the platform closed meanwhile costs no attempt; connections are kept.
func TestKeptConnections(t *testing.T) {
	var conns atomic.Int32
	url := serve(t, func(c net.Conn) {
		if conns.Add(1) > 1 {
			_, _ = c.Read(make([]byte, 64<<10))
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
		_, _ = c.Read(make([]byte, 64<<10))
		if conns.Load() == 1 {
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
			_, _ = c.Read(make([]byte, 64<<10)) // the second request gets no answer
		}
	})
	s := senderTo(t, Config{URL: url, Secrets: []string{testSecret}})
	for n := range uint64(2) {
		e := ended(n)
		if a := s.send(t.Context(), &e, time.Now()); a.result != Taken {
			t.Errorf("%+v", a)
		}
	}
	equal(t, "connections", conns.Load(), 2)

	e := ended(1)
	conns.Store(0)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, maxAnswerBytes-1))
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	s = senderTo(t, Config{URL: server.URL, Secrets: []string{testSecret}})
	for range 5 {
		if a := s.send(t.Context(), &e, time.Now()); a.result != Taken {
			t.Errorf("%+v", a)
		}
	}
	if n := conns.Load(); n > 1 {
		t.Errorf("%d connections for five attempts", n)
	}
}

// GUARANTEES, G19: neither secrets nor the URL's user, password and query are in a log or an error, though the
// other side sends back all it gets.
func TestNothingSecretIsLogged(t *testing.T) {
	echo := serve(t, func(c net.Conn) {
		b := make([]byte, 64<<10)
		n, _ := c.Read(b)
		_, _ = c.Write(b[:n])
	})
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "hush-user" || password != "hush-password" {
			t.Errorf("authenticated as %q, %q", user, password)
		}
		http.Error(w, r.URL.String(), http.StatusForbidden)
	}))
	defer refusing.Close()
	for _, base := range []string{echo, refusing.URL + "/", "http://127.0.0.1:1/", "https" + strings.TrimPrefix(refusing.URL, "http") + "/"} {
		core, logs := observer.New(zap.DebugLevel)
		store := newStore()
		at := strings.Replace(base, "://", "://hush-user:hush-password@", 1) + "hook?token=hush-query"
		o, err := New(Options{Store: store, StoreID: "st", Version: "v1", Log: zap.New(core), Config: Config{URL: at, Secrets: []string{testSecret}}})
		if err != nil {
			t.Fatal(err)
		}
		for n := range uint64(9) {
			store.put(&order.Delivery{Event: order.Event{Number: n + 1}, Attempts: 8})
		}
		o.takenAt = time.Now()
		store.queue()
		run(t, o, func() bool {
			pending, dead := len(store.pending), len(store.dead)
			return pending+dead == 9 && dead > 7
		})
		all := ""
		for _, e := range logs.All() {
			all += e.Message + fmt.Sprint(e.ContextMap()) + "\n"
		}
		if !strings.Contains(all, "resting") || !strings.Contains(all, "set aside") {
			t.Errorf("logged %s", all)
		}
		for _, s := range []string{"hush-user", "hush-password", "hush-query", testSecret, testSecret[6:]} {
			if strings.Contains(all, s) {
				t.Errorf("%s is in\n%s", s, all)
			}
		}
	}
}

// run runs an outbox in real time until something holds.
func run(t *testing.T, o *Outbox, until func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	store := o.store.(*fakeStore)
	for {
		store.mu.Lock()
		ok := until()
		recorded := store.wakeup
		store.mu.Unlock()
		if ok {
			break
		}
		select {
		case <-recorded:
		case <-ctx.Done():
			t.Error("timed out")
			return
		}
	}
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
}

// Many real deliveries over TLS to a platform that answers 500 now and then: all arrive, signed.
func TestRealDeliveries(t *testing.T) {
	v := verifier(t, testSecret)
	var n atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if err := v.Verify(b, r.Header); err != nil {
			t.Error(err)
		}
		if n.Add(1)%20 == 3 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	store := newStore()
	o, err := New(Options{Store: store, StoreID: "st", Log: zap.NewNop(), Config: Config{URL: server.URL, Secrets: []string{testSecret}, RootCAs: caOf(server)}})
	if err != nil {
		t.Fatal(err)
	}
	store.queue(numbers(1, 500)...)
	run(t, o, func() bool { return len(store.recorded) == 500 })
	failed := 0
	for _, d := range store.pending {
		failed += d.Attempts
	}
	if failed != len(store.pending) || failed != 25 || store.limit > maxOpen+maxInFlight {
		t.Errorf("%d failed, %d pending, at most %d read at once", failed, len(store.pending), store.limit)
	}
}
