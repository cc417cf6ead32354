package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"poller/order"
)

func (p *program) eventsCommand() *cobra.Command {
	var after string
	var follow bool
	var limit int
	cmd := &cobra.Command{
		Use: "events", Short: "Show what happened to orders, in order of number", Args: cobra.NoArgs,
		Long: `Show what happened to orders, in order of number, one event a line.

Without --after the oldest events still kept come first. With -o json each line
is the event as the API shows it.`,
		Example: examples("poller events --limit 20", "poller events --after 4711 --follow -o json"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("--limit: want a number from 0")
			}
			c, err := p.client()
			if err != nil {
				return err
			}
			return p.readEvents(cmd.Context(), c, after, follow, limit)
		},
	}
	f := cmd.Flags()
	f.StringVar(&after, "after", "", "only those after this `NUMBER`")
	f.BoolVarP(&follow, "follow", "f", false, "go on with new ones as they come")
	f.IntVar(&limit, "limit", 0, "at most so many; 0: all")
	return cmd
}

// readEvents prints events after a number, until there are no more or, if it follows, until ctx ends.
func (p *program) readEvents(ctx context.Context, c *client, after string, follow bool, limit int) error {
	if after == "" {
		first, err := c.firstEvent(ctx)
		if err != nil {
			return err
		}
		after = strconv.FormatUint(first-1, 10)
	}
	for n := 0; ; {
		q := url.Values{"after": {after}, "limit": {"1000"}}
		if limit > 0 {
			q.Set("limit", strconv.Itoa(min(1000, limit-n)))
		}
		if follow {
			q.Set("wait", "60s")
		}
		b, err := c.call(ctx, http.MethodGet, "/v1/events?"+q.Encode(), nil)
		if err != nil {
			return err
		}
		var got page
		if err := json.Unmarshal(b, &got); err != nil {
			return fmt.Errorf("%s: an answer that this version does not understand: %w", c.where, err)
		}
		for _, item := range got.Items {
			if err := p.printEvent(item); err != nil {
				return err
			}
		}
		n += len(got.Items)
		if limit > 0 && n >= limit || len(got.Items) == 0 && !follow {
			return nil
		}
		if got.Next != nil {
			after = *got.Next
		}
	}
}

func (p *program) printEvent(item json.RawMessage) error {
	if p.jsonOutput() {
		return p.printLine(item)
	}
	var e order.EventView
	if err := json.Unmarshal(item, &e); err != nil {
		return fmt.Errorf("an answer that this version does not understand: %w", err)
	}
	line := fmt.Sprintf("%-6d  %s  %-15s  %s  %s  %s", e.Number, showTime(&e.At), e.Type, e.SellerID, e.OrderID, showData(e.Data))
	_, err := fmt.Fprintln(p.stdout, order.Clip(line, 512))
	return err
}

// firstEvent is the number of the oldest event that the feed holds.
func (c *client) firstEvent(ctx context.Context) (uint64, error) {
	_, err := c.call(ctx, http.MethodGet, "/v1/events?after=0&limit=1", nil)
	if r, ok := asRefusal(err); ok && r.Status == http.StatusGone && r.First > 0 {
		return r.First, nil
	}
	return 1, err
}
