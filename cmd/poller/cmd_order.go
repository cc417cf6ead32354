package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"poller/order"
)

func (p *program) orderCommand() *cobra.Command {
	return group("order", "Submit, look at and end orders",
		p.orderSubmit(), p.orderList(), p.orderShow(), p.orderHistory(),
		p.orderDeadline(), p.orderCancel(), p.orderErase(), p.orderPoll(), p.orderFile(),
	)
}

func orderPath(id string) string { return "/v1/orders/" + url.PathEscape(id) }

func (p *program) orderList() *cobra.Command {
	var state, seller string
	var held bool
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List orders", Args: cobra.NoArgs,
		Example: examples("poller order list --state processing --seller acme"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.listOrders(cmd, state, seller, held, limit)
		},
	}
	f := cmd.Flags()
	f.StringVar(&state, "state", "", "only those in this `STATE`: processing, completed, failed or cancelled")
	f.StringVar(&seller, "seller", "", "only those of this `SELLER`")
	f.BoolVar(&held, "held", false, "only those that are held")
	f.IntVar(&limit, "limit", 100, "at most so many; 0: all")
	_ = cmd.RegisterFlagCompletionFunc("seller", p.completeSellers) // fails only for an unknown flag
	return cmd
}

func (p *program) listOrders(cmd *cobra.Command, state, seller string, held bool, limit int) error {
	q := url.Values{}
	if state != "" {
		q.Set("state", state)
	}
	if seller != "" {
		q.Set("seller", seller)
	}
	if held {
		q.Set("held", "true")
	}
	return showList(cmd.Context(), p, "/v1/orders", q, limit,
		[]string{"order", "seller", "state", "progress", "polls", "last outcome", "last polled", ""},
		func(o order.View) []string {
			return []string{
				o.OrderID, o.SellerID, string(o.State), showProgress(o.Progress), strconv.FormatUint(o.Polls, 10),
				string(deref0(o.LastOutcome)), showTime(o.LastPolledAt), orderRemark(&o),
			}
		})
}

// orderRemark is what matters most of an order, in a few words.
func orderRemark(o *order.View) string {
	switch {
	case o.Failure != nil:
		return o.Failure.Code + ": " + o.Failure.Message
	case o.Result != nil:
		return showResult(o.Result)
	case o.Held:
		return "held"
	case o.Trouble != nil:
		return deref0(o.LastDetail)
	}
	return deref0(o.Message)
}

func showProgress(f *float64) string {
	if f == nil {
		return ""
	}
	return strconv.FormatFloat(*f, 'f', -1, 64) + "%"
}

// showResult names what a result is made of.
func showResult(r *order.ResultView) string {
	var parts []string
	if r.Text != nil {
		parts = append(parts, fmt.Sprintf("%d characters", len([]rune(*r.Text))))
	}
	if r.URL != "" {
		parts = append(parts, r.URL)
	}
	for _, f := range r.Files {
		parts = append(parts, f.Filename)
	}
	return string(r.OutputType) + ": " + strings.Join(parts, ", ")
}

func (p *program) orderShow() *cobra.Command {
	return &cobra.Command{
		Use: "show ORDER", Short: "Show all of an order", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return show(cmd.Context(), p, http.MethodGet, orderPath(args[0]), nil, p.printOrder)
		},
	}
}

func (p *program) printOrder(o order.View) error {
	var eta string
	if o.ETASeconds != nil {
		eta = time.Duration(*o.ETASeconds * float64(time.Second)).Round(time.Second).String()
	}
	pairs := []string{
		"order", o.OrderID, "seller", o.SellerID, "remote id", o.RemoteID,
		"state", joined(", ", string(o.State), yesNo(o.Held, "held")),
		"submitted", showTime(&o.SubmittedAt), "deadline", showTime(&o.Deadline),
		"progress", showProgress(o.Progress), "message", deref0(o.Message), "eta", eta,
		"polls", strconv.FormatUint(o.Polls, 10),
		"last poll", joined(" ", showTime(o.LastPolledAt), string(deref0(o.LastOutcome)), deref0(o.LastDetail)),
		"next poll", showTime(o.NextPollAt), "not before", showTime(o.NotBefore),
	}
	if t := o.Trouble; t != nil {
		pairs = append(pairs, "trouble", fmt.Sprintf("%s since %s", t.Outcome, showTime(&t.Since)))
	}
	for _, i := range o.RecentTrouble {
		pairs = append(pairs, "recent trouble", joined(" ", showTime(&i.At), string(i.Outcome), i.Detail))
	}
	pairs = append(pairs, "ended", showTime(o.EndedAt))
	if f := o.Failure; f != nil {
		pairs = append(pairs, "failure", f.Code+": "+f.Message)
	}
	if r := o.Result; r != nil {
		pairs = append(pairs, "result", showResult(r), "text", deref0(r.Text))
		for i, f := range r.Files {
			size := ""
			if f.Size != nil {
				size = humanBytes(*f.Size)
			}
			pairs = append(pairs, fmt.Sprintf("file %d", i), joined("  ", f.Filename, f.MIMEType, size, f.URL))
		}
	}
	return p.printFields(pairs...)
}

func (p *program) orderHistory() *cobra.Command {
	return &cobra.Command{
		Use: "history ORDER", Short: "Show what happened to an order, oldest first", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			type history struct {
				Items []order.EventView `json:"items"`
			}
			return show(cmd.Context(), p, http.MethodGet, orderPath(args[0])+"/history", nil, func(h history) error {
				rows := make([][]string, len(h.Items))
				for i := range h.Items {
					rows[i] = []string{showTime(&h.Items[i].At), string(h.Items[i].Type), showData(h.Items[i].Data)}
				}
				return p.printTable([]string{"at", "event", ""}, rows)
			})
		},
	}
}

// showData tells the data of an event in a few words.
func showData(data any) string {
	m, ok := data.(map[string]any)
	if !ok {
		return ""
	}
	str := func(key string) string { s, _ := m[key].(string); return s }
	switch f, _ := m["failure"].(map[string]any); {
	case f != nil:
		return fmt.Sprint(f["code"], ": ", f["message"])
	case m["outcome"] != nil:
		return joined(": ", str("outcome"), str("detail"))
	case m["state"] != nil:
		if r, ok := m["result"].(map[string]any); ok {
			return fmt.Sprint(r["output_type"])
		}
		return ""
	case m["progress"] != nil:
		return joined(" ", fmt.Sprint(m["progress"], "%"), str("message"))
	case m["erased"] == true:
		return "erased"
	}
	return str("message")
}

func (p *program) orderDeadline() *cobra.Command {
	return &cobra.Command{
		Use: "deadline ORDER TIME", Short: "Move the deadline of an order in processing", Args: cobra.ExactArgs(2),
		Example: examples("poller order deadline o-1 2026-12-24T18:00:00Z", "poller order deadline o-1 +48h   # from now"),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := parseWhen(args[1], time.Now())
			if err != nil {
				return err
			}
			return show(cmd.Context(), p, http.MethodPatch, orderPath(args[0]), map[string]any{"deadline": at}, p.printOrder)
		},
	}
}

// parseWhen reads a time, or +DURATION from now.
func parseWhen(s string, now time.Time) (time.Time, error) {
	if d, ok := strings.CutPrefix(s, "+"); ok {
		span, err := parseDuration(d)
		if err != nil {
			return time.Time{}, usagef("%s: %v after the +", clipped(s), err)
		}
		return now.Add(span).UTC().Truncate(time.Second), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, usagef("%s: want a time like 2026-12-24T18:00:00Z, or +48h", clipped(s))
	}
	return t, nil
}

func (p *program) orderCancel() *cobra.Command {
	return &cobra.Command{
		Use: "cancel ORDER...", Short: "Cancel orders in processing", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return forEach(args, func(id string) error {
				return show(cmd.Context(), p, http.MethodPost, orderPath(id)+"/cancel", nil, func(o order.View) error {
					_, err := fmt.Fprintf(p.stdout, "%s: %s\n", printable(o.OrderID), o.State)
					return err
				})
			})
		},
	}
}

func (p *program) orderErase() *cobra.Command {
	return &cobra.Command{
		Use: "erase ORDER...", Short: "Erase a buyer's data, for good", Args: cobra.MinimumNArgs(1),
		Long: `Erase a buyer's data of orders that have ended: files, texts, failure and
metadata. Nothing brings them back. The id answers 410 until orders.retention is
over; events keep their numbers, types and times.

Copies elsewhere are yours to look after: backups made before, databases that
"poller restore" kept, what the platform was sent, and the seller's own. "poller
compact" takes what was erased out of the database file's free space too.`,
		Example: examples("poller order erase o-1", "poller order cancel o-1 && poller order erase o-1   # one still in processing"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return forEach(args, func(id string) error {
				return show(cmd.Context(), p, http.MethodDelete, orderPath(id), nil, func(struct{}) error {
					_, err := fmt.Fprintf(p.stdout, "%s: erased\n", printable(id))
					return err
				})
			})
		},
	}
}

// forEach does something with each order; an error does not hold up the others.
func forEach(ids []string, do func(id string) error) error {
	var failed []error
	for _, id := range ids {
		if err := do(id); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", id, err))
		}
	}
	return errors.Join(failed...)
}

func (p *program) orderPoll() *cobra.Command {
	return &cobra.Command{
		Use: "poll ORDER", Short: "Poll an order now and show what came of it", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			type polled struct {
				Outcome order.Outcome   `json:"outcome"`
				Detail  string          `json:"detail"`
				Order   json.RawMessage `json:"order"`
			}
			return show(cmd.Context(), p, http.MethodPost, orderPath(args[0])+"/poll", nil, func(r polled) error {
				var o order.View
				if err := json.Unmarshal(r.Order, &o); err != nil {
					return fmt.Errorf("an answer that this version does not understand: %w", err)
				}
				if _, err := fmt.Fprintf(p.stdout, "%s\n\n", printable(joined(": ", string(r.Outcome), r.Detail))); err != nil {
					return err
				}
				return p.printOrder(o)
			})
		},
	}
}
