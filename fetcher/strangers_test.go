package fetcher

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"poller/internal/hostile"
	"poller/order"
)

// TestHostile polls every hostile seller twice, the second time over what
// the first has left: the outcome is the right one in time, nothing is left a
// second later (G14), and no seller's headers come to another (G17).
func TestHostile(t *testing.T) {
	const timeout = 1500 * time.Millisecond
	w, err := hostile.Start(t.Context(), hostile.Options{
		Timeout: timeout, DNS: "127.0.0.1:0", Inner: netip.MustParseAddrPort("10.0.0.1:443"),
		Listen: func(ctx context.Context, _ int) (net.Listener, error) {
			return new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		},
	}, hostile.All())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	opts := Options{
		Timeout: timeout, BodyTimeout: 4 * time.Second, Redirects: 3, RootCAs: w.CA.Pool(), Version: "test",
		AllowPorts: []uint16{443, w.Other.Addr.Port()}, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, w.DNSAddr())
		}},
		Interfaces: func() ([]net.Interface, error) { return []net.Interface{{Flags: net.FlagUp}}, nil },
	}
	for _, s := range w.Sellers {
		opts.AllowPorts = append(opts.AllowPorts, s.Addr.Port())
	}
	if len(w.Sellers) < 100 {
		t.Errorf("%d behaviours", len(w.Sellers))
	}
	turn := make(chan struct{}, 16)
	var all sync.WaitGroup
	for _, s := range w.Sellers {
		all.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			files := newFiles()
			o := opts
			o.Files = files
			c := New(o)
			defer c.Close()
			for n := range 2 {
				pollStranger(t, c, s, n, o, files)
			}
		})
	}
	all.Wait()
	noGoroutines(t)
	for _, r := range w.Requests() {
		if from := r.Leaked(); from != "" {
			t.Errorf("the headers of %s came to %s: %s", from, r.At.Name, r.Target)
		}
		if strings.HasPrefix(r.Target, "/status/") && r.Target != "/status/o-1~.x?o=o-1~.x" && !strings.HasPrefix(r.At.Name, "to-") {
			t.Errorf("%s was asked for %s", r.At.Name, r.Target)
		}
	}
}

func pollStranger(t *testing.T, c *Client, s *hostile.Seller, n int, o Options, files *memFiles) {
	ask := order.Ask{RemoteID: "o-1~.x", Seller: &order.Seller{
		ID: s.Name, StatusURL: s.StatusURL(), Headers: []order.Header{{Name: "Authorization", Value: s.Secret()}},
	}}
	start := time.Now()
	obs := c.Fetch(context.Background(), ask)
	took := time.Since(start)
	checkObservation(t, obs)
	if !slices.Contains(s.Want, obs.Outcome) || !strings.Contains(obs.Detail, s.Detail) {
		t.Errorf("%s, poll %d: %s %q, want %v %q", s.Name, n, obs.Outcome, obs.Detail, s.Want, s.Detail)
	}
	limit := o.Timeout
	if s.Long {
		limit = o.BodyTimeout
	}
	if obs.Result == nil && len(files.keys()) != 0 {
		t.Errorf("%s, poll %d: left behind: %v", s.Name, n, files.keys())
	}
	if took > limit+500*time.Millisecond && obs.Duration > limit+500*time.Millisecond {
		t.Errorf("%s, poll %d: took %s", s.Name, n, took)
	}
	for end := time.Now().Add(time.Second); socketsTo(t, s.Addr) > s.MayKeep(obs.Outcome); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("%s, poll %d (%s): a socket is left a second later", s.Name, n, obs.Outcome)
			return
		}
	}
}

// socketsTo counts this machine's open sockets connected to an IPv4 address.
func socketsTo(t *testing.T, to netip.AddrPort) int {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Error(err)
		return 0
	}
	return hostile.SocketsTo(string(table), to)
}

// A body that is at hand already is inflated no longer than the poll's limit: the
// connection's deadline does not end what needs no more bytes of it (G14).
func TestABombIsInflatedNoLongerThanTheLimit(t *testing.T) {
	limit := deadline{start: time.Now().Add(-time.Minute), limit: time.Second, takeLong: func() bool { return false }}
	b := &body{r: strings.NewReader(strings.Repeat("0", 100)), limit: &limit, max: 1 << 20}
	if n, err := b.Read(make([]byte, 10)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading after the limit: %d bytes, %v", n, err)
	}
	limit.start, limit.expired = time.Now(), false
	b.err = nil
	if n, err := b.Read(make([]byte, 10)); n != 10 || err != nil {
		t.Errorf("reading in time: %d bytes, %v", n, err)
	}
}
