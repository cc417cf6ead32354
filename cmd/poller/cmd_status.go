package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

func (p *program) statusCommand() *cobra.Command {
	type status struct {
		Version       string     `json:"version"`
		Store         string     `json:"store"`
		StartedAt     *time.Time `json:"started_at"`
		Sweep         *sweepView `json:"sweep"`
		Held          int64      `json:"held"`
		ClockDoubted  bool       `json:"clock_doubted"`
		DiskFreeBytes *int64     `json:"disk_free_bytes"`
		Webhook       struct {
			Pending int64 `json:"pending"`
			Dead    int64 `json:"dead"`
		} `json:"webhook"`
	}
	return &cobra.Command{
		Use: "status", Short: "Show how the daemon is", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd.Context(), p, http.MethodGet, "/v1/status", nil, func(s status) error {
				sweep := ""
				if v := s.Sweep; v != nil {
					sweep = fmt.Sprintf("%s (%s): %s, %d of %d polled", v.ID, v.Trigger, v.State, v.Polled, v.Due)
				}
				free := ""
				if s.DiskFreeBytes != nil {
					free = humanBytes(*s.DiskFreeBytes)
				}
				webhook := strconv.FormatInt(s.Webhook.Pending, 10) + " pending"
				if n := s.Webhook.Dead; n > 0 {
					webhook += fmt.Sprintf(`, %d set aside until "poller webhook replay"`, n)
				}
				return p.printFields(
					"version", s.Version, "store", s.Store, "started", showTime(s.StartedAt), "sweep", sweep,
					"held orders", strconv.FormatInt(s.Held, 10), "disk free", free, "webhook", webhook,
					"clock", yesNo(s.ClockDoubted, `doubted: deadlines and retention rest until "poller clock confirm"`),
				)
			})
		},
	}
}

func (p *program) heldCommand() *cobra.Command {
	var limit int
	list := &cobra.Command{
		Use: "list", Short: "List the orders that are held", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.listOrders(cmd, "", "", true, limit) },
	}
	list.Flags().IntVar(&limit, "limit", 100, "at most so many; 0: all")

	var all bool
	release := &cobra.Command{
		Use: "release [SELLER]", Short: "End the held orders as last decided", Args: cobra.MaximumNArgs(1), ValidArgsFunction: p.completeSellers,
		Long: `End the held orders of a seller as was last decided about them. With --all those
of every seller; then the fuse is new, too.`,
		Example: examples("poller held release acme", "poller held release --all"),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]string{}
			switch {
			case all == (len(args) == 1):
				return usagef("want a SELLER or --all")
			case len(args) == 1:
				body["seller_id"] = args[0]
			}
			return show(cmd.Context(), p, http.MethodPost, "/v1/held/release", body, func(r map[string]json.RawMessage) error {
				if n, ok := r["released"]; ok {
					_, err := fmt.Fprintf(p.stdout, "%s orders released\n", n)
					return err
				}
				_, err := fmt.Fprintln(p.stdout, "released")
				return err
			})
		},
	}
	release.Flags().BoolVar(&all, "all", false, "of every seller")
	return group("held", "Look at and release the orders that poller did not dare to give up", list, release)
}

func (p *program) clockCommand() *cobra.Command {
	return group("clock", "Tell the daemon about the wall clock", &cobra.Command{
		Use: "confirm", Short: "The wall clock is right: let deadlines and retention go on", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd.Context(), p, http.MethodPost, "/v1/clock/confirm", nil, func(struct{}) error {
				_, err := fmt.Fprintln(p.stdout, "confirmed")
				return err
			})
		},
	})
}
