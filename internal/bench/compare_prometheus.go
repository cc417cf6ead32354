//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// scrapeInterval is how often Prometheus asks for each order; it spreads the requests over the interval. Shorter
// than in earnest, where connections do not live from one interval to the next.
const scrapeInterval = 20 * time.Second

// scrapeConfig is what Prometheus reads, as far as we write it; JSON is YAML.
type scrapeConfig struct {
	Global  map[string]string `json:"global"`
	Scrapes []scrapeJob       `json:"scrape_configs"`
}

// scrapeJob is a seller: a credential is a job's.
type scrapeJob struct {
	Name          string            `json:"job_name"`
	Scheme        string            `json:"scheme"`
	Authorization map[string]string `json:"authorization"`
	TLS           map[string]string `json:"tls_config"`
	Static        []scrapeTarget    `json:"static_configs"`
}

// scrapeTarget is an order.
type scrapeTarget struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// prometheus measures one scrape interval, after one in which it has connected to every seller.
func (c *comparison) prometheus(ctx context.Context) (t tally, err error) {
	binary, err := find("prometheus")
	if err != nil {
		return t, err
	}
	dir, err := c.folder("prometheus")
	if err != nil {
		return t, err
	}
	file := filepath.Join(dir, "prometheus.json")
	if err := c.writeScrapes(file); err != nil {
		return t, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return t, err
	}
	defer log.Close()
	command := exec.CommandContext(ctx, binary, "--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "data"),
		"--web.listen-address", "127.0.0.1:0", "--log.level", "warn")
	command.Stdout, command.Stderr = log, log
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	before, err := c.fakes.account()
	if err != nil {
		return t, err
	}
	if err := command.Start(); err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, command.Process.Signal(syscall.SIGTERM), command.Wait()) }()
	if err := c.scraped(ctx, before, int64(c.orders)); err != nil {
		said, _ := os.ReadFile(log.Name())
		return t, fmt.Errorf("%w\n%s", err, said)
	}
	p := process(command.Process.Pid)
	if before, err = c.fakes.account(); err != nil {
		return t, err
	}
	used, err := p.measure(ctx, func() error {
		select {
		case <-ctx.Done():
		case <-time.After(scrapeInterval):
		}
		return ctx.Err()
	})
	if err != nil {
		return t, err
	}
	after, err := c.fakes.account()
	if err != nil {
		return t, err
	}
	resident, err := p.resident()
	t = tally{orders: int(after.since(before).Requests), wall: used.wall, cpu: used.cpu, resident: resident, written: used.written}
	t.note = fmt.Sprintf(" (it spreads its targets over %v)", scrapeInterval)
	if t.orders < c.orders*95/100 {
		t.note = fmt.Sprintf(" (of %d targets it did not get round to all in %v)", c.orders, scrapeInterval)
	}
	return t, err
}

// scraped returns when the sellers have been asked for n orders, which takes an interval and the time to start, or
// when they should have been long since. It is an error if they haven't been asked at all.
func (c *comparison) scraped(ctx context.Context, before account, n int64) error {
	for end := time.Now().Add(4 * scrapeInterval); ; pause(ctx) {
		now, err := c.fakes.account()
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		switch asked, late := now.since(before).Requests, time.Now().After(end); {
		case asked >= n || late && asked > 0:
			return nil
		case late:
			return fmt.Errorf("no request after %v", 4*scrapeInterval)
		}
	}
}

// writeScrapes writes a configuration in which each seller is a job and each order a target.
func (c *comparison) writeScrapes(file string) error {
	jobs := make([]scrapeJob, min(c.sellers, c.orders))
	for i := range c.orders {
		u, err := url.Parse(c.host(i))
		if err != nil {
			return err
		}
		j := &jobs[i%c.sellers]
		if j.Name == "" {
			*j = scrapeJob{
				Name: sellerID(i % c.sellers), Scheme: "https",
				Authorization: map[string]string{"credentials": c.key(i)[len("Bearer "):]},
				TLS:           map[string]string{"ca_file": c.fakes.CAFile},
			}
		}
		j.Static = append(j.Static, scrapeTarget{[]string{u.Host}, map[string]string{"order": orderID(i), "__metrics_path__": c.path(i)}})
	}
	text, err := json.Marshal(scrapeConfig{Global: map[string]string{"scrape_interval": scrapeInterval.String(), "scrape_timeout": "10s"}, Scrapes: jobs})
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}
