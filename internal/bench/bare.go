//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"time"
)

// bareTask is what the bare loop is to do: the least that net/http can do to
// ask the same questions. Each connection is used by one goroutine, which asks,
// reads the answer to its end, and asks again.
type bareTask struct {
	CAFile   string   `json:"ca_file"`
	URLs     []string `json:"urls"` // one for each connection
	Requests int      `json:"requests"`

	// Fresh is the number of goroutines that ask each URL once, on a connection of its own that
	// is closed afterwards. Then they do so again, and resume the sessions.
	Fresh int `json:"fresh"`
}

// bareResult is what the bare loop did once all connections had been made.
type bareResult struct {
	Requests      int     `json:"requests"`
	CPUSeconds    float64 `json:"cpu_seconds"`
	SystemSeconds float64 `json:"system_seconds"` // the kernel's part
	WallSeconds   float64 `json:"wall_seconds"`

	Again *bareResult `json:"again"` // with sessions resumed, of a task with Fresh
}

// bareCommand is the argument with which this program runs the bare loop as a child of itself.
const bareCommand = "bare-loop"

// runBare runs the bare loop in a process of its own.
func runBare(ctx context.Context, task bareTask) (r bareResult, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	in, err := json.Marshal(task)
	if err != nil {
		return r, err
	}
	command := exec.CommandContext(ctx, self, bareCommand)
	command.Stdin, command.Stderr = bytes.NewReader(in), os.Stderr
	out, err := command.Output()
	if err != nil {
		return r, fmt.Errorf("the bare loop: %w", err)
	}
	return r, json.Unmarshal(out, &r)
}

// bareMain is the child.
func bareMain(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	var task bareTask
	if err := json.NewDecoder(stdin).Decode(&task); err != nil {
		return err
	}
	pem, err := os.ReadFile(task.CAFile)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	conf := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	r, err := task.run(ctx, conf)
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(r)
}

func (t *bareTask) run(ctx context.Context, conf *tls.Config) (r bareResult, err error) {
	if t.Fresh > 0 {
		conf.ClientSessionCache = tls.NewLRUClientSessionCache(len(t.URLs))
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableCompression: true, DisableKeepAlives: true}}
		share := func(i int) error {
			for ; i < len(t.URLs); i += t.Fresh {
				if err := get(ctx, client, t.URLs[i]); err != nil {
					return err
				}
			}
			return nil
		}
		if r, err = timed(t.Fresh, len(t.URLs), share); err != nil {
			return r, err
		}
		again, err := timed(t.Fresh, len(t.URLs), share)
		r.Again = &again
		return r, err
	}
	n := len(t.URLs)
	clients := make([]*http.Client, n)
	for i := range clients {
		// One transport for each connection: none waits for another, none is closed.
		clients[i] = &http.Client{Transport: &http.Transport{TLSClientConfig: conf.Clone(), DisableCompression: true}}
	}
	asks := func(requests int) func(int) error {
		return func(i int) error {
			for range requests {
				if err := get(ctx, clients[i], t.URLs[i]); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if _, err := timed(n, 2*n, asks(2)); err != nil { // makes the connections
		return r, err
	}
	each := max(1, t.Requests/n)
	return timed(n, each*n, asks(each))
}

// timed runs n goroutines, which send that many requests together.
func timed(n, requests int, f func(i int) error) (r bareResult, err error) {
	begun := time.Now()
	all, system, err := ownCPU()
	if err != nil {
		return r, err
	}
	errs := make([]error, n)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() { errs[i] = f(i) })
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		return r, err
	}
	allAfter, systemAfter, err := ownCPU()
	return bareResult{
		Requests: requests, CPUSeconds: (allAfter - all).Seconds(), SystemSeconds: (systemAfter - system).Seconds(),
		WallSeconds: time.Since(begun).Seconds(),
	}, err
}

func get(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
