//go:build ci

package e2e

import (
	"bytes"
	"net/http"
	"os/exec"
	"testing"

	"poller/internal/fakeseller"
)

// Issue 3, "Shown by" 7: promtool finds nothing to say about the live metrics
// (SPEC §7). It is not a Go program, so that only make check runs this: see scripts/install-ci.sh.
func TestPromtoolFindsNothingToSay(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.start()
	d.register(0, "acme")
	s.sellers.Handle("acme/quick", fakeseller.Quick("done"))
	for _, id := range []string{"quick", "slow"} {
		d.submit("acme", id)
	}
	d.sweep()
	metrics := d.get("/metrics")
	equal(t, "status", metrics.status, http.StatusOK)
	cmd := exec.CommandContext(within(t), "promtool", "check", "metrics")
	cmd.Stdin = bytes.NewReader(metrics.body)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
