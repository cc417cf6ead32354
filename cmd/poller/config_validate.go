package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"poller/scheduler"
)

// maxSpread is the part of the shortest gap between ticks that a sweep may be spread over (SPEC §3).
const maxSpread = 0.9

// resolve makes paths relative to dir, where the file is, and fills in what
// follows from data_dir.
func (c *Config) resolve(dir string) {
	c.DataDir = inDir(dir, c.DataDir)
	for to, name := range map[*string]string{
		&c.Store.BBolt:     "poller.db",
		&c.Secrets.KeyFile: "secrets.key",
		&c.API.TokenFile:   "api.token",
	} {
		if *to == "" {
			*to = filepath.Join(c.DataDir, name)
		} else {
			*to = inDir(dir, *to)
		}
	}
	c.Fetch.CAFile = inDir(dir, c.Fetch.CAFile)
	c.API.TLSCert = inDir(dir, c.API.TLSCert)
	c.API.TLSKey = inDir(dir, c.API.TLSKey)
	if file, ok := strings.CutPrefix(c.API.Listen, "unix:"); ok {
		c.API.Listen = "unix:" + inDir(dir, file)
	}
	if folder, ok := strings.CutPrefix(c.Results.Bucket, "file://"); ok {
		c.Results.Bucket = "file://" + inDir(dir, folder)
	} else if c.Results.Bucket == "" {
		c.Results.Bucket = "file://" + filepath.Join(c.DataDir, "results")
	}
}

// resultsDir is the folder of results.bucket; empty: results are kept in S3.
func (c *Config) resultsDir() string {
	folder, ok := strings.CutPrefix(c.Results.Bucket, "file://")
	if !ok {
		return ""
	}
	return folder
}

// validate judges what several keys must agree on, and the files that they
// name. Values that were not acceptable by themselves are still the defaults.
func (r *reader) validate(c *Config) {
	schedule, err := scheduler.ParseSchedule(c.Schedule.Cron, c.Schedule.Timezone)
	if err != nil {
		r.blame("no usable schedule: "+err.Error(), "schedule.cron", "schedule.timezone")
	} else if gap := scheduler.ShortestGap(schedule); float64(c.Schedule.Spread) > maxSpread*float64(gap) {
		r.blame(fmt.Sprintf("want at most 0.9 of the shortest gap between ticks, which is %s", formatDuration(gap)), "schedule.spread", "schedule.cron")
	}
	if c.Fetch.BodyTimeout < c.Fetch.Timeout {
		r.blame(fmt.Sprintf("fetch.body_timeout, %s, is shorter than fetch.timeout, %s", formatDuration(c.Fetch.BodyTimeout), formatDuration(c.Fetch.Timeout)),
			"fetch.body_timeout", "fetch.timeout")
	}
	if len(c.Fetch.AllowPorts) == 0 {
		r.blame("must not be empty: no seller could be asked", "fetch.allow_ports")
	}
	if f := c.Fetch.CAFile; f != "" {
		if err := checkRoots(f); err != nil {
			r.blame("no usable file: "+err.Error(), "fetch.ca_file")
		}
	}
	r.validateListeners(c)
}

func (r *reader) validateListeners(c *Config) {
	switch cert, private := c.API.TLSCert, c.API.TLSKey; {
	case cert == "" && private == "":
	case cert == "" || private == "":
		r.blame("api.tls_cert and api.tls_key need each other", "api.tls_cert", "api.tls_key")
	case strings.HasPrefix(c.API.Listen, "unix:"):
		r.blame("makes no sense with a Unix socket", "api.tls_cert")
	default:
		if _, err := tls.LoadX509KeyPair(cert, private); err != nil {
			r.blame("no usable pair with api.tls_key: "+err.Error(), "api.tls_cert")
		}
	}
	if _, port, _ := net.SplitHostPort(c.API.Listen); port != "0" && c.API.Listen == c.Metrics.Listen {
		r.blame("is the address of api.listen", "metrics.listen", "api.listen")
	}
	if len(c.Webhook.Events) == 0 {
		r.blame("must not be empty", "webhook.events")
	}
	if c.Webhook.URL != "" && len(c.Webhook.Secrets) == 0 {
		r.blame("needs a secret to sign with: webhook.secrets is empty", "webhook.url", "webhook.secrets")
	}
	r.validateUploads(c)
}

func (r *reader) validateUploads(c *Config) {
	switch u := c.Uploads; {
	case u.Listen == "" && u.PublicURL == "":
	case c.resultsDir() == "":
		r.blame("not needed with results in S3: sellers PUT files there", "uploads.listen", "uploads.public_url")
	case u.Listen == "" || u.PublicURL == "":
		r.blame("uploads.listen and uploads.public_url need each other", "uploads.listen", "uploads.public_url")
	case u.Listen == c.API.Listen || u.Listen == c.Metrics.Listen:
		if _, port, _ := net.SplitHostPort(u.Listen); port != "0" {
			r.blame("is the address of another listener", "uploads.listen")
		}
	}
}

// checkRoots reports whether the file holds root certificates.
func checkRoots(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(b) {
		return fmt.Errorf("no PEM certificate in %s", file)
	}
	return nil
}

// blame reports msg at the first of the keys that the file gives, unless one of
// them is at fault by itself. What follows the first colon of msg may quote
// values, and goes if one came from outside the file.
func (r *reader) blame(msg string, keys ...string) {
	if slices.ContainsFunc(r.problems, func(p problem) bool { return slices.Contains(keys, p.Key) }) {
		return
	}
	for _, path := range keys {
		if n := r.at[path]; n != nil && r.cameFromOutside(n) {
			msg, _, _ = strings.Cut(msg, ":")
		}
	}
	for _, path := range keys {
		if n := r.at[path]; n != nil {
			r.problems = append(r.problems, problem{Line: n.Line, Column: n.Column, Key: path, Text: msg})
			return
		}
	}
	r.problems = append(r.problems, problem{Line: 1, Column: 1, Key: keys[0], Text: msg})
}
