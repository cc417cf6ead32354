package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"poller/order"
)

// sweepView is a sweep as the API shows it.
type sweepView struct {
	ID           json.Number             `json:"id"`
	Tick         uint64                  `json:"tick"`
	Trigger      order.Trigger           `json:"trigger"`
	State        order.SweepState        `json:"state"`
	StartedAt    *time.Time              `json:"started_at"`
	EndedAt      *time.Time              `json:"ended_at"`
	Due          int64                   `json:"due"`
	Polled       int64                   `json:"polled"`
	Skipped      int64                   `json:"skipped"`
	LeftToSeller int64                   `json:"left_to_seller"`
	Remaining    int64                   `json:"remaining"`
	Outcomes     map[order.Outcome]int64 `json:"outcomes"`
}

var sweepHead = []string{"sweep", "tick", "trigger", "state", "started", "took", "due", "polled", "skipped", "left to seller", "remaining"}

func (s *sweepView) row() []string {
	took := ""
	if s.StartedAt != nil && s.EndedAt != nil {
		took = s.EndedAt.Sub(*s.StartedAt).Round(time.Millisecond).String()
	}
	row := []string{s.ID.String(), strconv.FormatUint(s.Tick, 10), string(s.Trigger), string(s.State), showTime(s.StartedAt), took}
	for _, n := range []int64{s.Due, s.Polled, s.Skipped, s.LeftToSeller, s.Remaining} {
		row = append(row, strconv.FormatInt(n, 10))
	}
	return row
}

func (p *program) sweepCommand() *cobra.Command {
	return group("sweep", "Start and watch sweeps", p.sweepRun(), p.sweepList(), p.sweepWatch())
}

func (p *program) sweepRun() *cobra.Command {
	var dueOnly, wait bool
	cmd := &cobra.Command{
		Use: "run", Short: "Poll now, without waiting for the schedule", Args: cobra.NoArgs,
		Long: `Poll every order in processing now, but those of paused sellers and those whose
seller asked to wait. With --due-only only what the last tick left or skipped,
and new orders.`,
		Example: examples("poller sweep run --wait", "poller sweep run --due-only"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var body any
			if dueOnly {
				body = map[string]bool{"due_only": true}
			}
			var id json.Number
			err := show(cmd.Context(), p, http.MethodPost, "/v1/sweeps", body, func(s sweepView) error {
				id = s.ID
				return p.printTable(sweepHead, [][]string{s.row()})
			})
			if err != nil || !wait || p.jsonOutput() {
				return err
			}
			return p.watchSweep(cmd.Context(), id)
		},
	}
	cmd.Flags().BoolVar(&dueOnly, "due-only", false, "only what is still due")
	cmd.Flags().BoolVar(&wait, "wait", false, "watch it until it has ended")
	return cmd
}

func (p *program) sweepList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List the latest sweeps, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showList(cmd.Context(), p, "/v1/sweeps", nil, limit, sweepHead, func(s sweepView) []string { return s.row() })
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "at most so many; 0: all")
	return cmd
}

func (p *program) sweepWatch() *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "Watch the running sweep until it has ended", Args: cobra.NoArgs,
		Long: "Watch the running sweep until it has ended; if none is running, show the last one.",
		RunE: func(cmd *cobra.Command, _ []string) error { return p.watchSweep(cmd.Context(), "") },
	}
}

// watchInterval is how often a watched sweep is looked at.
const watchInterval = time.Second

// watchSweep prints the books of a sweep ("": the newest) whenever they
// change, until it has ended. It fails if the sweep left something remaining.
func (p *program) watchSweep(ctx context.Context, id json.Number) error {
	c, err := p.client()
	if err != nil {
		return err
	}
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	last := ""
	for {
		s, found, err := c.sweep(ctx, id)
		switch {
		case err != nil:
			return err
		case !found:
			_, err := fmt.Fprintln(p.stderr, "none")
			return err
		}
		id = s.ID
		line := fmt.Sprintf("sweep %s: %s, %d of %d polled, %d skipped, %d left to seller", s.ID, s.State, s.Polled, s.Due, s.Skipped, s.LeftToSeller)
		if line != last {
			if err := p.printSweep(s, line); err != nil {
				return err
			}
			last = line
		}
		switch s.State {
		case order.SweepDone:
			return nil
		case order.SweepRunning:
		default:
			return fmt.Errorf("the sweep was %s with %d orders remaining", s.State, s.Remaining)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (p *program) printSweep(s sweepView, line string) error {
	if !p.jsonOutput() {
		_, err := fmt.Fprintln(p.stdout, line)
		return err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return p.printLine(b)
}

// sweep finds a sweep among the latest; "" is the newest.
func (c *client) sweep(ctx context.Context, id json.Number) (sweepView, bool, error) {
	all, err := c.list(ctx, "/v1/sweeps", url.Values{}, 20)
	if err != nil {
		return sweepView{}, false, err
	}
	for _, item := range all.Items {
		var s sweepView
		if err := json.Unmarshal(item, &s); err != nil {
			return s, false, fmt.Errorf("%s: an answer that this version does not understand: %w", c.where, err)
		}
		if id == "" || s.ID == id {
			return s, true, nil
		}
	}
	return sweepView{}, false, nil
}
