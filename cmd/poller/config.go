package main

import (
	"net/netip"
	"time"
)

// Config is config.yaml (SPEC §3). Every path in it is absolute or relative to
// the working directory once it was loaded; a value is final: nothing is
// expanded or defaulted after parseConfig.
type Config struct {
	DataDir string
	MinFree Size

	Schedule struct {
		Cron     string
		Timezone string
		Spread   time.Duration
		CatchUp  bool
	}

	Fetch struct {
		Workers         int
		PerHost         int
		Hosts           map[string]int // host:port to polls in flight
		PerSeller       int
		Timeout         time.Duration
		BodyTimeout     time.Duration
		MaxBody         Size
		MaxMemory       Size
		Redirects       int
		MaxRetryAfter   time.Duration
		BreakerFailures int
		BreakerProbes   []time.Duration
		AllowPorts      []int
		AllowNetworks   []netip.Prefix
		CAFile          string
	}

	Orders struct {
		Deadline    time.Duration
		GiveUpAfter struct{ NotFound, InvalidResponse, RejectedResult time.Duration }
		GiveUpFuse  Share
		Retention   time.Duration
	}

	Events struct {
		Retention time.Duration
		Max       int
		Progress  bool
	}

	Store struct{ BBolt string }

	Results struct {
		Bucket       string
		MaxPerOrder  Size
		MaxPerSeller Size
	}

	Uploads struct{ Listen, PublicURL string }

	Secrets struct{ KeyFile string }

	API struct {
		Listen    string
		TokenFile string
		TLSCert   string
		TLSKey    string
		Hosts     []string
	}

	Metrics struct{ Listen string }

	Webhook struct {
		URL     string
		Secrets []string
		Events  []string
	}

	Log struct{ Level, Format string }

	ShutdownTimeout time.Duration

	// hidden: the keys whose values came from ${…} and are not shown, since they may be secrets.
	hidden map[string]bool
}

// Size is a number of bytes.
type Size int64

// Share is a part of a whole, 0…1; "10%" in the file.
type Share float64

// Sizes of the defaults.
const (
	mib Size = 1 << 20
	gib Size = 1 << 30
)

const day = 24 * time.Hour

// defaultConfig is what an empty file means, paths still relative to the file.
func defaultConfig() Config {
	var c Config
	c.DataDir = "data"
	c.MinFree = 256 * mib

	c.Schedule.Cron = "*/15 * * * *"
	c.Schedule.Timezone = "UTC"
	c.Schedule.CatchUp = true

	c.Fetch.Workers = 512
	c.Fetch.PerHost = 16
	c.Fetch.Hosts = map[string]int{}
	c.Fetch.PerSeller = 4
	c.Fetch.Timeout = 8 * time.Second
	c.Fetch.BodyTimeout = time.Minute
	c.Fetch.MaxBody = 64 * mib
	c.Fetch.MaxMemory = 256 * mib
	c.Fetch.Redirects = 3
	c.Fetch.MaxRetryAfter = time.Hour
	c.Fetch.BreakerFailures = 3
	c.Fetch.BreakerProbes = []time.Duration{time.Minute, 5 * time.Minute}
	c.Fetch.AllowPorts = []int{443, 8443}
	c.Fetch.AllowNetworks = []netip.Prefix{}

	c.Orders.Deadline = 72 * time.Hour
	c.Orders.GiveUpAfter.NotFound = 2 * time.Hour
	c.Orders.GiveUpAfter.InvalidResponse = 6 * time.Hour
	c.Orders.GiveUpAfter.RejectedResult = 24 * time.Hour
	c.Orders.GiveUpFuse = 0.10
	c.Orders.Retention = 30 * day

	c.Events.Retention = 7 * day
	c.Events.Max = 10_000_000
	c.Events.Progress = true

	c.Results.MaxPerOrder = gib
	c.Results.MaxPerSeller = 20 * gib

	c.API.Listen = "127.0.0.1:8080"
	c.API.Hosts = []string{}
	c.Metrics.Listen = "127.0.0.1:9464"

	c.Webhook.Secrets = []string{}
	c.Webhook.Events = []string{"order.completed", "order.failed", "order.cancelled"}

	c.Log.Level = "info"
	c.Log.Format = "json"
	c.ShutdownTimeout = 15 * time.Second
	return c
}
