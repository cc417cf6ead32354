package main

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"poller/order"
	"poller/outbox"
	"poller/results"
)

// A key is one key of config.yaml: where its value goes, how it is read, shown
// and judged by itself. What several keys must agree on is in config_validate.go.
type key struct {
	path string
	value
	// live: a reload brings it into effect; else it needs a restart (SPEC §3).
	live bool
	// secret: its value is shown nowhere.
	secret bool
}

// keys lists every key of the file, bound to c. It is the only such list: what
// it does not name is unknown.
func (c *Config) keys() []key {
	const longest = 3650 * day
	live := func(path string, v value) key { return key{path: path, value: v, live: true} }
	restart := func(path string, v value) key { return key{path: path, value: v} }
	secret := func(k key) key { k.secret = true; return k }

	return []key{
		restart("data_dir", path{&c.DataDir, true}),
		live("min_free", bytesValue{&c.MinFree, 0}),

		live("schedule.cron", text{&c.Schedule.Cron, notEmpty}),
		live("schedule.timezone", text{&c.Schedule.Timezone, notEmpty}),
		live("schedule.spread", duration{&c.Schedule.Spread, 0, longest}),
		live("schedule.catch_up", boolean{&c.Schedule.CatchUp}),

		live("fetch.workers", number{&c.Fetch.Workers, 1, 65535}),
		live("fetch.per_host", number{&c.Fetch.PerHost, 1, 65535}),
		live("fetch.hosts", hostCaps{&c.Fetch.Hosts}),
		live("fetch.per_seller", number{&c.Fetch.PerSeller, 1, 65535}),
		live("fetch.timeout", duration{&c.Fetch.Timeout, 100 * time.Millisecond, time.Hour}),
		live("fetch.body_timeout", duration{&c.Fetch.BodyTimeout, 100 * time.Millisecond, time.Hour}),
		live("fetch.max_body", bytesValue{&c.Fetch.MaxBody, 64 << 10}),
		live("fetch.max_memory", bytesValue{&c.Fetch.MaxMemory, mib}),
		live("fetch.redirects", number{&c.Fetch.Redirects, 0, 10}),
		live("fetch.max_retry_after", duration{&c.Fetch.MaxRetryAfter, 0, longest}),
		live("fetch.breaker_failures", number{&c.Fetch.BreakerFailures, 1, 1000}),
		live("fetch.breaker_probes", list[time.Duration]{&c.Fetch.BreakerProbes, "a list of durations above 0s", parseProbe, formatDuration}),
		live("fetch.allow_ports", list[int]{&c.Fetch.AllowPorts, "a list of ports, 1 to 65535", parsePort, strconv.Itoa}),
		live("fetch.allow_networks", list[netip.Prefix]{&c.Fetch.AllowNetworks, "a list of networks like 10.0.0.0/8", parseNetwork, netip.Prefix.String}),
		live("fetch.ca_file", path{&c.Fetch.CAFile, false}),

		live("orders.deadline", duration{&c.Orders.Deadline, time.Second, longest}),
		live("orders.give_up_after.not_found", duration{&c.Orders.GiveUpAfter.NotFound, 0, longest}),
		live("orders.give_up_after.invalid_response", duration{&c.Orders.GiveUpAfter.InvalidResponse, 0, longest}),
		live("orders.give_up_after.rejected_result", duration{&c.Orders.GiveUpAfter.RejectedResult, 0, longest}),
		live("orders.give_up_fuse", share{&c.Orders.GiveUpFuse}),
		live("orders.retention", duration{&c.Orders.Retention, time.Second, longest}),

		live("events.retention", duration{&c.Events.Retention, time.Second, longest}),
		live("events.max", number{&c.Events.Max, 1, 1_000_000_000}),
		live("events.progress", boolean{&c.Events.Progress}),

		restart("store.bbolt", path{&c.Store.BBolt, false}),

		restart("results.bucket", text{&c.Results.Bucket, checkBucket}),
		live("results.max_per_order", bytesValue{&c.Results.MaxPerOrder, 1}),
		live("results.max_per_seller", bytesValue{&c.Results.MaxPerSeller, 1}),

		restart("uploads.listen", text{&c.Uploads.Listen, checkUploadsListen}),
		restart("uploads.public_url", text{&c.Uploads.PublicURL, checkPublicURL}),

		restart("secrets.key_file", path{&c.Secrets.KeyFile, false}),

		restart("api.listen", text{&c.API.Listen, checkListen}),
		restart("api.token_file", path{&c.API.TokenFile, false}),
		restart("api.tls_cert", path{&c.API.TLSCert, false}),
		restart("api.tls_key", path{&c.API.TLSKey, false}),
		live("api.hosts", list[string]{&c.API.Hosts, "a list of host names", parseHostName, strings.Clone}),

		restart("metrics.listen", text{&c.Metrics.Listen, checkTCPListen}),

		secret(live("webhook.url", text{&c.Webhook.URL, checkWebhookURL})),
		secret(live("webhook.secrets", list[string]{&c.Webhook.Secrets, "a list of secrets, whsec_…", parseSecret, strings.Clone})),
		live("webhook.events", list[string]{&c.Webhook.Events, "a list of " + endEventNames(), parseEndEvent, strings.Clone}),

		live("log.level", text{&c.Log.Level, oneOf("debug", "info", "warn", "error")}),
		live("log.format", text{&c.Log.Format, oneOf("json", "console")}),
		live("shutdown_timeout", duration{&c.ShutdownTimeout, 0, time.Hour}),
	}
}

// A change is a key whose value differs between two configurations.
type change struct {
	Key      string
	Old, New string // "***" for what may be a secret
	Live     bool
}

// Diff lists what changed from old to now, in the order of the file.
func Diff(old, now *Config) []change {
	var changes []change
	was := old.keys()
	for i, k := range now.keys() {
		o, n := was[i].String(), k.String()
		if o == n {
			continue
		}
		if k.secret || old.hidden[k.path] {
			o = "***"
		}
		if k.secret || now.hidden[k.path] {
			n = "***"
		}
		changes = append(changes, change{Key: k.path, Old: o, New: n, Live: k.live})
	}
	return changes
}

// The rules of single values. They say what is wanted; what was found is added by who reports.

func notEmpty(s string) error {
	if strings.TrimSpace(s) == "" {
		return errors.New("must not be empty")
	}
	return nil
}

func oneOf(names ...string) func(string) error {
	return func(s string) error {
		if !slices.Contains(names, s) {
			return errors.New("want " + strings.Join(names, ", "))
		}
		return nil
	}
}

func checkBucket(s string) error {
	scheme, rest, found := strings.Cut(s, "://")
	switch {
	case s == "", found && scheme == "file" && rest != "":
		return nil
	case found && scheme == "s3":
		_, err := results.ParseS3(s)
		return err
	}
	return errors.New("want file://FOLDER or s3://BUCKET?region=REGION&endpoint=URL")
}

// checkUploadsListen takes what sellers are to reach through a proxy.
func checkUploadsListen(s string) error {
	if s == "" {
		return nil
	}
	return checkTCPListen(s)
}

func checkPublicURL(s string) error {
	if u, err := url.Parse(s); s == "" || err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == "" {
		return nil
	}
	return errors.New("want https://HOST, with or without a path")
}

func checkWebhookURL(s string) error {
	if u, err := url.Parse(s); s == "" || err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.Fragment == "" {
		return nil
	}
	return errors.New("want https://HOST/PATH")
}

// parseSecret says of a webhook's secret no more than what is wrong with it.
func parseSecret(s string) (string, error) { return s, outbox.CheckSecret(s) }

func checkListen(s string) error {
	if file, ok := strings.CutPrefix(s, "unix:"); ok {
		if file == "" {
			return errors.New("want unix:PATH")
		}
		return nil
	}
	if checkTCPListen(s) != nil {
		return errors.New("want ADDRESS:PORT or unix:PATH")
	}
	return nil
}

func checkTCPListen(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || strings.ContainsAny(host, " /@") {
		return errors.New("want ADDRESS:PORT")
	}
	return nil
}

func parsePort(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("want a port, 1 to 65535")
	}
	return int(n), nil
}

func parseProbe(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err == nil && d <= 0 {
		err = errors.New("want a duration above 0s")
	}
	return d, err
}

func parseNetwork(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, errors.New("want a network like 10.0.0.0/8")
	case p != p.Masked():
		return p, errors.New("has bits set beyond its length; want " + p.Masked().String())
	}
	return p, nil
}

// parseHostName takes what may stand in Host: a name or address, with or without a port.
func parseHostName(s string) (string, error) {
	errWant := errors.New("want a host name, with or without :PORT")
	host := s
	if h, port, err := net.SplitHostPort(s); err == nil {
		if _, err := parsePort(port); err != nil {
			return s, errWant
		}
		host = h
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return s, nil
	}
	bad := func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '.' || r == '_')
	}
	if host == "" || len(host) > 253 || strings.ContainsFunc(host, bad) {
		return s, errWant
	}
	return s, nil
}

func parseEndEvent(s string) (string, error) {
	if !slices.Contains(order.EndEvents, order.EventType(s)) {
		return s, errors.New("want " + endEventNames())
	}
	return s, nil
}

func endEventNames() string {
	names := make([]string, len(order.EndEvents))
	for i, e := range order.EndEvents {
		names[i] = string(e)
	}
	slices.SortFunc(names, cmp.Compare)
	return strings.Join(names, ", ")
}
