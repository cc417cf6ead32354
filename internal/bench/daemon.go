//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// daemon is a running poller with a data folder of its own, spoken to over a socket in it.
type daemon struct {
	process
	command *exec.Cmd
	dir     string
	client  *http.Client
	token   string
}

// config is a configuration with nothing changed but what a benchmark has to: where things are, and
// a schedule that never fires by itself while it runs.
const config = `data_dir: data
schedule: {cron: "0 0 1 1 *", catch_up: false}
fetch:
  workers: %d
  allow_ports: [%s]
  allow_networks: [127.0.0.0/8]
  ca_file: %s
api: {listen: "unix:api.sock"}
metrics: {listen: "127.0.0.1:0"}
`

// startDaemon starts a poller that may ask the hosts with these URLs, and returns when it answers.
func (b *bench) startDaemon(ctx context.Context, caFile string, urls []string) (*daemon, error) {
	var ports []string
	for _, u := range urls {
		parsed, err := url.Parse(u)
		if err != nil {
			return nil, err
		}
		ports = append(ports, parsed.Port())
	}
	d := &daemon{dir: b.dir}
	file := filepath.Join(b.dir, "config.yaml")
	text := fmt.Sprintf(config, b.workers, strings.Join(ports, ", "), caFile)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(b.dir, "poller.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	d.command = exec.CommandContext(ctx, b.pollerBinary, "--config", file, "serve")
	d.command.Stdout, d.command.Stderr = log, log
	d.command.Cancel = func() error { return d.command.Process.Signal(syscall.SIGTERM) }
	if err := d.command.Start(); err != nil {
		return nil, fmt.Errorf("starting poller: %w", err)
	}
	d.process = process(d.command.Process.Pid)
	socket := filepath.Join(b.dir, "api.sock")
	dialer := new(net.Dialer)
	d.client = &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: parallel,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
	}}
	if err := d.ready(ctx); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

// pause is how long to wait before the daemon is asked again; it tells nobody of its own accord.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(50 * time.Millisecond):
	}
}

// ready returns when the daemon answers.
func (d *daemon) ready(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
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

// request sends a request; the answer is one of 2xx.
func (d *daemon) request(ctx context.Context, method, path, mediaType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Prefer", "return=minimal")
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return resp, nil
}

// call sends in as JSON, unless it is nil, and decodes the answer into out, unless that is nil.
func (d *daemon) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	resp, err := d.request(ctx, method, path, "application/json", body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// parallel is how many requests register sellers at once.
const parallel = 16

// register makes n sellers, spread evenly over the hosts.
func (d *daemon) register(ctx context.Context, urls []string, n int) error {
	errs := make([]error, parallel)
	var all sync.WaitGroup
	for p := range parallel {
		all.Go(func() {
			for i := p; i < n && errs[p] == nil; i += parallel {
				errs[p] = d.call(ctx, http.MethodPut, "/v1/sellers/"+sellerID(i), map[string]any{
					"status_url": urls[i%len(urls)] + "/" + sellerID(i) + "/status/{order_id}",
					"headers":    map[string]string{"Authorization": "Bearer key-of-" + sellerID(i)},
				}, nil)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func sellerID(i int) string { return fmt.Sprintf("seller-%05d", i) }
func orderID(i int) string  { return fmt.Sprintf("order-%07d", i) }

// submit sends n orders, spread evenly over the sellers and mixed as they
// would come in, in one request, and returns when all are on disk.
func (d *daemon) submit(ctx context.Context, n, sellers int) error {
	body, lines := io.Pipe()
	go func() {
		var text []byte
		for i := range n {
			text = fmt.Appendf(text, `{"order_id":"%s","seller_id":"%s"}`+"\n", orderID(i), sellerID(i%sellers))
			if len(text) > 32<<10 || i == n-1 {
				if _, err := lines.Write(text); err != nil {
					return // the request has ended
				}
				text = text[:0]
			}
		}
		_ = lines.Close() // always nil
	}()
	resp, err := d.request(ctx, http.MethodPost, "/v1/orders", "application/x-ndjson", body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var sum struct{ Created, Refused int }
	if err := json.NewDecoder(resp.Body).Decode(&sum); err != nil {
		return err
	}
	if sum.Created != n {
		return fmt.Errorf("of %d orders %d were created and %d refused", n, sum.Created, sum.Refused)
	}
	return nil
}

// sweep is the record of a sweep.
type sweep struct {
	ID       uint64
	State    string
	Due      int
	Polled   int
	Outcomes map[string]int
}

// sweep starts a sweep by hand and returns its record when it has ended.
func (d *daemon) sweep(ctx context.Context) (s sweep, err error) {
	if err := d.call(ctx, http.MethodPost, "/v1/sweeps", nil, &s); err != nil {
		return s, err
	}
	for {
		var list struct{ Items []sweep }
		if err := d.call(ctx, http.MethodGet, "/v1/sweeps?limit=1", nil, &list); err != nil {
			return s, err // also when ctx has ended
		}
		if s = list.Items[0]; s.State != "running" {
			return s, nil
		}
		pause(ctx)
	}
}
