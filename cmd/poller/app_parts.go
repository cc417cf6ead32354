package main

import (
	"crypto/x509"
	"fmt"
	"os"

	"poller/api"
	"poller/fetcher"
	"poller/order"
	"poller/outbox"
	"poller/scheduler"
	"poller/store"
)

// schedulerConfig is the configuration in the scheduler's terms.
func schedulerConfig(c *Config) scheduler.Config {
	return scheduler.Config{
		Cron: c.Schedule.Cron, Timezone: c.Schedule.Timezone, Spread: c.Schedule.Spread, CatchUp: c.Schedule.CatchUp,
		Workers: c.Fetch.Workers, PerHost: c.Fetch.PerHost, Hosts: c.Fetch.Hosts, PerSeller: c.Fetch.PerSeller,
		BreakerFailures: c.Fetch.BreakerFailures, BreakerProbes: c.Fetch.BreakerProbes,
		Policy: order.Policy{
			Deadline: c.Orders.Deadline,
			GiveUpAfter: order.GiveUpAfter{
				NotFound:        c.Orders.GiveUpAfter.NotFound,
				InvalidResponse: c.Orders.GiveUpAfter.InvalidResponse,
				RejectedResult:  c.Orders.GiveUpAfter.RejectedResult,
			},
			MaxRetryAfter:  c.Fetch.MaxRetryAfter,
			ProgressEvents: c.Events.Progress,
		},
		FuseShare:       float64(c.Orders.GiveUpFuse),
		MaxPerSeller:    int64(c.Results.MaxPerSeller),
		ShutdownTimeout: c.ShutdownTimeout - stopReserve(c),
	}
}

// fetcherOptions is the configuration in the fetcher's terms. openFiles is how
// many files may be open.
func fetcherOptions(c *Config, openFiles int) (fetcher.Options, error) {
	roots, err := rootCAs(c.Fetch.CAFile)
	if err != nil {
		return fetcher.Options{}, err
	}
	ports := make([]uint16, len(c.Fetch.AllowPorts))
	for i, p := range c.Fetch.AllowPorts {
		ports[i] = uint16(p)
	}
	return fetcher.Options{
		Timeout: c.Fetch.Timeout, BodyTimeout: c.Fetch.BodyTimeout,
		MaxBody: int64(c.Fetch.MaxBody), MaxMemory: int64(c.Fetch.MaxMemory), MaxPerOrder: int64(c.Results.MaxPerOrder),
		Redirects: c.Fetch.Redirects, AllowPorts: ports, AllowNetworks: c.Fetch.AllowNetworks,
		RootCAs: roots, Version: version,
		// Kept connections are worth having, but not for the price of those in use.
		MaxIdleConns: max(1, min(max(1024, 2*c.Fetch.Workers), (openFiles-c.Fetch.Workers-otherFiles)/4*3)),
	}, nil
}

// rootCAs is the system's root certificates and those of the file; nil: the system's.
func rootCAs(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("fetch.ca_file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without any: then the file's alone
	}
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("fetch.ca_file: no PEM certificate in %s", file)
	}
	return pool, nil
}

// hostCap is the most polls at once to a host, by "name:port" (fetch.hosts, fetch.per_host).
func hostCap(c *Config, host string) int {
	if n, ok := c.Fetch.Hosts[host]; ok {
		return n
	}
	return c.Fetch.PerHost
}

// fieldErrors are the fetcher's, in the API's terms.
func fieldErrors(errs []fetcher.FieldError) []api.FieldError {
	var all []api.FieldError
	for _, e := range errs {
		all = append(all, api.FieldError{Field: e.Field, Detail: e.Detail})
	}
	return all
}

// outboxConfig is the configuration in the outbox's terms.
func outboxConfig(c *Config) (outbox.Config, error) {
	roots, err := rootCAs(c.Fetch.CAFile)
	if err != nil {
		return outbox.Config{}, err
	}
	return outbox.Config{URL: c.Webhook.URL, Secrets: c.Webhook.Secrets, RootCAs: roots}, nil
}

// webhookEvents are the types of events that are queued for the webhook: none without a URL (SPEC §6).
func webhookEvents(c *Config) []order.EventType {
	if c.Webhook.URL == "" {
		return nil
	}
	types := make([]order.EventType, len(c.Webhook.Events))
	for i, e := range c.Webhook.Events {
		types[i] = order.EventType(e)
	}
	return types
}

// Interfaces that are met by what others make.
var (
	_ resultStore     = folder{}
	_ resultStore     = bucket{}
	_ scheduler.Store = (*store.Store)(nil)
	_ api.Store       = (*store.Store)(nil)
	_ keptStore       = (*store.Store)(nil)
	_ outbox.Store    = (*store.Store)(nil)
)
