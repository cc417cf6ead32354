package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"poller/internal/fakeseller"
	"poller/store"
)

// A testDaemon is an app that runs, and a client of it.
type testDaemon struct {
	*app
	client *client
	file   string // its configuration
	log    *syncBuffer
	stop   func() error // as SIGTERM does; returns what run did
}

// syncBuffer is a buffer that may be written and read at once.
type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// onPortZero makes a configuration listen where nobody else does, and ask sellers on loopback.
const onPortZero = `
api: {listen: "127.0.0.1:0"}
metrics: {listen: "127.0.0.1:0"}
min_free: 0
schedule: {cron: "@every 1h"}
`

// startDaemon runs the daemon in dir with the configuration, until the test ends or stops it.
func startDaemon(t *testing.T, dir, config string) *testDaemon {
	t.Helper()
	d := &testDaemon{file: filepath.Join(dir, "config.yaml"), log: &syncBuffer{}}
	write(t, d.file, config)
	c, err := loadConfig(d.file, testEnv)
	if err != nil {
		t.Fatal(err)
	}
	if d.app, err = openApp(t.Context(), c, d.file, testEnv, newLogger(d.log)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.run(ctx) }()
	d.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := d.stop(); err != nil {
			t.Errorf("run: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", d.log)
		}
	})
	token, err := readToken(c.API.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	if d.client, err = newClient(d.apiURL(), token, nil, ""); err != nil {
		t.Fatal(err)
	}
	return d
}

// startSellers runs fake sellers, and returns what a configuration needs to ask them.
func startSellers(t *testing.T, dir string) (*fakeseller.Server, string) {
	t.Helper()
	s, err := fakeseller.Start(t.Context(), fakeseller.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	ca, err := s.CAFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s, fmt.Sprintf("fetch: {ca_file: %q, allow_ports: [443, %d], allow_networks: [127.0.0.0/8]}\n", ca, s.Port(0))
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// call asks the API and fails the test unless the answer is 2xx.
func (d *testDaemon) call(t *testing.T, method, path string, body any) string {
	t.Helper()
	b, err := d.client.call(t.Context(), method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return string(b)
}

// get asks the metrics listener.
func (d *testDaemon) get(t *testing.T, path string) (int, string) {
	t.Helper()
	resp, err := http.Get(d.metricsURL() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// One order goes in, is polled and ends; after a restart all of it is still there.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	sellers, config := startSellers(t, dir)
	config += onPortZero
	sellers.Handle("acme/o-1", fakeseller.Quick("done"))

	d := startDaemon(t, dir, config)
	name, value := sellers.Credentials("acme")
	d.call(t, http.MethodPut, "/v1/sellers/acme", map[string]any{
		"status_url": sellers.StatusURL(0, "acme"), "headers": map[string]string{name: value},
	})
	d.call(t, http.MethodPost, "/v1/orders", map[string]string{"order_id": "o-1", "seller_id": "acme"})
	if got := d.call(t, http.MethodPost, "/v1/orders/o-1/poll", nil); !strings.Contains(got, `"outcome":"completed"`) {
		t.Errorf("polled: %s", got)
	}
	for path, want := range map[string]string{
		"/healthz": "ok", "/readyz": "ok",
		"/metrics": `poller_orders{state="completed"} 1`,
	} {
		if status, body := d.get(t, path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d, without %q", path, status, want)
		}
	}
	if log := d.log.String(); strings.Contains(log, value) {
		t.Error("a seller's header value is in the log")
	}
	id := d.store.ID()
	if err := d.stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if resp, err := http.Get(d.metricsURL() + "/healthz"); err == nil {
		resp.Body.Close()
		t.Error("it still answers")
	}

	again := startDaemon(t, dir, config)
	if again.store.ID() != id {
		t.Error("another store after a restart")
	}
	if got := again.call(t, http.MethodGet, "/v1/orders/o-1", nil); !strings.Contains(got, `"state":"completed"`) {
		t.Errorf("after a restart: %s", got)
	}
}

// What is made at the first start is readable by its owner alone (SPEC §3, GUARANTEES G22).
func TestFirstStart(t *testing.T) {
	dir := t.TempDir()
	startDaemon(t, dir, onPortZero)
	for name, want := range map[string]os.FileMode{
		"data": 0o700, "data/results": 0o700, "data/poller.db": 0o600, "data/secrets.key": 0o600, "data/api.token": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %o, want %o", name, got, want)
		}
	}
}

// Two daemons never share a store (GUARANTEES, G10).
func TestSecondDaemon(t *testing.T) {
	d := startDaemon(t, t.TempDir(), onPortZero)
	a, err := openApp(t.Context(), d.started, d.file, testEnv, newLogger(io.Discard))
	if err == nil {
		t.Fatal(errors.Join(errors.New("started"), a.close()))
	}
	if !errors.Is(err, store.ErrInUse) {
		t.Errorf("got %v", err)
	}
}

// A listener that can't be had ends the start, and leaves nothing open.
func TestPortInUse(t *testing.T) {
	d := startDaemon(t, t.TempDir(), onPortZero)
	dir := t.TempDir()
	taken := strings.Replace(onPortZero, `metrics: {listen: "127.0.0.1:0"}`, fmt.Sprintf("metrics: {listen: %q}", d.metricsListener.Addr()), 1)
	write(t, filepath.Join(dir, "config.yaml"), taken)
	c, err := loadConfig(filepath.Join(dir, "config.yaml"), testEnv)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openApp(t.Context(), c, "", testEnv, newLogger(io.Discard)); err == nil || !strings.Contains(err.Error(), "metrics.listen") {
		t.Fatalf("got %v", err)
	}
	startDaemon(t, dir, onPortZero) // the store was closed again
}

// With less than min_free nothing is acknowledged; with space back it goes on by itself (SPEC §3).
func TestMinFree(t *testing.T) {
	d := startDaemon(t, t.TempDir(), strings.Replace(onPortZero, "min_free: 0", "min_free: 1000000TiB", 1))
	d.call(t, http.MethodPut, "/v1/sellers/acme", map[string]any{"status_url": "https://acme.example/{order_id}", "allow_unauthenticated": true})
	order := map[string]string{"order_id": "o-1", "seller_id": "acme"}
	_, err := d.client.call(t.Context(), http.MethodPost, "/v1/orders", order)
	if r, ok := asRefusal(err); !ok || r.Status != http.StatusInsufficientStorage {
		t.Fatalf("got %v, want 507", err)
	}
	d.call(t, http.MethodGet, "/v1/status", nil)
	write(t, d.file, onPortZero)
	if err := d.reload(); err != nil {
		t.Fatal(err)
	}
	d.call(t, http.MethodPost, "/v1/orders", order)
}

// What can change while running does, what cannot is logged as needing a
// restart, and an invalid file changes nothing (SPEC §3).
func TestReload(t *testing.T) {
	d := startDaemon(t, t.TempDir(), onPortZero)
	reloaded := func(want string) {
		t.Helper()
		if _, body := d.get(t, "/metrics"); !strings.Contains(body, "poller_config_last_reload_successful "+want) {
			t.Errorf("poller_config_last_reload_successful is not %s", want)
		}
	}
	reloaded("1")

	write(t, d.file, onPortZero+"fetch: {workers: none}\nlog: {levl: debug}\n")
	if err := d.reload(); err == nil {
		t.Error("a broken file was taken")
	}
	reloaded("0")
	for _, want := range []string{`"key":"fetch.workers"`, `"line":6`, "log.levl"} {
		if !strings.Contains(d.log.String(), want) {
			t.Errorf("the log does not say %s", want)
		}
	}
	if got := d.live.Load().Fetch.Workers; got != 512 {
		t.Errorf("workers %d after a broken file", got)
	}

	write(t, d.file, strings.Replace(onPortZero, `api: {listen: "127.0.0.1:0"}`, "", 1)+"fetch: {workers: 7}\ndata_dir: elsewhere\nlog: {format: console}\n")
	if err := d.reload(); err != nil {
		t.Fatal(err)
	}
	reloaded("1")
	if _, body := d.get(t, "/metrics"); !strings.Contains(body, "\npoller_workers 7\n") {
		t.Error("the scheduler does not know of 7 workers")
	}
	log := d.log.String()
	for _, want := range []string{
		`configuration changed	{"key": "fetch.workers", "old": "512", "new": "7"}`,
		`configuration changed, but this takes a restart	{"key": "data_dir"`,
		`configuration changed, but this takes a restart	{"key": "api.listen"`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %s", want)
		}
	}
}

// Tokens are live: a new one works, the old one no longer (SPEC §3).
func TestReloadTokens(t *testing.T) {
	d := startDaemon(t, t.TempDir(), onPortZero)
	write(t, d.started.API.TokenFile, "# two of them\n\nfirst-token\nsecond-token\n")
	if err := d.reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.client.call(t.Context(), http.MethodGet, "/v1/status", nil); err == nil {
		t.Error("the old token still works")
	}
	for _, token := range []string{"first-token", "second-token"} {
		d.client.token = token
		d.call(t, http.MethodGet, "/v1/status", nil)
	}
	write(t, d.started.API.TokenFile, "# none\n")
	if err := d.reload(); err == nil {
		t.Error("a file without tokens was taken")
	}
	d.call(t, http.MethodGet, "/v1/status", nil)
}

// Stopping answers a reader of the feed who waits, and takes no longer than it must (GUARANTEES, G25).
func TestStopWithWaitingReader(t *testing.T) {
	d := startDaemon(t, t.TempDir(), onPortZero)
	answered := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		close(begun)
		_, err := d.client.call(context.Background(), http.MethodGet, "/v1/events?after=0&wait=60s", nil)
		answered <- err
	}()
	<-begun
	start := time.Now()
	if err := d.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("stopping took %s", took)
	}
	<-answered // with whatever: it must not hang
}

// The API on a Unix socket, as a client command reaches it.
func TestUnixSocket(t *testing.T) {
	dir := t.TempDir()
	config := strings.Replace(onPortZero, "127.0.0.1:0", "unix:api.sock", 1)
	d := startDaemon(t, dir, config)
	d.call(t, http.MethodGet, "/v1/status", nil)
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"--config", d.file, "status"}, nil, &out, &errs, testEnv); code != exitDone {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}
