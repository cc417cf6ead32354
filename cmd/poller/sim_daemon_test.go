package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// simConfig: what ends by time does so within days, so that a short run sees it.
const simConfig = `
api: {listen: "127.0.0.1:0"}
metrics: {listen: "127.0.0.1:0"}
min_free: 0
schedule: {cron: "*/15 * * * *"}
orders: {deadline: 48h, retention: 2d}
events: {retention: 7d}
webhook: {url: "http://platform.example/hook", secrets: ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]}
log: {level: warn}
shutdown_timeout: 5s
`

// Of simConfig.
const (
	simInterval  = 15 * time.Minute
	simRetention = 48 * time.Hour
)

// simDaemon is the whole daemon in a bubble of virtual time: no sockets, but a database and result files on disk.
type simDaemon struct {
	*app
	dir   string
	log   *tail
	token string
	stop  func() error // as SIGTERM does; again: what it said
	// cut: for the world outside it is dead; whatever it still does reaches nobody.
	cut atomic.Bool

	mu    sync.Mutex
	crash *crashPoint // nil: none is set
}

// crashPoint is a crash to come at a commit: what is on disk then is what the next start finds.
type crashPoint struct {
	skip   int  // commits before it
	late   bool // what is done between this commit and the next one is still seen outside
	copied bool
	dir    string // where the copy goes
}

// tail keeps the end of a log.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	if len(l.b) > 64<<10 {
		l.b = append([]byte(nil), l.b[len(l.b)-(16<<10):]...)
	}
	return len(p), nil
}

// openSim opens the daemon in dir. self is set to it before anything of it works. begin runs it.
func openSim(t *testing.T, dir, config string, world outside, self *atomic.Pointer[simDaemon]) *simDaemon {
	t.Helper()
	d := &simDaemon{dir: dir, log: &tail{}}
	self.Store(d)
	file := filepath.Join(dir, "config.yaml")
	write(t, file, config)
	c, err := loadConfig(file, testEnv)
	if err != nil {
		t.Fatal(err)
	}
	if d.app, err = openAppIn(t.Context(), world, c, file, testEnv, newLogger(d.log)); err != nil {
		t.Fatal(err)
	}
	// Whoever waits for the network stops the bubble's time: nobody listens there.
	for _, l := range []*net.Listener{&d.apiListener, &d.metricsListener} {
		quiet := &quietListener{addr: (*l).Addr(), closed: make(chan struct{})}
		if err := (*l).Close(); err != nil {
			t.Fatal(err)
		}
		*l = quiet
	}
	d.metrics.CommitDuration = commitHook{d.metrics.CommitDuration, func() { d.committed(t) }}
	if d.token, err = readToken(c.API.TokenFile); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *simDaemon) begin() {
	ctx, quit := context.WithCancel(context.Background())
	done := make(chan error, 1)
	d.stop = sync.OnceValue(func() error {
		quit()
		return <-done
	})
	go func() { done <- d.run(ctx) }()
}

// call asks the API, and reports whether there was an answer: a daemon that died meanwhile gives none.
func (d *simDaemon) call(method, path string, body any) (status int, answer []byte, ok bool) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		in = bytes.NewReader(b)
	}
	r := httptest.NewRequest(method, d.apiURL()+path, in)
	r.Header.Set("Authorization", "Bearer "+d.token)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	d.apiServer.Handler.ServeHTTP(w, r)
	return w.Code, w.Body.Bytes(), !d.cut.Load()
}

// committed is called after each commit, before anybody is told of it.
func (d *simDaemon) committed(t *testing.T) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.crash
	switch {
	case c == nil || d.cut.Load():
	case c.skip > 0:
		c.skip--
	case !c.copied:
		copyData(t, d.dir, c.dir)
		c.copied = true
		d.cut.Store(!c.late)
	default:
		d.cut.Store(true)
	}
}

// copyData copies what lies on disk.
func copyData(t *testing.T, from, to string) {
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil // deleted at this moment
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
	if err != nil {
		t.Errorf("copy of the data: %v", err)
	}
}

// commitHook sees commits.
type commitHook struct {
	prometheus.Histogram
	committed func()
}

func (h commitHook) Observe(v float64) {
	h.Histogram.Observe(v)
	h.committed()
}

// quietListener is a listener to which nobody comes.
type quietListener struct {
	addr   net.Addr
	once   sync.Once
	closed chan struct{}
}

func (l *quietListener) Accept() (net.Conn, error) {
	<-l.closed
	return nil, net.ErrClosed
}

func (l *quietListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *quietListener) Addr() net.Addr { return l.addr }
