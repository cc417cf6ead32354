package main

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"
)

func (p *program) webhookCommand() *cobra.Command {
	return group("webhook", "Tell the platform of ends of orders again", p.webhookReplay())
}

func (p *program) webhookReplay() *cobra.Command {
	var after, id string
	cmd := &cobra.Command{
		Use: "replay", Short: "Deliver ends of orders to the webhook again", Args: cobra.NoArgs,
		Long: `Deliver ends of orders to the webhook again, with the same id and body as
before: one order's, or all that came after an event of the feed. It does not
matter whether they were taken, set aside, or never sent.`,
		Example: examples(
			"poller webhook replay --order o-1",
			"poller webhook replay --after 4711",
			"poller webhook replay --after 0      # all of the feed, if it goes back to the first event",
		),
		RunE: func(cmd *cobra.Command, _ []string) error {
			given := cmd.Flags().Changed
			if given("after") == given("order") {
				return usagef("want either --after or --order")
			}
			body := map[string]any{"order_id": id}
			if given("after") {
				body = map[string]any{"after": after}
			}
			type replayed struct {
				Replayed int64 `json:"replayed"`
			}
			err := show(cmd.Context(), p, http.MethodPost, "/v1/webhook/replay", body, func(r replayed) error {
				_, err := fmt.Fprintf(p.stdout, "%d ends of orders will be delivered again\n", r.Replayed)
				return err
			})
			return explainGone(err)
		},
	}
	f := cmd.Flags()
	f.StringVar(&after, "after", "", "all ends after this `NUMBER` of an event, or this next of the feed")
	f.StringVar(&id, "order", "", "the end of this `ORDER`")
	return cmd
}

// explainGone adds to a refusal of the event feed from where it can be read.
func explainGone(err error) error {
	r, ok := asRefusal(err)
	if !ok || r.Status != http.StatusGone || r.First == 0 {
		return err
	}
	return errors.Join(err, fmt.Errorf("store %s has events from %d on: --after %s", r.Store, r.First, strconv.FormatUint(r.First-1, 10)))
}
