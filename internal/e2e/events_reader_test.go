package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"poller/internal/fakeseller"
)

// feedReader reads the feed as a platform's program does: it asks for what comes
// after the last answer, waits for it, and after a break asks the same again.
type feedReader struct {
	t    *testing.T
	seen journal // an event a line

	mu   sync.Mutex
	d    *daemon       // whom to ask
	back chan struct{} // closed when d is another one
}

// ask names the daemon to ask from now on.
func (f *feedReader) ask(d *daemon) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.d = d
	if f.back != nil {
		close(f.back)
	}
	f.back = make(chan struct{})
}

// read reads until ctx ends.
func (f *feedReader) read(ctx context.Context) {
	next := "0"
	for {
		f.mu.Lock()
		d, back := f.d, f.back
		f.mu.Unlock()
		items, after, err := d.feed(ctx, next, "60s")
		if err != nil {
			select {
			case <-back:
				continue
			case <-ctx.Done():
				return
			}
		}
		for _, item := range items {
			f.seen.add(string(item))
		}
		next = after
	}
}

// feed asks once. Small pages leave off in the middle of what happens.
func (d *daemon) feed(ctx context.Context, after, wait string) ([]json.RawMessage, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.api+"/v1/events?limit=7&wait="+wait+"&after="+after, nil)
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	a, err := d.send(req)
	if err != nil {
		return nil, "", err
	}
	var p pageOf[json.RawMessage]
	if err := json.Unmarshal(a.body, &p); err != nil || a.status != http.StatusOK {
		d.t.Errorf("the feed after %s: status %d (%v): %s", after, a.status, err, a.body)
		return nil, "", fmt.Errorf("status %d", a.status)
	}
	return p.Items, *p.Next, nil
}

// followByCommand runs poller events --follow until the test ends, and returns what it prints, and what waits for its end.
func followByCommand(ctx context.Context, s *site) (printed *journal, wait func()) {
	s.t.Helper()
	cmd := exec.CommandContext(ctx, binary, "--config", s.configFile(), "-o", "json", "events", "--follow")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	out, err := cmd.StdoutPipe()
	noError(s.t, err, "opening a pipe")
	noError(s.t, cmd.Start(), "starting poller events")
	printed = &journal{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			printed.add(lines.Text())
		}
	}()
	return printed, func() {
		<-ended
		_ = cmd.Wait() // it was interrupted
	}
}

// waitEvent returns when a journal of events has come to that number.
func waitEvent(t *testing.T, j *journal, number int) {
	t.Helper()
	if err := j.wait(within(t), 0, func(line string) bool { return strings.Contains(line, fmt.Sprintf(`"number":%d,`, number)) }); err != nil {
		t.Fatalf("waiting for event %d: %v; the last one is %s", number, err, j.tail(1))
	}
}

// Issue 5: readers of the feed who resume, a program over the API and poller
// events --follow, miss nothing and see nothing twice while poller is killed twice in the middle of a sweep and once stopped (GUARANTEES, G5).
func TestFeedReadersOverKills(t *testing.T) {
	t.Parallel()
	random := seed(t)
	const orders = 300
	s := newSite(t, 2)
	// An address of its own, so that nobody takes the port while poller is away.
	s.set("log.level", "info", "api.listen", "127.77.1.1:0", "fetch.per_seller", "2")
	counter := &pollCounter{}
	s.sellers.Handle("*/*", counter.gate(fakeseller.Slow(10*time.Millisecond, fakeseller.Progressing(1, fakeseller.Quick("done")))))
	d := s.start()
	s.set("api.listen", strings.TrimPrefix(d.api, "http://"))
	for n := range 2 {
		seller := fmt.Sprintf("seller-%d", n)
		d.register(n, seller)
		d.submitMany(seller, names(seller, orders/2)...)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	byAPI := &feedReader{t: t}
	byAPI.ask(d)
	done := make(chan struct{})
	go func() { defer close(done); byAPI.read(ctx) }()
	printed, ended := followByCommand(ctx, s)
	waitEvent(t, printed, orders)
	waitEvent(t, &byAPI.seen, orders)

	// In each of two sweeps every order moves; each one is killed somewhere, and goes on.
	for range 2 {
		moment := counter.at(10 + random.IntN(orders/2))
		var sweep sweepView
		d.call(http.MethodPost, "/v1/sweeps", nil, http.StatusAccepted, &sweep)
		select {
		case <-moment:
		case <-within(t).Done():
			t.Fatal("the sweep does not get that far")
		}
		d.kill()
		d = s.start()
		byAPI.ask(d)
		equal(t, "the sweep that goes on", d.waitLog("sweep goes on", nil).number("sweep"), sweep.ID)
		d.swept(sweep.ID)
	}
	d.stop()
	d = s.start()
	byAPI.ask(d)
	d.submit("seller-0", "one-more")
	d.call(http.MethodPost, "/v1/orders/one-more/cancel", nil, http.StatusOK, nil)

	var feed []json.RawMessage
	for next := "0"; ; {
		items, after, err := d.feed(ctx, next, "0s")
		noError(t, err, "reading the feed")
		if len(items) == 0 {
			break
		}
		feed, next = append(feed, items...), after
	}
	ends := d.checkEvents()
	equal(t, "orders that have ended", len(ends), orders+1)
	waitEvent(t, printed, len(feed))
	waitEvent(t, &byAPI.seen, len(feed))
	cancel()
	<-done
	ended()
	for who, j := range map[string]*journal{"the command": printed, "the program": &byAPI.seen} {
		lines := strings.Split(j.all(), "\n")
		equal(t, "events that "+who+" has seen", len(lines), len(feed))
		for i := range min(len(lines), len(feed)) {
			if !sameJSON([]byte(lines[i]), feed[i]) {
				t.Fatalf("event %d in the feed: %s\n%s saw: %s", i+1, feed[i], who, lines[i])
			}
		}
	}
}
