package api

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"testing"

	"poller/order"
)

// copies makes backups of this content.
func (g *rig) copies(content []byte) {
	g.backupBy(func(_ context.Context, path string) error {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(content)
		return errors.Join(err, f.Close())
	})
}

func (g *rig) backupBy(fn func(context.Context, string) error) { g.backup.Store(&fn) }

// empty fails if anything is left where copies are made.
func (g *rig) empty() {
	g.t.Helper()
	left, err := os.ReadDir(g.tempDir)
	if err != nil || len(left) > 0 {
		g.t.Errorf("left behind: %v, %v", left, err)
	}
}

// SPEC §6: a copy with its digest, and what else belongs to it; nothing is left of it here.
func TestBackup(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	g.copies(content)
	a := g.do("GET", "/v1/backup", "").want(t, 200)
	sum := sha256.Sum256(content)
	for name, want := range map[string]string{
		"Content-Type": "application/octet-stream", "Content-Length": "320000", "Accept-Ranges": "none", "Cache-Control": "no-store",
		"Content-Disposition": `attachment; filename="poller-st0re-20261123T120000Z.db"`, "Repr-Digest": reprDigest(sum[:]),
		"X-Poller-Store": "st0re", "X-Poller-Key-Id": "17", "X-Poller-Bucket": "file:///srv/r%C3%A9sults%20100%25",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if !bytes.Equal(a.body, content) {
		t.Errorf("%d bytes", len(a.body))
	}
	if back, err := url.PathUnescape(a.header.Get("X-Poller-Bucket")); err != nil || back != "file:///srv/résults 100%" {
		t.Errorf("%q, %v", back, err)
	}
	if a := g.do("HEAD", "/v1/backup", "").want(t, 200); len(a.body) != 0 || a.header.Get("Content-Length") != "320000" {
		t.Errorf("HEAD: %v", a.header)
	}
	g.empty()
}

// A copy that can't be made is a problem, and nothing is left of it.
func TestBackupFails(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for err, status := range map[error]int{
		fmt.Errorf("backup: %w", order.ErrNoSpace): 507, order.ErrBroken: 503, errors.New("odd"): 500,
	} {
		g.backupBy(func(_ context.Context, path string) error {
			return errors.Join(err, os.WriteFile(path, []byte("part"), 0o600))
		})
		g.do("GET", "/v1/backup", "").want(t, status).problem(t)
		g.empty()
	}
	g.backupBy(func(context.Context, string) error { return nil }) // says that it is there
	g.do("GET", "/v1/backup", "").want(t, 500).problem(t)
	g.api.opt.Backup = nil
	g.do("GET", "/v1/backup", "").want(t, 501).problem(t)
}

// Each backup takes the space of a copy: no more than two at once. A client that leaves ends its own.
func TestBackupsAtOnce(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	begun, ended := make(chan struct{}, maxBackups), make(chan struct{}, maxBackups)
	g.backupBy(func(ctx context.Context, _ string) error {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return ctx.Err()
	})
	left, leave := context.WithCancel(t.Context())
	for range maxBackups {
		r := g.request("GET", "/v1/backup", nil).WithContext(left)
		go func() {
			if res, err := http.DefaultTransport.RoundTrip(r); err == nil {
				res.Body.Close()
			}
		}()
		<-begun
	}
	a := g.do("GET", "/v1/backup", "").want(t, 503)
	if a.problem(t); a.header.Get("Retry-After") == "" {
		t.Errorf("%v", a.header)
	}
	leave()
	for range maxBackups {
		<-ended
	}
	g.copies([]byte("x"))
	for g.do("GET", "/v1/backup", "").status != 200 { // once both have ended
		continue
	}
	g.empty()
}

// Stop ends a copy under way (503), and cuts off one that is being sent.
func TestBackupAtShutdown(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	content := bytes.Repeat([]byte("x"), 64<<20) // more than the buffers of a connection take
	g.copies(content)
	c, err := net.Dial("tcp", g.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /v1/backup HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", token)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	making := make(chan struct{})
	g.backupBy(func(ctx context.Context, _ string) error {
		close(making)
		<-ctx.Done()
		return ctx.Err()
	})
	r := g.request("GET", "/v1/backup", nil)
	got := make(chan answer)
	go func() { got <- g.send(r) }()
	<-making
	g.api.Stop()
	if a := <-got; a.status != 503 {
		t.Errorf("%d: %s", a.status, a.body)
	}
	if n, err := io.Copy(io.Discard, res.Body); err == nil || n >= int64(len(content)) {
		t.Errorf("%d bytes, %v", n, err)
	}
	res.Body.Close()
	g.empty()
}
