//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// daemon is a running poller with a data folder of its own, spoken to over a socket in it.
type daemon struct {
	process
	command *exec.Cmd
	binary  string
	dir     string
	client  *http.Client
	token   string
	metrics string // URL of the server of metrics and health
}

// settings are what a benchmark changes beside what every one of them has to.
type settings struct {
	workers  int
	schedule string // more keys of the section, with values: "spread: 10s, catch_up: true"
	fetch    string // the same: "timeout: 2s, per_host: 4"
}

// config is a configuration with nothing changed but what a benchmark has to: where things are, and
// a schedule that never fires by itself while it runs.
const config = `data_dir: data
schedule: {%s}
fetch: {workers: %d, allow_ports: [%s], allow_networks: [127.0.0.0/8], ca_file: %q%s}
api: {listen: "unix:api.sock"}
metrics: {listen: %q}
`

const neverFires = `cron: "0 0 1 1 *", catch_up: false`

// startDaemon starts a poller that may ask the hosts with these URLs, and returns when it answers.
func (b *bench) startDaemon(ctx context.Context, caFile string, urls []string) (*daemon, error) {
	return b.startDaemonWith(ctx, caFile, urls, settings{workers: b.workers})
}

// startDaemonWith does so with other settings.
func (b *bench) startDaemonWith(ctx context.Context, caFile string, urls []string, s settings) (*daemon, error) {
	dir, err := os.MkdirTemp(b.dir, "d")
	if err != nil {
		return nil, err
	}
	d := &daemon{binary: b.pollerBinary, dir: dir}
	if err := d.configure(ctx, caFile, urls, s); err != nil {
		return nil, err
	}
	return d, d.start(ctx)
}

// configure writes the daemon's configuration; it is read by start.
func (d *daemon) configure(ctx context.Context, caFile string, urls []string, s settings) error {
	ports, err := portsOf(urls)
	if err != nil {
		return err
	}
	if s.schedule == "" {
		s.schedule = neverFires
	}
	if s.fetch != "" {
		s.fetch = ", " + s.fetch
	}
	listen, err := freePort(ctx)
	if err != nil {
		return err
	}
	d.metrics = "http://" + listen
	text := fmt.Sprintf(config, s.schedule, s.workers, strings.Join(ports, ", "), caFile, s.fetch, listen)
	return os.WriteFile(filepath.Join(d.dir, "config.yaml"), []byte(text), 0o600)
}

// portsOf returns the ports of URLs, each once.
func portsOf(urls []string) (ports []string, err error) {
	for _, u := range urls {
		parsed, err := url.Parse(u)
		if err != nil {
			return nil, err
		}
		ports = append(ports, parsed.Port())
	}
	slices.Sort(ports)
	return slices.Compact(ports), nil
}

// freePort returns a loopback address that nobody listens at just now.
func freePort(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// start starts the daemon and returns when it answers.
func (d *daemon) start(ctx context.Context) error {
	if err := d.launch(ctx); err != nil {
		return err
	}
	if err := d.ready(ctx); err != nil {
		return errors.Join(err, d.stop())
	}
	return nil
}

// launch starts the process.
func (d *daemon) launch(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(d.dir, "poller.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	d.command = exec.CommandContext(ctx, d.binary, "--config", filepath.Join(d.dir, "config.yaml"), "serve")
	d.command.Stdout, d.command.Stderr = log, log
	d.command.Cancel = func() error { return d.command.Process.Signal(syscall.SIGTERM) }
	if err := d.command.Start(); err != nil {
		return fmt.Errorf("starting poller: %w", err)
	}
	d.process = process(d.command.Process.Pid)
	socket := filepath.Join(d.dir, "api.sock")
	dialer := new(net.Dialer)
	d.client = &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: parallel,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
	}}
	return nil
}

// pause is how long to wait before the daemon is asked again; it tells nobody of its own accord.
func pause(ctx context.Context) { pauseFor(ctx, 50*time.Millisecond) }

func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// ready returns when the daemon answers.
func (d *daemon) ready(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		var token []byte
		if token, err = os.ReadFile(filepath.Join(d.dir, "data", "api.token")); err == nil {
			d.token = strings.TrimSpace(string(token))
			if err = d.call(ctx, http.MethodGet, "/v1/status", nil, nil); err == nil {
				return nil
			}
		}
		pause(ctx)
	}
	log, _ := os.ReadFile(filepath.Join(d.dir, "poller.log"))
	return fmt.Errorf("poller does not answer: %w\n%s", err, log)
}

// stop ends the daemon as an operator would.
func (d *daemon) stop() error {
	d.client.CloseIdleConnections()
	if err := d.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return d.command.Wait()
}

// kill ends the daemon as a power cut would, but for what the kernel has not written yet.
func (d *daemon) kill() error {
	d.client.CloseIdleConnections()
	if err := d.command.Process.Kill(); err != nil {
		return err
	}
	_ = d.command.Wait() // says that it was killed
	return nil
}
