package results

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are pipes, so that time is the test's.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

// timed runs a test in a bubble, with a server on pipes.
func timed(t *testing.T, test func(*uploadSite, *pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, p := newSite(t), newPipes()
		stop := s.serve(p)
		test(s, p)
		stop()
	})
}

// begin sends the head of a PUT and a part of its body.
func (s *uploadSite) begin(conn net.Conn, signedURL string, size int, part string) {
	s.Helper()
	if _, err := io.WriteString(conn, head(signedURL, "Content-Type: "+pdf, fmt.Sprint("Content-Length: ", size))+part); err != nil {
		s.Fatal(err)
	}
}

// end reads the answer.
func (s *uploadSite) end(conn net.Conn) answer {
	s.Helper()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.Fatal(err)
	}
	return s.read(res)
}

func TestAStalledUploadEndsAfter30Seconds(t *testing.T) {
	timed(t, func(s *uploadSite, p *pipes) {
		key, signedURL := s.prepare("order-1", 10)
		conn := p.dial()
		defer conn.Close()
		began := time.Now()
		s.begin(conn, signedURL, 10, "01234")
		if a := s.end(conn); a.status != http.StatusRequestTimeout || time.Since(began) > uploadIdle+uploadLinger {
			s.Errorf("%d after %s", a.status, time.Since(began))
		}
		s.holds(nil)
		again := p.dial()
		defer again.Close()
		s.begin(again, signedURL, 10, "0123456789")
		if a := s.end(again); a.status != http.StatusCreated || a.kept.SHA256 != digest("0123456789") {
			s.Errorf("%d %+v", a.status, a.problem)
		}
		s.holds(map[string]string{key: "0123456789"})
	})
}

func TestADrippingUploadEndsAfterTenMinutes(t *testing.T) {
	timed(t, func(s *uploadSite, p *pipes) {
		_, signedURL := s.prepare("order-1", 1000)
		conn := p.dial()
		defer conn.Close()
		began := time.Now()
		s.begin(conn, signedURL, 1000, "")
		done := make(chan answer)
		go func() { done <- s.end(conn) }()
		tick := time.NewTicker(20 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_, _ = io.WriteString(conn, "x") // ends with the answer
			case a := <-done:
				if d := time.Since(began); a.status != http.StatusRequestTimeout || d < uploadTime || d > uploadTime+uploadIdle {
					s.Errorf("%d after %s", a.status, d)
				}
				s.holds(nil)
				return
			}
		}
	})
}

func TestSlowHeadersEndAfterTenSeconds(t *testing.T) {
	timed(t, func(s *uploadSite, p *pipes) {
		conn := p.dial()
		defer conn.Close()
		began := time.Now()
		if _, err := io.WriteString(conn, "PUT / HTTP/1.1\r\nHost:"); err != nil {
			s.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, conn)
		if d := time.Since(began); d > uploadHeaderTime+time.Second {
			s.Errorf("ended after %s", d)
		}
	})
}

// A proxy that still sends when the answer comes must be able to read it: no reset.
func TestARefusalIsReadByWhoIsStillSending(t *testing.T) {
	const size = 16 << 20 // more than sockets hold
	s := listening(t)
	_, signedURL := s.prepare("order-1", size)
	conn := s.dial()
	if a := s.raw(conn, head(signedURL, "Content-Type: text/html", fmt.Sprint("Content-Length: ", size)), false); a.status != http.StatusUnsupportedMediaType {
		t.Errorf("%d %+v", a.status, a.problem)
	}
	if _, err := io.WriteString(conn, strings.Repeat("x", size)); err != nil {
		t.Error(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the last byte: %v", err)
	}
}

// ... but who sends without end is not read for ever.
func TestARefusedUploadIsReadForHalfAMinute(t *testing.T) {
	timed(t, func(s *uploadSite, p *pipes) {
		_, signedURL := s.prepare("order-1", MaxUpload)
		conn := p.dial()
		defer conn.Close()
		if a := s.raw(conn, head(signedURL, "Content-Type: text/html", fmt.Sprint("Content-Length: ", MaxUpload)), false); a.status != http.StatusUnsupportedMediaType {
			s.Errorf("%d %+v", a.status, a.problem)
		}
		began, piece := time.Now(), strings.Repeat("x", uploadBuffer)
		for {
			if _, err := io.WriteString(conn, piece); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if d := time.Since(began); d < uploadLinger-2*time.Second || d > uploadLinger+2*time.Second {
			s.Errorf("ended after %s", d)
		}
	})
}

// One seller may have 8 at once, all together 32; the rest is told to come again.
func TestTooManyUploadsAtOnceAreToldToComeAgain(t *testing.T) {
	timed(t, func(s *uploadSite, p *pipes) {
		var open []net.Conn
		begin := func(seller string) net.Conn {
			key, signedURL := s.prepare("order-1", 2)
			o := s.slots.order[key]
			o.SellerID = seller
			s.slots.order[key] = o
			conn := p.dial()
			open = append(open, conn)
			s.begin(conn, signedURL, 2, "x")
			synctest.Wait()
			return conn
		}
		refused := func(seller string) {
			s.Helper()
			if a := s.end(begin(seller)); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") != "30" {
				s.Errorf("%s: %d %+v %v", seller, a.status, a.problem, a.header)
			}
		}
		for i := range uploadsAtOnce {
			begin(fmt.Sprint("seller-", i/uploadsPerSeller))
			if i == uploadsPerSeller-1 {
				refused("seller-0")
			}
		}
		refused("seller-9")
		if _, err := io.WriteString(open[0], "x"); err != nil {
			s.Fatal(err)
		}
		if a := s.end(open[0]); a.status != http.StatusCreated {
			s.Errorf("%d %+v", a.status, a.problem)
		}
		if _, err := io.WriteString(begin("seller-9"), "x"); err != nil {
			s.Fatal(err)
		}
		if a := s.end(open[len(open)-1]); a.status != http.StatusCreated {
			s.Errorf("%d %+v", a.status, a.problem)
		}
		for _, conn := range open {
			conn.Close()
		}
		synctest.Wait()
		if s.u.running != 0 || len(s.u.sellers) != 0 {
			s.Errorf("%d running, %v", s.u.running, s.u.sellers)
		}
	})
}

// Close cuts what Shutdown would wait for too long, and nothing stays.
func TestAServerThatStopsLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newSite(t), newPipes()
		stop := s.serve(p)
		_, signedURL := s.prepare("order-1", 2)
		conn := p.dial()
		defer conn.Close()
		s.begin(conn, signedURL, 2, "x")
		synctest.Wait()
		if left := names(t, s.path); len(left) != 2 {
			t.Errorf("on the way: %v", left)
		}
		stop()
		synctest.Wait()
		s.holds(nil)
	})
}

// Whatever bad PUTs come first, in whatever sequence, a good one then works.
func TestNoSequenceOfBadUploadsSpoilsASlot(t *testing.T) {
	seed := rand.Uint64()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	rng := rand.New(rand.NewPCG(seed, 0))
	s := listening(t)
	kept := map[string]string{}
	for range 60 {
		size := 1 + rng.IntN(200_000)
		content := strings.Repeat(string(rune('a'+rng.IntN(26))), size)
		key, signedURL := s.prepare("order-1", size)
		length := fmt.Sprint("Content-Length: ", size)
		bad := []func() answer{
			func() answer { return s.do(s.request(signedURL, content+"x")) },
			func() answer { return s.do(s.request(signedURL, content[1:])) },
			func() answer { return s.do(s.request(signedURL+"0", content)) },
			func() answer { return s.raw(s.dial(), head(signedURL, "Content-Type: a/b", length), true) },
			func() answer {
				return s.raw(s.dial(), head(signedURL, "Content-Type: "+pdf, length)+content[:rng.IntN(size)], true)
			},
			func() answer {
				s.at(uploadStart.Add(2 * UploadExpiry))
				defer s.at(uploadStart)
				return s.do(s.request(signedURL, content))
			},
			func() answer {
				s.full.Store(true)
				defer s.full.Store(false)
				return s.do(s.request(signedURL, content))
			},
		}
		for range rng.IntN(5) {
			i := rng.IntN(len(bad))
			if a := bad[i](); a.status < 400 {
				t.Errorf("bad PUT %d: %d", i, a.status)
			}
			s.holdsOnly(len(kept))
		}
		s.taken(key, signedURL, content)
		kept[key] = content
		if a := bad[rng.IntN(len(bad))](); a.status < 400 {
			t.Errorf("after the good one: %d", a.status)
		}
		s.holdsOnly(len(kept))
	}
	s.holds(kept)
}
