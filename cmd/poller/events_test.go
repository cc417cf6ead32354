package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// lines hands on each line that is written to it.
type lines struct{ to chan string }

func (l lines) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		l.to <- strings.TrimSpace(line)
	}
	return len(b), nil
}

// GUARANTEES G5: who follows the events misses none and sees none twice, over restarts of the daemon.
func TestEventsFollowOverRestarts(t *testing.T) {
	dir := t.TempDir()
	_, config := startSellers(t, dir)
	socket := "unix:" + filepath.Join(dir, "s")
	config += strings.Replace(onPortZero, `"127.0.0.1:0"`, fmt.Sprintf("%q", socket), 1)
	d := startDaemon(t, dir, config)
	d.call(t, http.MethodPut, "/v1/sellers/acme", map[string]any{"status_url": "https://acme.example/{order_id}", "headers": map[string]string{"A": "b"}})
	submitted := 0
	submit := func() {
		t.Helper()
		submitted++
		d.call(t, http.MethodPost, "/v1/orders", map[string]string{"order_id": fmt.Sprint("o-", submitted), "seller_id": "acme"})
	}
	submit()

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out := lines{make(chan string, 100)}
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"POLLER_URL": socket, "POLLER_TOKEN": d.client.token}[name]
		return v, ok
	}
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"events", "--follow", "-o", "json"}, strings.NewReader(""), out, &syncBuffer{}, env)
	}()
	number := uint64(0)
	next := func() {
		t.Helper()
		var e struct {
			Number  uint64 `json:"number"`
			OrderID string `json:"order_id"`
		}
		select {
		case line := <-out.to:
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		case code := <-ended:
			t.Fatalf("it ended with exit code %d", code)
		}
		if number++; e.Number != number || e.OrderID != fmt.Sprint("o-", number) {
			t.Fatalf("event %d of %s, not %d", e.Number, e.OrderID, number)
		}
	}
	next()
	submit()
	next() // of an answer that it waited for
	for range 2 {
		if err := d.stop(); err != nil {
			t.Fatal(err)
		}
		d = startDaemon(t, dir, config)
		submit()
		submit()
		next()
		next()
	}
	stop()
	if code := <-ended; code != exitFailed {
		t.Errorf("interrupted: exit code %d", code)
	}
	if len(out.to) > 0 {
		t.Errorf("shown as well: %s", <-out.to)
	}
}

// A reader who follows is told of a daemon that is not there at once, but waits for one that was.
func TestPassingErrors(t *testing.T) {
	t.Parallel()
	for want, errs := range map[bool][]error{
		true:  {&unanswered{}, fmt.Errorf("x: %w", &unanswered{}), &refusal{Status: 503}, &refusal{Status: 502}},
		false: {&refusal{Status: 410}, &refusal{Status: 500}, &refusal{Status: 422}, errors.New("odd")},
	} {
		for _, err := range errs {
			if passing(err) != want {
				t.Errorf("%v: %v", err, !want)
			}
		}
	}
	code, _, stderr := runAt(t, "http://127.0.0.1:1", "events", "--follow")
	if code != exitFailed || !strings.Contains(stderr, "is \"poller serve\" running?") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
