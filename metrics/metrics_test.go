package metrics

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"poller/order"
)

// SPEC §7: the names, as far as the parts exist.
func TestEveryNameOfTheSpecIsThereFromTheStart(t *testing.T) {
	r := prometheus.NewRegistry()
	m := New(r)
	zero := func() int64 { return 0 }
	m.Watch(Source{
		Orders: func() map[order.State]int64 { return nil }, Held: zero, Bytes: zero, Damaged: zero,
		Outbox: func() (int64, int64) { return 2, 1 }, OutboxOldest: func() time.Time { return time.Unix(100, 0) }, Now: func() time.Time { return time.Unix(130, 0) },
		DiskFree: map[string]func() int64{"data": zero}, Version: "v", GoVersion: "go",
	})
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "poller_") {
			got = append(got, strings.TrimPrefix(f.GetName(), "poller_"))
		}
	}
	want := strings.Fields(`sweeps_total sweeps_overrun_total sweep_duration_seconds sweep_running
		sweep_last_success_timestamp_seconds sweep_remaining_orders polls_total
		poll_duration_seconds polls_in_flight workers response_bytes orders
		orders_overdue oldest_overdue_seconds orders_held transitions_total
		sellers_in_trouble sellers_over_quota breakers_open commit_duration_seconds
		store_bytes disk_free_bytes records_damaged_total clock_doubted results_bytes_total
		outbox_pending outbox_oldest_seconds webhook_attempts_total webhook_dead
		config_last_reload_successful build_info`)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("metrics\n%q, want\n%q", got, want)
	}
	problems, err := testutil.GatherAndLint(r)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// GUARANTEES G21: the number of series does not grow with what happens.
func TestTheNumberOfSeriesIsFixed(t *testing.T) {
	r := prometheus.NewRegistry()
	m := New(r)
	before, err := testutil.GatherAndCount(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range order.States[1:] {
		for _, code := range order.Codes {
			o := &order.Order{State: s, SellerID: "a-" + code}
			if s == order.StateFailed {
				o.Failure = &order.Failure{Code: code}
			}
			m.Ended(o)
		}
	}
	for _, o := range order.Outcomes {
		m.Polls.WithLabelValues(string(o)).Inc()
	}
	after, err := testutil.GatherAndCount(r)
	if err != nil {
		t.Fatal(err)
	}
	if after != before {
		t.Errorf("%d series became %d", before, after)
	}
}
