package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"poller/fetcher"
	"poller/order"
)

// said is an answer of a seller that ends an order.
type said struct {
	outcome order.Outcome
	text    string // of the result, or of the failure
	file    bool   // the text came as a file
	d       *simDaemon
	at      time.Time
}

// simSellers are all sellers. How one behaves is its mode.
type simSellers struct {
	t   *testing.T
	sim *sim

	mu     sync.Mutex
	rnd    *rand.Rand
	mode   map[string]string
	ends   map[string][]said                // by remote id
	kinds  map[string]map[order.Outcome]int // polls, by remote id and outcome
	polls  map[string]int                   // by remote id, since it was last cleared
	flying map[string]int
	n      int
}

var simModes = []string{"well", "well", "well", "ends", "slow", "later", "hangs", "refuses", "garbage", "missing", "throttles", "wrong", "error", "redirects", "mixed"}

// asked is one poll of one daemon.
func (s *simSellers) asked(ctx context.Context, d *simDaemon, files fetcher.Files, a order.Ask) order.Observation {
	began, wall := time.Now(), s.sim.wall()
	stopped := order.Observation{Outcome: order.LocalFault, Detail: "shutting down", StartedAt: wall}
	s.mu.Lock()
	if d.cut.Load() {
		s.mu.Unlock()
		return stopped
	}
	id := a.RemoteID
	if s.flying[id]++; s.flying[id] > 1 {
		s.t.Errorf("%s is polled while it is being polled", id)
	}
	obs, takes, end := s.answer(s.mode[a.Seller.ID], id)
	s.mu.Unlock()
	cutOff := false
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		cutOff = true
	}
	if end != nil && end.file && !cutOff {
		obs = s.bring(ctx, files, a, obs, end)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flying[id]--
	if cutOff || d.cut.Load() {
		return stopped
	}
	s.polls[id]++
	if s.kinds[id] == nil {
		s.kinds[id] = map[order.Outcome]int{}
	}
	s.kinds[id][obs.Outcome]++
	if end != nil {
		end.d, end.at = d, time.Now()
		s.ends[id] = append(s.ends[id], *end)
	}
	obs.StartedAt, obs.Duration = wall, time.Since(began)
	return obs
}

// answer is what a seller says. The lock is held.
func (s *simSellers) answer(mode, id string) (obs order.Observation, takes time.Duration, end *said) {
	takes = time.Duration(s.rnd.IntN(300)) * time.Millisecond
	if mode == "mixed" {
		mode = simModes[s.rnd.IntN(len(simModes)-1)]
	}
	said200 := order.Observation{Outcome: order.Processing, Answered: true, HTTPStatus: 200, Bytes: 40}
	bad := func(o order.Outcome, status int) order.Observation {
		return order.Observation{Outcome: o, Answered: true, HTTPStatus: status, Detail: "HTTP " + strconv.Itoa(status)}
	}
	switch mode {
	case "ends":
		if s.rnd.IntN(3) > 0 {
			break
		}
		s.n++
		end = &said{outcome: order.Completed, text: fmt.Sprintf("%s, answer %d", id, s.n)}
		switch s.rnd.IntN(3) {
		case 0:
			end.outcome = order.SellerFailed
			said200.SellerError.Message = end.text
		case 1:
			end.file = true
		default:
			said200.Result = &order.Result{OutputType: order.OutputText, Text: &end.text}
		}
		said200.Outcome = end.outcome
		return said200, takes, end
	case "slow":
		takes = time.Duration(s.rnd.IntN(7000)) * time.Millisecond
	case "later":
		wait := time.Duration(s.rnd.IntN(4000)) * time.Second
		said200.RetryAfter = &wait
	case "hangs":
		return order.Observation{Outcome: order.Timeout, Detail: "no answer within 8s"}, 8 * time.Second, nil
	case "refuses":
		return order.Observation{Outcome: order.Unreachable, Detail: "connect: connection refused", NoConnection: true}, takes, nil
	case "garbage":
		return bad(order.InvalidResponse, 200), takes, nil
	case "missing":
		return bad(order.NotFound, 404), takes, nil
	case "throttles":
		o, wait := bad(order.Throttled, 429), time.Duration(1+s.rnd.IntN(600))*time.Second
		if s.rnd.IntN(2) == 0 {
			o.RetryAfter = &wait
		}
		return o, takes, nil
	case "wrong":
		return bad(order.RejectedResult, 200), takes, nil
	case "error":
		return bad(order.HTTPError, 500), takes, nil
	case "redirects":
		return bad(order.Blocked, 302), takes, nil
	}
	percent := float64(s.rnd.IntN(100))
	said200.Progress = &percent
	return said200, takes, nil
}

// bring keeps the file of a completed answer, as the fetcher does.
func (s *simSellers) bring(ctx context.Context, files fetcher.Files, a order.Ask, obs order.Observation, end *said) order.Observation {
	a.Reserve(int64(len(end.text)))
	w, err := files.Create(ctx, a.RemoteID)
	if err == nil {
		_, err = io.WriteString(w, end.text)
	}
	var f order.File
	if err == nil {
		f.ObjectKey, f.Size, f.SHA256, err = w.Close()
	}
	if err != nil {
		s.t.Errorf("file of %s: %v", a.RemoteID, err)
	}
	f.Filename, f.MIMEType = "answer.txt", "text/plain"
	obs.Result = &order.Result{OutputType: order.OutputFile, Files: []order.File{f}}
	return obs
}

// simPlatform takes the webhooks, unless it is down.
type simPlatform struct {
	t     *testing.T
	sim   *sim
	conns chan net.Conn
	over  chan struct{} // closed at the end
	once  sync.Once
	srv   *http.Server

	mu     sync.Mutex
	mode   string            // up, refuses, hangs, fails
	bodies map[uint64]string // by number, as first sent
	erased map[uint64]string // ... and as first sent since the erasure
	taken  map[uint64]int    // by number
}

func newSimPlatform(s *sim) *simPlatform {
	p := &simPlatform{t: s.t, sim: s, mode: "up", conns: make(chan net.Conn), over: make(chan struct{}), bodies: map[uint64]string{}, erased: map[uint64]string{}, taken: map[uint64]int{}}
	p.srv = &http.Server{Handler: p, ReadHeaderTimeout: time.Hour}
	go func() { _ = p.srv.Serve(p) }()
	return p
}

// Accept, Close and Addr make it a listener.
func (p *simPlatform) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.over:
		return nil, net.ErrClosed
	}
}

func (p *simPlatform) Close() error {
	p.once.Do(func() { close(p.over) })
	return nil
}

func (p *simPlatform) Addr() net.Addr { return &net.TCPAddr{} }

func (p *simPlatform) is() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode
}

func (p *simPlatform) dial(ctx context.Context, d *simDaemon) (net.Conn, error) {
	if d.cut.Load() || p.is() == "refuses" {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return &cutConn{ours, d}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// cutConn is a connection of a daemon that may die.
type cutConn struct {
	net.Conn
	d *simDaemon
}

func (c *cutConn) Write(b []byte) (int, error) {
	if c.d.cut.Load() {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// ServeHTTP takes a webhook. Same id, same body, every try; but for an erasure, which replaces it once.
func (p *simPlatform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut off
	}
	p.mu.Lock()
	mode := p.mode
	id := r.Header.Get("Webhook-Id")
	number, err := strconv.ParseUint(id[strings.LastIndexByte(id, '-')+1:], 10, 64)
	var got struct {
		Number uint64
		Store  string
		Data   json.RawMessage
	}
	if e := json.Unmarshal(body, &got); err != nil || e != nil || got.Number != number || id != got.Store+"-"+strconv.FormatUint(number, 10) {
		p.t.Errorf("webhook %q: %s", id, body)
	}
	sent := p.bodies
	if bytes.Equal(bytes.TrimSpace(got.Data), []byte(`{"erased":true}`)) {
		sent = p.erased
	} else if p.erased[number] != "" {
		p.t.Errorf("webhook %d has its data again after the erasure", number)
	}
	if before, ok := sent[number]; ok && before != string(body) {
		p.t.Errorf("webhook %d changed from\n%s\nto\n%s", number, before, body)
	}
	sent[number] = string(body)
	if mode == "up" {
		p.taken[number]++
	}
	p.mu.Unlock()
	switch mode {
	case "up":
		w.WriteHeader(http.StatusNoContent)
	case "hangs":
		<-r.Context().Done()
	default:
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}
