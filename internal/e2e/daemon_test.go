package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"poller/internal/fakeseller"
)

// A site is what a daemon is started on: its folder, its configuration, its
// sellers. It outlives the daemon.
type site struct {
	t       *testing.T
	dir     string
	sellers *fakeseller.Server
	answers *journal // every answer of the API, for what must not be in any
	config  map[string]string
	under   []string // the command that runs poller, and its arguments: strace, say; nil: none
}

// newSite starts fake sellers on that many hosts and writes a configuration in
// which sweeps are started by hand.
func newSite(t *testing.T, hosts int) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), answers: &journal{}}
	t.Cleanup(s.checkAnswers)
	var err error
	s.sellers, err = fakeseller.Start(context.Background(), fakeseller.Options{Hosts: hosts})
	noError(t, err, "starting sellers")
	t.Cleanup(s.sellers.Close)
	ca, err := s.sellers.CAFile(s.dir)
	noError(t, err, "writing the CA's certificate")
	ports := make([]string, hosts)
	for i := range ports {
		ports[i] = fmt.Sprint(s.sellers.Port(i))
	}
	s.config = map[string]string{
		"data_dir": "data", "min_free": "1MiB", "shutdown_timeout": "15s",
		"schedule.cron": `"@every 1h"`, "schedule.catch_up": "false",
		"fetch.ca_file": ca, "fetch.allow_ports": "[" + strings.Join(ports, ", ") + "]",
		"fetch.allow_networks": `[127.0.0.0/8, "::1/128"]`,
		"api.listen":           "127.0.0.1:0", "metrics.listen": "127.0.0.1:0",
		"log.level": "debug",
	}
	s.set()
	return s
}

// set changes keys of the configuration file: name, value, name, value, …
func (s *site) set(pairs ...string) {
	s.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		s.config[pairs[i]] = pairs[i+1]
	}
	var top, sections strings.Builder
	bySection := map[string][]string{}
	for name, value := range s.config {
		if section, key, nested := strings.Cut(name, "."); nested {
			bySection[section] = append(bySection[section], key+": "+value)
		} else {
			fmt.Fprintf(&top, "%s: %s\n", name, value)
		}
	}
	for section, keys := range bySection {
		fmt.Fprintf(&sections, "%s:\n  %s\n", section, strings.Join(keys, "\n  "))
	}
	noError(s.t, os.WriteFile(s.configFile(), []byte(top.String()+sections.String()), 0o600), "writing the configuration")
}

func (s *site) configFile() string { return filepath.Join(s.dir, "config.yaml") }

func (s *site) data(name string) string { return filepath.Join(s.dir, "data", name) }

// A daemon is a running poller.
type daemon struct {
	*site
	cmd     *exec.Cmd
	log     *journal
	exited  chan struct{} // closed when it has
	err     error         // of the process, once it has exited
	api     string
	metrics string
	token   string
}

// logLine is one line of the log.
type logLine map[string]any

func (l logLine) msg() string          { return l.text("msg") }
func (l logLine) text(k string) string { v, _ := l[k].(string); return v }
func (l logLine) number(k string) int  { v, _ := l[k].(float64); return int(v) }

// start runs poller on the site and returns when it serves. It is killed when the test ends.
func (s *site) start() *daemon {
	s.t.Helper()
	d := s.startWithToken("")
	d.readToken()
	return d
}

// waitServing reports whether poller came to serve; if not it is gone.
func (d *daemon) waitServing() bool {
	d.t.Helper()
	err := d.log.wait(within(d.t), 0, func(line string) bool { return strings.Contains(line, `"msg":"serving"`) })
	if errors.Is(err, io.ErrUnexpectedEOF) {
		<-d.exited
	} else if err != nil {
		d.t.Fatal("poller neither serves nor ends")
	}
	return err == nil
}

// readToken reads the token that poller has made.
func (d *daemon) readToken() {
	d.t.Helper()
	token, err := os.ReadFile(d.data("api.token"))
	noError(d.t, err, "reading the token")
	d.token = strings.TrimSpace(string(token))
}

// startWithToken is start for a configuration with a token file of its own.
func (s *site) startWithToken(token string) *daemon {
	s.t.Helper()
	d := s.launch()
	d.serving()
	d.token = token
	return d
}

// launch starts poller, and does not wait for anything. It is killed when the test ends, and its log is checked.
func (s *site) launch() *daemon {
	s.t.Helper()
	d := &daemon{site: s, log: &journal{}, exited: make(chan struct{})}
	args := append(slices.Clone(s.under), binary, "--config", s.configFile(), "serve")
	d.cmd = exec.CommandContext(context.Background(), args[0], args[1:]...)
	stderr, err := d.cmd.StderrPipe()
	noError(s.t, err, "opening a pipe")
	noError(s.t, d.cmd.Start(), "starting poller")
	go func() {
		defer close(d.exited)
		lines := bufio.NewReader(stderr)
		for {
			line, err := lines.ReadString('\n')
			d.log.add(strings.TrimSuffix(line, "\n"))
			if err != nil {
				break
			}
		}
		d.err = d.cmd.Wait()
		d.log.close()
	}()
	s.t.Cleanup(func() {
		d.kill()
		d.checkLog()
		if s.t.Failed() {
			s.t.Logf("log of poller:\n%s", d.log.tail(200))
		}
	})
	return d
}

// serving returns when poller serves.
func (d *daemon) serving() {
	d.t.Helper()
	serving := d.waitLog("serving", nil)
	d.api, d.metrics = serving.text("api"), strings.TrimSuffix(serving.text("metrics"), "/metrics")
}

// waitLog returns the first line with that message that want accepts (nil: any), from the start of the process on.
func (d *daemon) waitLog(msg string, want func(logLine) bool) logLine {
	d.t.Helper()
	return d.waitLogAfter(0, msg, want)
}

// waitLogAfter is waitLog from a position on that mark returned.
func (d *daemon) waitLogAfter(after int, msg string, want func(logLine) bool) logLine {
	d.t.Helper()
	var found logLine
	err := d.log.wait(within(d.t), after, func(line string) bool {
		var l logLine
		if json.Unmarshal([]byte(line), &l) != nil || l.msg() != msg || want != nil && !want(l) {
			return false
		}
		found = l
		return true
	})
	if err != nil {
		d.t.Fatalf("waiting for %q in the log: %v; it ends:\n%s", msg, err, d.log.tail(20))
	}
	return found
}

// signal sends a signal.
func (d *daemon) signal(sig syscall.Signal) {
	d.t.Helper()
	noError(d.t, d.cmd.Process.Signal(sig), "sending "+sig.String())
}

// kill ends the process as kill -9 does, and returns when it is gone.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill() // it may have exited
	<-d.exited
}

// stop asks the process to end and expects that it does so with exit code 0.
func (d *daemon) stop() {
	d.t.Helper()
	d.signal(syscall.SIGTERM)
	select {
	case <-d.exited:
	case <-within(d.t).Done():
		d.t.Fatal("poller does not stop")
	}
	if d.err != nil {
		d.t.Fatalf("exit after SIGTERM: %v", d.err)
	}
}

// journal is lines that are added by one and waited for by others.
type journal struct {
	mu     sync.Mutex
	lines  []string
	more   chan struct{} // closed at the next line; nil: nobody waits
	closed bool
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
	j.wake()
}

func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	j.wake()
}

func (j *journal) wake() {
	if j.more != nil {
		close(j.more)
		j.more = nil
	}
}

// mark is a position: what is added from now on comes after it.
func (j *journal) mark() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.lines)
}

// wait calls want with every line after the position until it returns true.
func (j *journal) wait(ctx context.Context, after int, want func(string) bool) error {
	for {
		j.mu.Lock()
		lines, closed := j.lines[after:], j.closed
		if j.more == nil {
			j.more = make(chan struct{})
		}
		more := j.more
		j.mu.Unlock()
		for _, line := range lines {
			if want(line) {
				return nil
			}
		}
		after += len(lines)
		if closed {
			return io.ErrUnexpectedEOF
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// since returns the lines after a position.
func (j *journal) since(after int) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines[after:])
}

// all is everything in one string.
func (j *journal) all() string { return j.tail(1 << 30) }

func (j *journal) tail(n int) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines[max(0, len(j.lines)-n):], "\n")
}
