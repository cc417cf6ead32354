//go:build ci

package results

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"poller/internal/s3test"
	"poller/order"
)

// An answer that is lost, or a 500 after the fact, does not make an attempt a failure: the next one finds the file there.
func TestS3PutIsSafeToRepeat(t *testing.T) {
	server := s3test.Start(t)
	s := openS3(t, options(t, server))
	p := s3Place(server, S3Options{})
	for name, fail := range map[string]func(w http.ResponseWriter){
		"500":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"lost": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	} {
		for _, after := range []bool{false, true} {
			var puts atomic.Int32
			server.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.Method == http.MethodPut && puts.Add(1) == 1 {
					if after {
						next.ServeHTTP(discardAnswer{}, r)
					}
					fail(w)
					return
				}
				next.ServeHTTP(w, r)
			})
			file := p.put(t, s, "order-1", "hello")
			if err := s.Verify(t.Context(), file); err != nil || puts.Load() != 2 {
				t.Errorf("%s, after: %v: %d requests, %v", name, after, puts.Load(), err)
			}
		}
	}
}

// kill -9 of the server in the middle of a file: an error, nothing partial, and the next one is kept.
func TestS3ServerKilledInMidPut(t *testing.T) {
	server := s3test.Start(t)
	s := openS3(t, options(t, server))
	p := s3Place(server, S3Options{})
	content := strings.Repeat("0123456789abcdef", 1<<20) // 16 MiB
	server.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPut {
			r.Body = &killingBody{ReadCloser: r.Body, after: 4 << 20, kill: server.Kill}
		}
		next.ServeHTTP(w, r)
	})
	w, err := s.Create(t.Context(), "order-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := w.Close(); err == nil || errors.Is(err, order.ErrNoSpace) || !strings.Contains(err.Error(), "the S3 server can't be reached") {
		t.Errorf("Close: %v", err)
	}
	server.Inject(nil)
	server.Restart()
	if size, _, err := s.Stat(t.Context(), w.key); !errors.Is(err, order.ErrNotFound) {
		t.Errorf("Stat: %d bytes, %v", size, err)
	}
	if left := p.keys(t); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if err := s.Verify(t.Context(), p.put(t, s, "order-1", content)); err != nil {
		t.Error(err)
	}
}

type killingBody struct {
	io.ReadCloser
	after int
	kill  func()
}

func (b *killingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.after -= n; b.after < 0 {
		b.kill()
	}
	return n, err
}

// A connection that breaks while a file is served is no damage of the file, and no whole file either.
func TestS3CutAnswerIsNeitherDamageNorAFile(t *testing.T) {
	server := s3test.Start(t)
	s := openS3(t, options(t, server))
	p := s3Place(server, S3Options{})
	file := p.put(t, s, "order-1", strings.Repeat("x", 1<<20))
	server.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&cuttingAnswer{ResponseWriter: w, left: 100_000}, r)
	})
	r, err := s.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, err := io.Copy(io.Discard, r)
	if n >= file.Size || err == nil || errors.Is(err, order.ErrDamaged) || !strings.Contains(err.Error(), "the connection was cut") {
		t.Errorf("%d bytes, %v", n, err)
	}
	server.Inject(nil)
	if err := s.Verify(t.Context(), file); err != nil {
		t.Error(err)
	}
}

type cuttingAnswer struct {
	http.ResponseWriter
	left int
}

func (c *cuttingAnswer) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(p)
}

type discardAnswer struct{}

func (discardAnswer) Header() http.Header         { return http.Header{} }
func (discardAnswer) Write(p []byte) (int, error) { return len(p), nil }
func (discardAnswer) WriteHeader(int)             {}

func (c *cuttingAnswer) Unwrap() http.ResponseWriter { return c.ResponseWriter }
