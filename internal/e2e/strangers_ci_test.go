//go:build ci

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"poller/internal/hostile"
)

// forbidden are blocks that nothing may be sent to (SPEC §2, "Public").
var forbidden = map[string][]string{
	"ip": {"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"},
	"ip6": {"::/8", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"},
}

const (
	innerAPI     = "127.0.0.1:18080" // not counted: the test's own
	innerMetrics = "127.0.0.1:19464"
	innerDNS     = "127.0.0.53:53" // counted by itself
)

// TestStrangersBehindTheGuard runs the daemon with its default guard in a
// network of its own, where sellers have public addresses and inner addresses
// can be reached: each hostile seller's order has the outcome it must have, and
// no packet goes where none may (G14, G16–G18, G20, G21).
func TestStrangersBehindTheGuard(t *testing.T) {
	if os.Getenv("POLLER_INSIDE") != "" {
		strangersInside(t)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	for _, program := range []string{"unshare", "ip", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v: install util-linux, iproute2 and nftables", err)
		}
	}
	// Both namespaces go with their last process.
	cmd := exec.CommandContext(ctx, "unshare", "--net", "--mount", "--kill-child", "--fork", os.Args[0], "-test.run", "^TestStrangersBehindTheGuard$", "-test.v")
	cmd.Env = append(os.Environ(), "POLLER_INSIDE=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("inside: %v\n%s\n…\n%s", err, out[:min(len(out), 4000)], out[max(0, len(out)-20000):])
	}
	t.Logf("%s", out)
}

// innerNetwork sets up addresses, a resolver and counters.
func innerNetwork(t *testing.T) {
	t.Helper()
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	noError(t, os.WriteFile(resolv, []byte("nameserver 127.0.0.53\n"), 0o600), "writing resolv.conf")
	run(t, "", "mount", "--bind", resolv, "/etc/resolv.conf")
	for _, args := range []string{"link set lo up", "addr add 5.0.0.0/16 dev lo", "link add v0 type veth peer name v1", "link set v0 up", "link set v1 up",
		"addr add 10.0.0.1/32 dev lo", "addr add 192.168.0.1/32 dev lo", "addr add 169.254.169.254/32 dev lo", "-6 addr add fd00::1/128 dev lo", "-6 addr add 64:ff9b::a00:1/128 dev lo",
		"route add default dev v0", "-6 route add default dev v0"} {
		run(t, "", "ip", strings.Fields(args)...)
	}
	var rules strings.Builder
	rules.WriteString("table inet g {\n chain out {\n  type filter hook output priority 0;\n")
	fmt.Fprintf(&rules, "  ip daddr 127.0.0.1 tcp dport { 18080, 19464 } accept\n  ip daddr 127.0.0.1 tcp sport { 18080, 19464 } accept\n")
	rules.WriteString("  ip daddr 127.0.0.53 udp dport 53 counter accept\n  ip daddr 127.0.0.53 tcp dport 53 counter accept\n  ip saddr 127.0.0.53 accept\n")
	rules.WriteString("  icmpv6 type { nd-neighbor-solicit, nd-router-solicit, mld2-listener-report } accept\n")
	for family, blocks := range forbidden {
		for _, b := range blocks {
			fmt.Fprintf(&rules, "  %s daddr %s counter comment \"forbidden\"\n", family, b)
		}
	}
	rules.WriteString("  tcp flags & (syn | ack) == syn tcp dport != { 443, 8443 } counter comment \"forbidden\"\n }\n}\n")
	run(t, rules.String(), "nft", "-f", "-")
}

// strayed lists the rules that counted packets to where none may go.
func strayed(t *testing.T) (rules []string) {
	t.Helper()
	n := 0
	for line := range strings.Lines(run(t, "", "nft", "list", "table", "inet", "g")) {
		if strings.Contains(line, "forbidden") {
			n++
			if !strings.Contains(line, "packets 0 ") {
				rules = append(rules, strings.TrimSpace(line))
			}
		}
	}
	if n < 20 {
		t.Fatalf("only %d rules count", n)
	}
	return rules
}

func run(t *testing.T, input, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func strangersInside(t *testing.T) {
	innerNetwork(t)
	w, err := hostile.Start(t.Context(), hostile.Options{
		Timeout: time.Second, DNS: innerDNS, Inner: netip.MustParseAddrPort("10.0.0.1:443"),
		Listen: func(ctx context.Context, n int) (net.Listener, error) {
			return new(net.ListenConfig).Listen(ctx, "tcp4", fmt.Sprintf("5.0.%d.%d:443", n/250, 1+n%250))
		},
	}, hostile.All())
	noError(t, err, "starting the strangers")
	defer w.Close()
	s := newSite(t, 1)
	ca := filepath.Join(s.dir, "strangers.pem")
	noError(t, os.WriteFile(ca, w.CA.PEM(), 0o600), "writing the CA's certificate")
	for _, k := range []string{"fetch.allow_ports", "fetch.allow_networks"} {
		delete(s.config, k)
	}
	s.set("fetch.ca_file", ca, "fetch.timeout", "1s", "fetch.body_timeout", "6s", "api.listen", innerAPI, "metrics.listen", innerMetrics)
	d := s.start()
	for _, x := range append(w.Sellers, w.Other) {
		d.call(http.MethodPut, "/v1/sellers/"+x.Name, object{"status_url": x.StatusURL(), "headers": object{"Authorization": x.Secret()}}, http.StatusCreated, nil)
	}
	rounds := 2
	if f := tortureFactor(t); f > 1 {
		rounds = 1 + f*4/3 // 10,000 polls of them with 20
	}
	var base map[string]float64
	for round := range rounds {
		before := d.log.mark()
		strangersRound(t, d, w, round)
		checkLines(t, d.log.since(before), len(w.Sellers))
		now := runtimeSamples(d)
		t.Logf("after %d polls: %v", (round+1)*len(w.Sellers), now)
		switch {
		case (round+1)*len(w.Sellers) < 500 && rounds > 2:
		case base == nil:
			base = now
		case now["series"] != base["series"]:
			t.Errorf("%v series, there were %v (G21)", now["series"], base["series"])
		}
	}
	if rounds > 3 {
		settled(t, d, base)
	}
	strangersSweep(t, s, d, w, rounds)
	if rules := strayed(t); len(rules) > 0 {
		t.Errorf("packets went where none may (G16):\n%s", strings.Join(rules, "\n"))
	}
	for _, r := range w.Requests() {
		if from := r.Leaked(); from != "" {
			t.Errorf("the headers of %s came to %s (G17)", from, r.At.Name)
		}
	}
	// The counters do count.
	if c, err := net.DialTimeout("tcp", "10.0.0.1:443", time.Second); err == nil {
		_ = c.Close()
	}
	if len(strayed(t)) == 0 {
		t.Error("the counters count nothing")
	}
}

// strangersRound polls one new order of every seller.
func strangersRound(t *testing.T, d *daemon, w *hostile.World, round int) {
	t.Helper()
	turn := make(chan struct{}, 24)
	var all sync.WaitGroup
	for _, x := range w.Sellers {
		turn <- struct{}{}
		all.Go(func() {
			defer func() { <-turn }()
			id := fmt.Sprintf("%s~%d", x.Name, round)
			d.submit(x.Name, id)
			start := time.Now()
			var got struct{ Outcome, Detail string }
			d.call(http.MethodPost, "/v1/orders/"+id+"/poll", nil, http.StatusOK, &got)
			want := fmt.Sprint(x.Want)
			outcome := got.Outcome
			if !slices.Contains(strings.Fields(strings.Trim(want, "[]")), outcome) || !strings.Contains(got.Detail, x.Detail) {
				t.Errorf("%s: %s %q, want %s %q", x.Name, got.Outcome, got.Detail, want, x.Detail)
			}
			if took := time.Since(start); took > 6500*time.Millisecond+5*time.Second {
				t.Errorf("%s: the poll took %s (G14)", x.Name, took)
			}
		})
	}
	all.Wait()
}

// checkLines checks what a round has logged (G20): each line is short and
// clean, and no poll has more than three. What names no order counts for all.
func checkLines(t *testing.T, lines []string, polls int) {
	t.Helper()
	perOrder, others := map[string]int{}, 0
	for _, line := range lines {
		if len(line) > 8<<10 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("a log line of %d bytes, or with control bytes: %.200q", len(line), line)
		}
		var l logLine
		noError(t, json.Unmarshal([]byte(line), &l), "decoding a log line")
		if id := l.text("order_id"); id != "" {
			perOrder[id]++
		} else {
			others++
		}
	}
	for id, n := range perOrder {
		if n > 3 {
			t.Errorf("order %s: %d log lines in one poll", id, n)
		}
	}
	if len(perOrder) < polls*9/10 || others > polls/2 {
		t.Errorf("log lines of %d orders of %d, and %d of none", len(perOrder), polls, others)
	}
}

// strangersSweep polls everything at once in a sweep: a seller that behaves
// waits at most one timeout for its turn, whatever all others do (G15).
func strangersSweep(t *testing.T, s *site, d *daemon, w *hostile.World, round int) {
	t.Helper()
	d.stop()
	s.set("fetch.timeout", "8s", "fetch.body_timeout", "30s") // as it is by default: what behaves is in time on a busy machine too
	d = s.start()
	for _, x := range w.Sellers {
		d.submit(x.Name, fmt.Sprintf("%s~%d", x.Name, round))
	}
	good := names("good", 4)
	d.submitMany(w.Other.Name, good...)
	mark, start := d.log.mark(), time.Now()
	d.call(http.MethodPost, "/v1/sweeps", nil, http.StatusAccepted, nil)
	for _, id := range good {
		noError(t, d.log.wait(within(t), mark, func(line string) bool {
			return strings.Contains(line, `"polled"`) && strings.Contains(line, `"order_id":"`+id+`"`)
		}), "waiting for the poll of "+id)
	}
	if took := time.Since(start); took > 8*time.Second+5*time.Second {
		t.Errorf("the orders of a seller that behaves waited %s beside %d strangers (G15)", took, len(w.Sellers))
	} else {
		t.Logf("the orders of a seller that behaves waited %s beside %d strangers", took.Round(time.Millisecond), len(w.Sellers))
	}
}

// settled waits until goroutines and open files are within 5 % of what they
// were, and memory too (G26): kept connections are given up meanwhile.
func settled(t *testing.T, d *daemon, base map[string]float64) {
	t.Helper()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		now := runtimeSamples(d)
		var grown []string
		for _, name := range []string{"go_goroutines", "process_open_fds", "process_resident_memory_bytes"} {
			if now[name] > base[name]*1.05 {
				grown = append(grown, fmt.Sprintf("%s: %v, it was %v", name, now[name], base[name]))
			}
		}
		if len(grown) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Errorf("after all polls (G26): %s", strings.Join(grown, "; "))
			return
		}
	}
}
