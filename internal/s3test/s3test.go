// Package s3test runs a real S3 server for tests: versitygw, which checks
// signatures, digests, sizes and conditions. scripts/install-ci.sh installs it,
// so tests that use it are built with the tag ci.
package s3test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The bucket that a new server has, and the keys that it takes.
const (
	Bucket    = "results"
	AccessKey = "AKIATESTTESTTEST"
	SecretKey = "s3-secret-of-tests"
)

// startTime is how long the server may take to answer, on a busy machine.
const startTime = 30 * time.Second

// Fault stands between a client and the server: it answers itself, breaks off
// (panic(http.ErrAbortHandler)), or passes the request on with next.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// Server is one S3 server with an empty bucket, behind a proxy on loopback
// that keeps its address while the server dies and comes back.
type Server struct {
	URL string

	t     testing.TB
	home  string // of socket and files; short, since paths of sockets are
	front *httptest.Server
	fault atomic.Pointer[Fault]
	log   bytes.Buffer

	mu      sync.Mutex
	process *exec.Cmd // nil: killed
}

// Start starts a server over plain HTTP. It ends with the test.
func Start(t testing.TB) *Server { return start(t, (*httptest.Server).Start) }

// StartTLS starts a server over HTTPS, whose certificate RootCAs signs.
func StartTLS(t testing.TB) *Server { return start(t, (*httptest.Server).StartTLS) }

func start(t testing.TB, listen func(*httptest.Server)) *Server {
	t.Helper()
	home, err := os.MkdirTemp("", "s3test-") //nolint:usetesting // the path of a socket has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	s := &Server{t: t, home: home}
	s.front = httptest.NewUnstartedServer(s.proxy())
	s.front.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that the tests cut off
	listen(s.front)
	s.URL = s.front.URL
	t.Cleanup(s.front.Close)
	for _, dir := range []string{s.path("meta"), s.path("buckets", Bucket)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.Restart()
	t.Cleanup(s.Kill)
	return s
}

func (s *Server) path(names ...string) string {
	return filepath.Join(append([]string{s.home}, names...)...)
}

// proxy passes requests on unchanged: their signatures stay good.
func (s *Server) proxy() http.Handler {
	dialer := net.Dialer{}
	next := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "versitygw"})
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{
			DisableCompression: true,
			DisableKeepAlives:  true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", s.path("s"))
			},
		},
		FlushInterval: -1,
		// A server that is gone is a connection that breaks, not an answer.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := s.fault.Load(); f != nil {
			(*f)(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Inject puts a fault in the way of every request from now on; nil: no more.
func (s *Server) Inject(f Fault) {
	if f == nil {
		s.fault.Store(nil)
		return
	}
	s.fault.Store(&f)
}

// RootCAs signed the certificate of StartTLS.
func (s *Server) RootCAs() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.front.Certificate())
	return pool
}

// File is where the server keeps an object of Bucket.
func (s *Server) File(key string) string { return s.path("buckets", Bucket, filepath.FromSlash(key)) }

// Kill kills the server (SIGKILL) and waits until it is gone.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	_ = s.process.Wait() // it was killed
	s.process = nil
}

// Restart starts the server again and waits until it answers.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.Remove(s.path("s")); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	cmd := exec.Command(program(s.t), "--quiet", "--port", s.path("s"), "posix", "--sidecar", s.path("meta"), s.path("buckets")) //nolint:noctx // it ends with the test
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+AccessKey, "ROOT_SECRET_ACCESS_KEY="+SecretKey)
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.process = cmd
	for deadline := time.Now().Add(startTime); ; time.Sleep(10 * time.Millisecond) { //nolint:forbidigo // it tells nobody that it listens
		conn, err := net.Dial("unix", s.path("s")) //nolint:noctx // a local socket
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("versitygw does not listen: %v\n%s", err, s.log.String())
		}
	}
}

// program finds versitygw where scripts/install-ci.sh puts it, or in the PATH.
func program(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("the test does not run within the module")
		}
	}
	if installed := filepath.Join(dir, "bin", "versitygw"); exec.Command(installed, "--version").Run() == nil { //nolint:noctx // it prints a line
		return installed
	}
	path, err := exec.LookPath("versitygw")
	if err != nil {
		t.Fatal("versitygw is missing: run scripts/install-ci.sh")
	}
	return path
}
