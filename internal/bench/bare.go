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
}

// bareResult is what the bare loop did once all connections had been made.
type bareResult struct {
	Requests    int     `json:"requests"`
	CPUSeconds  float64 `json:"cpu_seconds"`
	WallSeconds float64 `json:"wall_seconds"`
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
	r, err := task.run(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(r)
}

func (t *bareTask) run(ctx context.Context) (r bareResult, err error) {
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return r, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	n := len(t.URLs)
	clients := make([]*http.Client, n)
	for i := range clients {
		// One transport for each connection: none waits for another, none is closed.
		clients[i] = &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableCompression: true,
		}}
	}
	each := func(requests int) error {
		errs := make([]error, n)
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				for range requests {
					if errs[i] = get(ctx, clients[i], t.URLs[i]); errs[i] != nil {
						return
					}
				}
			})
		}
		all.Wait()
		return errors.Join(errs...)
	}
	if err := each(2); err != nil { // makes the connections
		return r, err
	}
	requests := max(1, t.Requests/n)
	begun := time.Now()
	before, err := ownCPU()
	if err != nil {
		return r, err
	}
	if err := each(requests); err != nil {
		return r, err
	}
	after, err := ownCPU()
	return bareResult{requests * n, (after - before).Seconds(), time.Since(begun).Seconds()}, err
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
