package fetcher

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"poller/order"
)

// memFiles is a result store in memory, or of digests alone when it is to hold much.
type memFiles struct {
	mu      sync.Mutex
	n       int
	files   map[string][]byte
	sums    map[string]string
	open    int
	discard bool
	fail    error // of every call
}

func newFiles() *memFiles { return &memFiles{files: map[string][]byte{}, sums: map[string]string{}} }

type memWriter struct {
	m    *memFiles
	key  string
	b    []byte
	n    int64
	hash interface {
		io.Writer
		Sum([]byte) []byte
	}
}

func (m *memFiles) Create(_ context.Context, remoteID string) (FileWriter, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	m.n++
	m.open++
	return &memWriter{m: m, key: fmt.Sprintf("orders/%s/%d", remoteID, m.n), hash: sha256.New()}, nil
}

func (m *memFiles) Stat(_ context.Context, key string) (int64, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return 0, "", m.fail
	}
	b, ok := m.files[key]
	if !ok {
		return 0, "", fmt.Errorf("%s: %w", key, order.ErrNotFound)
	}
	return int64(len(b)), m.sums[key], nil
}

func (m *memFiles) Remove(_ context.Context, keys ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		delete(m.files, k)
		delete(m.sums, k)
	}
	return nil
}

func (m *memFiles) keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for k := range m.files {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (m *memFiles) put(key, content string) {
	m.files[key] = []byte(content)
	sum := sha256.Sum256([]byte(content))
	m.sums[key] = hex.EncodeToString(sum[:])
}

func (w *memWriter) Write(p []byte) (int, error) {
	if !w.m.discard {
		w.b = append(w.b, p...)
	}
	w.n += int64(len(p))
	return w.hash.Write(p)
}

func (w *memWriter) Close() (string, int64, string, error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	w.m.open--
	sum := hex.EncodeToString(w.hash.Sum(nil))
	w.m.files[w.key], w.m.sums[w.key] = w.b, sum
	return w.key, w.n, sum, nil
}

func (w *memWriter) Abort() {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	w.m.open--
}

// seller is a TLS server on loopback and a client that may dial it.
type testSeller struct {
	*httptest.Server
	files *memFiles
	opts  Options
	c     *Client
}

// newSeller starts a server; change may alter the client's options.
func newSeller(t testing.TB, h http.HandlerFunc, change ...func(*Options)) *testSeller {
	t.Helper()
	s := &testSeller{Server: httptest.NewUnstartedServer(h), files: newFiles()}
	s.Config.ErrorLog = quiet
	s.StartTLS()
	t.Cleanup(s.Close)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	s.opts = Options{
		Timeout: 5 * time.Second, BodyTimeout: 20 * time.Second, Redirects: 3, RootCAs: pool, Version: "test", Files: s.files,
		AllowPorts: []uint16{portOfURL(t, s.URL)}, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}
	for _, f := range change {
		f(&s.opts)
	}
	s.c = New(s.opts)
	t.Cleanup(s.c.Close)
	return s
}

func portOfURL(t testing.TB, raw string) uint16 {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(n)
}

func (s *testSeller) ask() order.Ask {
	return order.Ask{RemoteID: "o-1", Seller: &order.Seller{
		ID: "s", StatusURL: s.URL + "/status/{order_id}", Headers: []order.Header{{Name: "Authorization", Value: sentinel}},
	}}
}

// sentinel is a credential that must show up nowhere.
const sentinel = "Bearer sentinel-7f3a"

// fetch polls once and checks what holds for every observation.
func (s *testSeller) fetch(t testing.TB, ask order.Ask) order.Observation {
	t.Helper()
	obs := s.c.Fetch(context.Background(), ask)
	checkObservation(t, obs)
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	if s.files.open != 0 {
		t.Errorf("%d files left open", s.files.open)
	}
	return obs
}

func checkObservation(t testing.TB, obs order.Observation) {
	t.Helper()
	if !slices.Contains(order.Outcomes, obs.Outcome) {
		t.Errorf("outcome %q", obs.Outcome)
	}
	if (obs.Result != nil) != (obs.Outcome == order.Completed) {
		t.Errorf("outcome %s with result %v", obs.Outcome, obs.Result)
	}
	if strings.Contains(fmt.Sprintf("%+v", obs), "sentinel") {
		t.Errorf("the observation shows a credential: %+v", obs)
	}
	if obs.Detail != order.Clip(obs.Detail, order.MaxDetail) {
		t.Errorf("detail not clipped: %q", obs.Detail)
	}
	if strings.Contains(obs.Detail, "127.0.0.1") {
		t.Errorf("the detail names an address that is not public: %q", obs.Detail)
	}
	if !obs.Outcome.Valid() && obs.Detail == "" {
		t.Errorf("%s without a detail", obs.Outcome)
	}
	if obs.StartedAt.IsZero() {
		t.Error("no StartedAt")
	}
}

// says is a handler that answers 200 with body.
func says(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }
}

// testCA issues certificates for tests.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newCA(t testing.TB) *testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-1000 * time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	ca := &testCA{cert, key, x509.NewCertPool()}
	ca.pool.AddCert(cert)
	return ca
}

// issue makes a certificate for 127.0.0.1 and names.
func (ca *testCA) issue(t testing.TB, from, to time.Time, ips []net.IP, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: from, NotAfter: to, DNSNames: names, IPAddresses: ips,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// rawServer speaks TLS and then whatever handle does.
func rawServer(t testing.TB, handle func(conn net.Conn), change ...func(*Options)) *testSeller {
	t.Helper()
	ca := newCA(t)
	cert := ca.issue(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), []net.IP{net.IPv4(127, 0, 0, 1)})
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true})
	if err != nil {
		t.Fatal(err)
	}
	return listen(t, ln, ca.pool, handle, change...)
}

// listen serves connections with handle until the test ends.
func listen(t testing.TB, ln net.Listener, pool *x509.CertPool, handle func(conn net.Conn), change ...func(*Options)) *testSeller {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[conn] = true
			mu.Unlock()
			wg.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	s := &testSeller{Server: &httptest.Server{URL: "https://" + ln.Addr().String()}, files: newFiles()}
	s.opts = Options{
		Timeout: 400 * time.Millisecond, BodyTimeout: 1200 * time.Millisecond, Redirects: 3, RootCAs: pool, Version: "test", Files: s.files,
		AllowPorts: []uint16{portOfURL(t, s.URL)}, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}
	for _, f := range change {
		f(&s.opts)
	}
	s.c = New(s.opts)
	t.Cleanup(s.c.Close)
	return s
}
