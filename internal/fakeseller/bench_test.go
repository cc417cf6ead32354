package fakeseller

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

var benchBody = []byte(`{"status":"processing","progress":50}`)

func TestAddressesAreHostsOfTheirOwn(t *testing.T) {
	s, client := start(t, Options{Bench: benchBody, Addresses: 300})
	for round, want := range []Traffic{{Connections: 2, Handshakes: 2, Requests: 2}, {Connections: 4, Handshakes: 4, Resumptions: 2, Requests: 4}} {
		for _, host := range []int{0, 299} {
			answer, err := pollAt(t.Context(), s, client, host, "acme", "1")
			if err != nil {
				t.Fatal(err)
			}
			if n := len(answer.TLS.VerifiedChains); round == 0 && (n != 1 || len(answer.TLS.VerifiedChains[0]) != 3) {
				t.Errorf("%d chains, want one of three certificates", n)
			}
			answer.Body.Close()
		}
		client.CloseIdleConnections()
		if got := s.Traffic(); got != want {
			t.Errorf("round %d: got %+v, want %+v", round, got, want)
		}
	}
	if got, want := s.URL(299), "https://127.1.1.43:"+strconv.Itoa(s.Port(0)); got != want || s.Hosts() != 300 {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := Start(t.Context(), Options{Bench: benchBody, Addresses: maxAddresses + 1}); err == nil {
		t.Error("too many addresses are taken")
	}
}

// stranger is a connection from elsewhere.
type stranger struct {
	net.Conn
	closed bool
}

func (*stranger) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:1"))
}
func (c *stranger) Close() error { c.closed = true; return nil }

type strangers struct {
	net.Listener
	once *stranger
}

func (l *strangers) Accept() (net.Conn, error) {
	if !l.once.closed {
		return l.once, nil
	}
	return nil, net.ErrClosed
}

func TestOnlyLoopbackIsServed(t *testing.T) {
	from := &stranger{}
	if c, err := (loopbackOnly{&strangers{once: from}}).Accept(); !errors.Is(err, net.ErrClosed) || !from.closed {
		t.Errorf("got %v, %v, closed %v", c, err, from.closed)
	}
}

// statusOf polls an order of a server in bench mode and returns what it is told.
func statusOf(t *testing.T, s *Server, seller, order string) (status string, progress float64, file []byte) {
	t.Helper()
	client := s.Client()
	defer client.CloseIdleConnections()
	_, body, _ := ask(t, s, client, seller, order)
	var said struct {
		Status   string
		Progress float64
		File     string `json:"file_base64"`
	}
	if err := json.Unmarshal([]byte(body), &said); err != nil {
		t.Fatalf("%v: %.100s", err, body)
	}
	file, err := base64.StdEncoding.DecodeString(said.File)
	if err != nil {
		t.Fatal(err)
	}
	return said.Status, said.Progress, file
}

func TestBehaviourIsTheGroups(t *testing.T) {
	s, _ := start(t, Options{Bench: benchBody, Addresses: 1})
	status := func(seller string) string { s, _, _ := statusOf(t, s, seller, "order-7"); return s }
	for _, c := range [][2]string{{"*", "ends 1"}, {"slow", "delay 1ns"}} {
		if err := s.Behave(c[0], c[1]); err != nil {
			t.Fatal(err)
		}
	}
	if a, b, c := status("slow-1"), status("other-1-2"), status("slow"); a != "processing" || b != "completed" || c != "processing" {
		t.Errorf("got %s of a group with its own behaviour, %s of another, %s of a seller that is a whole group", a, b, c)
	}
	if err := s.Behave("*", "processing"); err != nil || status("other-1-2") != "processing" {
		t.Errorf("%v, or a group did not change its behaviour", err)
	}
	for _, wrong := range []string{"", "sleep", "delay", "ends x", "ends 0", "file x"} {
		if err := s.Behave("*", wrong); err == nil {
			t.Errorf("behaviour %q is taken", wrong)
		}
	}
	scripted, _ := start(t, Options{})
	if scripted.Behave("*", "hang") == nil || scripted.Forget() == nil || len(scripted.Groups()) != 0 {
		t.Error("groups without bench mode")
	}
}

func TestOneOrderInNEndsInEachRound(t *testing.T) {
	const n, orders = 100, 50_000
	b, err := newBehaviour("ends 100", benchBody)
	if err != nil {
		t.Fatal(err)
	}
	ended := make([]int, orders)
	sellers := make(map[int]bool)
	for round := range n {
		for order := range orders {
			if &b.answer(order, round)[0] == &b.ended[0] {
				ended[order]++
				if round == 0 {
					sellers[order%500] = true
				}
			}
		}
	}
	for order, times := range ended {
		if times != 1 {
			t.Fatalf("order %d ended in %d of %d rounds", order, times, n)
		}
	}
	if len(sellers) < 250 {
		t.Errorf("in a round orders of only %d of 500 sellers end", len(sellers))
	}
}

func TestProgressMovesByMoreThanFivePoints(t *testing.T) {
	s, _ := start(t, Options{Bench: benchBody, Addresses: 1})
	before := 50.0
	for range 20 {
		if err := s.Behave("*", "progress"); err != nil {
			t.Fatal(err)
		}
		_, progress, _ := statusOf(t, s, "a-1", "1")
		if moved := progress - before; moved > -6 && moved < 6 {
			t.Errorf("from %v to %v", before, progress)
		}
		before = progress
	}
}

func TestBenchFileIsWhatIsSent(t *testing.T) {
	s, _ := start(t, Options{Bench: benchBody})
	if err := s.Behave("*", "file 100000"); err != nil {
		t.Fatal(err)
	}
	if _, _, file := statusOf(t, s, "a-1", "1"); (File{Bytes: file}).SHA256() != BenchFile(100_000).SHA256() {
		t.Errorf("another file, of %d bytes", len(file))
	}
}

func TestGroupsAreCounted(t *testing.T) {
	s, client := start(t, Options{Bench: benchBody, Addresses: 1})
	for _, order := range []string{"order-1", "order-0001", "order-70000", "x"} {
		ask(t, s, client, "a-1", order)
	}
	ask(t, s, client, "b-1", "1")
	got := settled(s, "a", 0)
	if got.Requests != 4 || got.Orders != 2 || got.MostAtOnce != 1 || got.LongestGap <= 0 || got.LongestGap > got.Last-got.First || got.BusiestSecond < 1 || got.Seconds < 1 {
		t.Errorf("got %+v", got)
	}
	if err := s.Forget(); err != nil {
		t.Fatal(err)
	}
	if got := s.Groups()["a"]; got != (Group{}) {
		t.Errorf("after Forget: %+v", got)
	}
	if ask(t, s, client, "a-1", "order-1"); s.Groups()["a"].Orders != 1 {
		t.Error("an order is not new after Forget")
	}
}

// settled waits until so many requests of a group are unanswered.
func settled(s *Server, group string, unanswered int64) Group {
	for {
		if seen := s.Groups()[group]; seen.Unanswered == unanswered {
			return seen
		}
		runtime.Gosched()
	}
}

func TestBenchHangsEndWithTheClient(t *testing.T) {
	s, client := start(t, Options{Bench: benchBody, Addresses: 1})
	if err := s.Behave("a", "hang"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			answer, err := poll(ctx, s, client, "a-1", "1")
			if err == nil {
				_, _ = io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
			}
			ended <- err
		}()
	}
	settled(s, "a", 2)
	cancel()
	for range 2 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	if seen := settled(s, "a", 0); seen.MostAtOnce != 2 || seen.Orders != 1 {
		t.Errorf("got %+v", seen)
	}
}

func TestAsked(t *testing.T) {
	for line, want := range map[string]string{
		"GET /seller-00012/status/order-0000123 HTTP/1.1\r\n": "seller 123",
		"GET /a-b-c/status/7 HTTP/1.1\r\n":                    "a-b 7",
		"GET /whole/status/x HTTP/1.1\r\n":                    "whole -1",
		"GET /s-1/status/99999999999999999999 HTTP/1.1\r\n":   "s 99999999",
		"GET / HTTP/1.1\r\n":                                  " -1",
		"\r\n":                                                " -1",
		"":                                                    " -1",
	} {
		group, order := asked([]byte(line))
		if got := string(group) + " " + strconv.Itoa(order); got != want {
			t.Errorf("%q: got %q, want %q", strings.TrimSpace(line), got, want)
		}
	}
}

func BenchmarkGroupRecord(b *testing.B) {
	all, line := newGroups(benchBody, 0), []byte("GET /seller-00012/status/order-0000123 HTTP/1.1\r\n")
	b.ReportAllocs()
	for b.Loop() {
		name, order := asked(line)
		g := all.find(name)
		r := g.begin(order, time.Now())
		g.end(r, time.Now())
	}
}
