// Package metrics names every Prometheus metric of poller, in one place (SPEC
// §7). No label ever carries a seller, an order, a host or anything else
// without a bound.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"poller/order"
)

// Metrics is what the daemon counts itself. Numbers that the store knows
// anyway are read from it at each scrape: see Source.
type Metrics struct {
	Sweeps           *prometheus.CounterVec // trigger
	SweepsOverrun    prometheus.Counter
	SweepDuration    prometheus.Histogram // seconds
	SweepRunning     prometheus.Gauge
	SweepLastSuccess prometheus.Gauge // Unix seconds
	SweepRemaining   prometheus.Gauge

	Polls         *prometheus.CounterVec // outcome
	PollDuration  prometheus.Histogram   // seconds
	PollsInFlight prometheus.Gauge
	Workers       prometheus.Gauge
	ResponseBytes prometheus.Histogram

	OrdersOverdue prometheus.Gauge
	OldestOverdue prometheus.Gauge       // seconds
	Transitions   *prometheus.CounterVec // to, code

	SellersInTrouble prometheus.Gauge
	SellersOverQuota prometheus.Gauge
	BreakersOpen     *prometheus.GaugeVec // scope: seller, host

	WebhookAttempts *prometheus.CounterVec // result

	CommitDuration prometheus.Histogram // seconds
	ClockDoubted   prometheus.Gauge
	ResultsBytes   prometheus.Counter

	ConfigReloaded prometheus.Gauge // 1: the last reload was successful

	registerer prometheus.Registerer
}

// New makes the metrics and registers them, with the Go and process
// collectors. It panics if one is registered already, which is a programming error.
func New(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		Sweeps:           counters("poller_sweeps_total", "Sweeps begun.", "trigger"),
		SweepsOverrun:    counter("poller_sweeps_overrun_total", "Cron sweeps closed by the next cron tick with orders remaining because of poller's own limits."),
		SweepDuration:    histogram("poller_sweep_duration_seconds", "How long sweeps took, from tick to end.", []float64{.1, .5, 1, 5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600}),
		SweepRunning:     gauge("poller_sweep_running", "1 while a sweep runs."),
		SweepLastSuccess: gauge("poller_sweep_last_success_timestamp_seconds", "When the last sweep ended with nothing remaining."),
		SweepRemaining:   gauge("poller_sweep_remaining_orders", "Orders that the last sweep left because of poller's own limits."),

		Polls:         counters("poller_polls_total", "Polls recorded, by what they found out.", "outcome"),
		PollDuration:  histogram("poller_poll_duration_seconds", "How long polls took, from dial to last byte.", []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2, 4, 8, 16, 32, 60}),
		PollsInFlight: gauge("poller_polls_in_flight", "Polls in flight."),
		Workers:       gauge("poller_workers", "Most polls that may be in flight (fetch.workers)."),
		ResponseBytes: histogram("poller_response_bytes", "Sizes of answers after decompression.", prometheus.ExponentialBuckets(256, 8, 8)),

		OrdersOverdue: gauge("poller_orders_overdue", "Orders left over from an earlier tick, not because of their seller; set at each tick."),
		OldestOverdue: gauge("poller_oldest_overdue_seconds", "For how long the oldest overdue order has been due; set at each tick."),
		Transitions:   counters("poller_transitions_total", "Orders that ended, by state and failure code.", "to", "code"),

		SellersInTrouble: gauge("poller_sellers_in_trouble", "Sellers whose last answered or failed poll was neither valid nor throttled."),
		SellersOverQuota: gauge("poller_sellers_over_quota", "Sellers whose completed answers wait because of results.max_per_seller."),
		BreakersOpen: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "poller_breakers_open", Help: "Sellers and hosts that are left alone but for probes.",
		}, []string{"scope"}),

		WebhookAttempts: counters("poller_webhook_attempts_total", "Attempts to deliver an event to the webhook.", "result"),

		CommitDuration: histogram("poller_commit_duration_seconds", "How long commits took, syncs included.", []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}),
		ClockDoubted:   gauge("poller_clock_doubted", "1 while the wall clock is doubted: deadlines and retention rest."),
		ResultsBytes:   counter("poller_results_bytes_total", "Bytes of result files that completed orders brought."),
		ConfigReloaded: gauge("poller_config_last_reload_successful", "1 if the last reload of the configuration was successful."),
		registerer:     r,
	}
	// Every series exists from the start, so that a rate can be taken over its first increase.
	for _, t := range order.Triggers {
		m.Sweeps.WithLabelValues(string(t))
	}
	for _, o := range order.Outcomes {
		m.Polls.WithLabelValues(string(o))
	}
	for _, c := range order.Codes {
		m.Transitions.WithLabelValues(string(order.StateFailed), c)
	}
	m.Transitions.WithLabelValues(string(order.StateCompleted), "")
	m.Transitions.WithLabelValues(string(order.StateCancelled), "")
	for _, scope := range []string{"seller", "host"} {
		m.BreakersOpen.WithLabelValues(scope)
	}
	for _, result := range []string{"taken", "refused", "timeout", "unreachable"} {
		m.WebhookAttempts.WithLabelValues(result)
	}
	m.ConfigReloaded.Set(1)
	r.MustRegister(
		m.Sweeps, m.SweepsOverrun, m.SweepDuration, m.SweepRunning, m.SweepLastSuccess, m.SweepRemaining,
		m.Polls, m.PollDuration, m.PollsInFlight, m.Workers, m.ResponseBytes,
		m.OrdersOverdue, m.OldestOverdue, m.Transitions, m.SellersInTrouble, m.SellersOverQuota, m.BreakersOpen,
		m.WebhookAttempts, m.CommitDuration, m.ClockDoubted, m.ResultsBytes, m.ConfigReloaded,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Ended counts a transition that is durable, whatever brought it about.
func (m *Metrics) Ended(o *order.Order) {
	code := ""
	if o.Failure != nil {
		code = o.Failure.Code
	}
	m.Transitions.WithLabelValues(string(o.State), code).Inc()
	m.ResultsBytes.Add(float64(o.Result.Stored()))
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
}
