package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"poller/order"
)

// replayStep is how many deliveries one commit queues at most.
const replayStep = 1000

// EventCursor is a place in the event feed: a number, or the next of an answer of /v1/events.
type EventCursor struct{ jsontext.Value }

// Schema says in the document that it is a number or a string (huma.SchemaProvider).
func (EventCursor) Schema(huma.Registry) *huma.Schema {
	least := 0.0
	return &huma.Schema{
		OneOf:       []*huma.Schema{{Type: "integer", Minimum: &least}, {Type: "string"}},
		Description: "Every end after this number, or after this next of /v1/events",
		Examples:    []any{4711},
	}
}

func (a *API) routeWebhook() {
	handle(a, operation{
		method: http.MethodPost, path: "/v1/webhook/replay", id: "replay-webhook", tag: "operations",
		summary: "Deliver ends of orders to the webhook again, with the same id and body: one order's, or all after a place in the feed",
		errors: []int{
			http.StatusNotFound, http.StatusConflict, http.StatusGone,
			http.StatusServiceUnavailable, http.StatusInsufficientStorage,
		},
		body: ReplayBody{},
	}, a.replay)
}

// replay queues what the webhook was told of, or should have been, once more.
// Without a webhook it is refused: an operator who asks for it believes that there is one.
func (a *API) replay(ctx context.Context, in *bodied) (*out[ReplayView], error) {
	var b ReplayBody
	given, p := decode(in.RawBody, b.members())
	if p != nil {
		return nil, p
	}
	if !a.opt.Delivering() {
		return nil, problem(http.StatusConflict, "no webhook is configured: set webhook.url first")
	}
	var n int64
	var err error
	switch {
	case given["after"] == given["order_id"]:
		return nil, invalid(FieldError{"after", "give either after or order_id"}, FieldError{"order_id", "give either after or order_id"})
	case given["order_id"]:
		if b.OrderID == nil || !order.ValidID(*b.OrderID) {
			return nil, invalid(FieldError{"order_id", idRule})
		}
		n, err = a.replayOrder(ctx, *b.OrderID)
	default:
		n, err = a.replayAfter(ctx, b.After)
	}
	if n > 0 {
		a.log.Info("deliveries of the webhook queued again", zap.Int64("events", n), zap.String("order", deref(b.OrderID)), zap.Error(err))
	}
	if err != nil {
		return nil, a.replayFailed(n, err)
	}
	return &out[ReplayView]{ReplayView{Replayed: n}}, nil
}

func (a *API) replayOrder(ctx context.Context, id string) (int64, error) {
	n, err := a.opt.Store.ReplayOrder(ctx, id, a.opt.Now())
	if err == nil && n == 0 {
		err = problem(http.StatusConflict, "the order has not ended yet: there is nothing to deliver")
	}
	return int64(n), err
}

// replayAfter goes through the feed in steps: short transactions, so that decisions of polls come between.
func (a *API) replayAfter(ctx context.Context, cursor EventCursor) (total int64, err error) {
	store, after, ok := cursor.parse()
	if !ok {
		return 0, invalid(FieldError{"after", "must be a number from 0, or a next of /v1/events"})
	}
	if store != "" && store != a.opt.Store.ID() {
		return 0, order.ErrGone
	}
	for more := true; more; {
		if err := errors.Join(a.errStopped(), ctx.Err()); err != nil {
			return total, err
		}
		n, last, m, err := a.opt.Store.ReplayAfter(ctx, after, a.opt.Now(), replayStep)
		if first, _ := a.opt.Store.EventRange(); errors.Is(err, order.ErrGone) && total > 0 && after+1 < first {
			after = first - 1 // what came next has reached its retention meanwhile
			continue
		}
		if err != nil {
			return total, err
		}
		total, after, more = total+int64(n), last, m
	}
	return total, nil
}

// replayFailed words why a replay ended early. What it queued stays queued.
func (a *API) replayFailed(n int64, err error) *Problem {
	if errors.Is(err, order.ErrGone) {
		p := a.gone()
		p.Detail = "after lies outside what the feed holds: replay from first - 1 on, and orders that ended before by order_id"
		return p
	}
	p := a.fail("replay events", err)
	if n > 0 {
		p.Detail += fmt.Sprintf("; %d events are queued already, and the same again queues the rest too", n)
	}
	return p
}

// parse reads a JSON number, or a string as the feed's after= is read.
func (c EventCursor) parse() (store string, number uint64, ok bool) {
	switch c.Kind() {
	case '0':
		number, err := strconv.ParseUint(string(c.Value), 10, 64)
		return "", number, err == nil && number != 1<<64-1
	case '"':
		var s string
		if json.Unmarshal(c.Value, &s) == nil {
			return parseEventCursor(s)
		}
	}
	return "", 0, false
}

func (b *ReplayBody) members() members {
	return members{"after": &b.After.Value, "order_id": &b.OrderID}
}
