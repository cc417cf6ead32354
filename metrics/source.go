package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"poller/order"
)

// Source is what a scrape reads where it is known anyway. Its functions are
// called at every scrape and must cost next to nothing: no scan of the orders.
type Source struct {
	Orders  func() map[order.State]int64
	Held    func() int64
	Bytes   func() int64 // size of the database file
	Damaged func() int64 // records whose checksum or shape was wrong, since the start
	// DiskFree: free bytes by what is kept there (the label dir: "data", "results").
	DiskFree map[string]func() int64
	// Outbox: how many deliveries are pending, and how many were set aside.
	Outbox func() (pending, dead int64)
	// OutboxOldest: when the pending delivery that waits longest was queued; zero: there is none.
	OutboxOldest func() time.Time
	Now          func() time.Time
	Version      string
	GoVersion    string
}

// Watch registers the metrics that are read from the source at each scrape.
func (m *Metrics) Watch(s Source) {
	for _, state := range order.States {
		m.gaugeFunc("poller_orders", "Orders kept, by state.", prometheus.Labels{"state": string(state)}, func() float64 { return float64(s.Orders()[state]) })
	}
	m.gaugeFunc("poller_orders_held", "Orders that the fuse holds in processing until an operator releases them.", nil, func() float64 { return float64(s.Held()) })
	m.gaugeFunc("poller_store_bytes", "Size of the database file.", nil, func() float64 { return float64(s.Bytes()) })
	for dir, free := range s.DiskFree {
		m.gaugeFunc("poller_disk_free_bytes", "Free disk space, by what is kept there.", prometheus.Labels{"dir": dir}, func() float64 { return float64(free()) })
	}
	m.registerer.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "poller_records_damaged_total", Help: "Records found damaged since the start: left in place, never acted on.",
	}, func() float64 { return float64(s.Damaged()) }))
	m.gaugeFunc("poller_outbox_pending", "Events that the webhook has not taken yet, without those set aside.", nil, func() float64 {
		pending, _ := s.Outbox()
		return float64(pending)
	})
	m.gaugeFunc("poller_webhook_dead", "Events set aside after the last retry, until they are replayed.", nil, func() float64 {
		_, dead := s.Outbox()
		return float64(dead)
	})
	m.gaugeFunc("poller_outbox_oldest_seconds", "For how long the oldest pending event has waited.", nil, func() float64 {
		at := s.OutboxOldest()
		if at.IsZero() {
			return 0
		}
		return max(0, s.Now().Sub(at).Seconds())
	})
	m.gaugeFunc("poller_build_info", "1, labelled with the version.", prometheus.Labels{"version": s.Version, "goversion": s.GoVersion}, func() float64 { return 1 })
}

func (m *Metrics) gaugeFunc(name, help string, labels prometheus.Labels, f func() float64) {
	m.registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, f))
}
