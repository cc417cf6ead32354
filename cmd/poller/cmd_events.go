package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

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
is the event as the API shows it. --follow goes on after a restart of the daemon
where it was: no event is missed, none is shown twice.`,
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
	f.StringVar(&after, "after", "", "only those after this `NUMBER`, or this next of the feed")
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
	wait := "" // the first answer comes at once: from then on after names the store too
	for n := 0; ; {
		size := 1000
		if limit > 0 {
			size = min(size, limit-n)
		}
		got, err := p.eventPage(ctx, c, after, wait, size)
		if err != nil {
			return explainGone(err)
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
		if follow {
			wait = "60s"
		}
	}
}

// How long a daemon that was there is given before it is asked again.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// eventPage reads one page. While it waits for events it outlives a restart of
// the daemon: nothing was printed of an answer that did not come, so that the
// same question again misses nothing and shows nothing twice.
func (p *program) eventPage(ctx context.Context, c *client, after, wait string, limit int) (page, error) {
	q := url.Values{"after": {after}, "limit": {strconv.Itoa(limit)}}
	if wait != "" {
		q.Set("wait", wait)
	}
	told := false
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		b, err := c.call(ctx, http.MethodGet, "/v1/events?"+q.Encode(), nil)
		if err == nil {
			var got page
			if err := json.Unmarshal(b, &got); err != nil {
				return page{}, fmt.Errorf("%s: an answer that this version does not understand: %w", c.where, err)
			}
			return got, nil
		}
		if wait == "" || !passing(err) || ctx.Err() != nil {
			return page{}, err
		}
		if !told && pause > firstRetry { // a restart is often over by then
			told = true
			fmt.Fprintln(p.stderr, "poller: "+printable(err.Error())+"; trying again")
		}
		select {
		case <-ctx.Done():
			return page{}, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// passing reports whether an error may go away when the daemon is back: there
// was no answer, or one that says so.
func passing(err error) bool {
	var off *unanswered
	if errors.As(err, &off) {
		return true
	}
	r, ok := asRefusal(err)
	return ok && (r.Status == http.StatusBadGateway || r.Status == http.StatusServiceUnavailable || r.Status == http.StatusGatewayTimeout)
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
