package api

import (
	"context"
	"errors"
	"net/http"

	"go.uber.org/zap"

	"poller/order"
)

// How a page is put together: in small steps, so that orders with long results
// (64 KiB of text each) never fill the memory. A page that is full in bytes is shorter than its limit.
const (
	pageStep  = 50
	pageBytes = 8 << 20
)

// idRule words SPEC §1 for those who break it.
const idRule = "must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ - and not . or .."

type (
	orderList struct {
		Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Items on a page at most"`
		After  string `query:"after" maxLength:"1024" doc:"The next of the page before"`
		State  string `query:"state" enum:"processing,completed,failed,cancelled"`
		Seller string `query:"seller" maxLength:"128" pattern:"^[A-Za-z0-9._~-]+$" doc:"A seller_id"`
		Held   bool   `query:"held" doc:"true: only orders that are held; false: any"`
	}
	orderWrite struct {
		OrderID string `path:"order_id" maxLength:"128" pattern:"^[A-Za-z0-9._~-]+$"`
		RawBody []byte `contentType:"application/json"`
	}
)

func (a *API) routeOrders() {
	const one = "/v1/orders/{order_id}"
	handle(a, operation{
		method: http.MethodGet, path: "/v1/orders", id: "list-orders", tag: "orders", summary: "List orders",
	}, a.listOrders)
	handle(a, operation{
		method: http.MethodGet, path: one, id: "get-order", tag: "orders", summary: "Show an order",
		errors: []int{http.StatusNotFound, http.StatusGone},
	}, a.getOrder)
	handle(a, operation{
		method: http.MethodPatch, path: one, id: "patch-order", tag: "orders", summary: "Move the deadline of an order in processing",
		errors: []int{http.StatusNotFound, http.StatusConflict, http.StatusGone, http.StatusInsufficientStorage},
		body:   DeadlineBody{}, bodyTypes: []string{typeMergePatch},
	}, a.patchOrder)
	handle(a, operation{
		method: http.MethodDelete, path: one, id: "erase-order", tag: "orders",
		summary: "Erase a buyer's data of an order that has ended: files, texts, failure, metadata; its id answers 410 from then on",
		status:  http.StatusNoContent,
		errors:  []int{http.StatusNotFound, http.StatusConflict, http.StatusGone, http.StatusInsufficientStorage},
	}, a.eraseOrder)
	handle(a, operation{
		method: http.MethodGet, path: one + "/history", id: "order-history", tag: "orders", summary: "An order's events, oldest first",
		errors: []int{http.StatusNotFound, http.StatusGone},
	}, a.history)
	handle(a, operation{
		method: http.MethodPost, path: one + "/cancel", id: "cancel-order", tag: "orders", summary: "Cancel an order; again: 200",
		errors: []int{http.StatusNotFound, http.StatusConflict, http.StatusGone, http.StatusInsufficientStorage},
	}, a.cancelOrder)
	handle(a, operation{
		method: http.MethodPost, path: one + "/poll", id: "poll-order", tag: "orders",
		summary: "Poll an order now, paused, resting or not; joins a poll of it in flight",
		errors: []int{
			http.StatusNotFound, http.StatusConflict, http.StatusGone,
			http.StatusServiceUnavailable, http.StatusInsufficientStorage,
		},
	}, a.pollOrder)
}

func (a *API) listOrders(ctx context.Context, in *orderList) (*out[List[order.View]], error) {
	f := order.Filter{State: order.State(in.State), SellerID: in.Seller, Held: in.Held}
	items := []order.View{}
	cursor, size := in.After, 0
	for {
		orders, next, err := a.opt.Store.Orders(ctx, f, cursor, min(pageStep, in.Limit-len(items)))
		if err != nil {
			return nil, a.fail("list orders", err)
		}
		for i := range orders {
			if orders[i].Erased {
				continue
			}
			items = append(items, a.orderView(&orders[i]))
			size += weight(&orders[i])
		}
		cursor = next
		if next == "" || len(items) >= in.Limit || size >= pageBytes {
			return page(items, next), nil
		}
	}
}

// weight is about how many bytes an order takes in an answer.
func weight(o *order.Order) int {
	n := 2 << 10
	if o.Result != nil {
		if o.Result.Text != nil {
			n += len(*o.Result.Text)
		}
		n += len(o.Result.Files) * 512
	}
	for k, v := range o.Metadata {
		n += len(k) + len(v)
	}
	return n
}

// order reads an order that is there and not erased.
func (a *API) order(ctx context.Context, id string) (order.Order, error) {
	o, err := a.opt.Store.Order(ctx, id)
	if err == nil && o.Erased {
		err = order.ErrErased
	}
	return o, err
}

func (a *API) getOrder(ctx context.Context, in *orderParams) (*out[order.View], error) {
	o, err := a.order(ctx, in.OrderID)
	if err != nil {
		return nil, a.fail("show order", err)
	}
	return &out[order.View]{a.orderView(&o)}, nil
}

func (a *API) patchOrder(ctx context.Context, in *orderWrite) (*out[order.View], error) {
	var b DeadlineBody
	if _, p := decode(in.RawBody, members{"deadline": &b.Deadline}); p != nil {
		return nil, p
	}
	now := a.opt.Now()
	if b.Deadline == nil {
		return nil, invalid(FieldError{"deadline", "is needed"})
	}
	if !b.Deadline.After(now) {
		return nil, invalid(FieldError{"deadline", "must be in the future"})
	}
	o, err := a.opt.Store.UpdateOrder(ctx, in.OrderID, func(o order.Order) (order.Decision, error) {
		if err := refuseEnded(&o); err != nil {
			return order.Decision{}, err
		}
		return order.Redeadline(o, *b.Deadline, now), nil
	})
	if err != nil {
		return nil, a.fail("move deadline", err)
	}
	return &out[order.View]{a.orderView(&o)}, nil
}

func refuseEnded(o *order.Order) error {
	switch {
	case o.Erased:
		return order.ErrErased
	case o.Ended():
		return order.ErrEnded
	}
	return nil
}

func (a *API) eraseOrder(ctx context.Context, in *orderParams) (*none, error) {
	if err := a.opt.Store.Erase(ctx, in.OrderID); err != nil {
		if errors.Is(err, order.ErrActive) {
			err = problem(http.StatusConflict, "the order is in processing: cancel it first, or wait for its end")
		}
		return nil, a.fail("erase order", err)
	}
	a.log.Info("order erased", zap.String("order", in.OrderID))
	return &none{}, nil
}

func (a *API) history(ctx context.Context, in *orderParams) (*out[List[order.EventView]], error) {
	_, err := a.order(ctx, in.OrderID)
	var events []order.Event
	if err == nil {
		events, err = a.opt.Store.History(ctx, in.OrderID)
	}
	if err != nil {
		return nil, a.fail("show history", err)
	}
	return page(eventViews(events), ""), nil
}

func (a *API) cancelOrder(ctx context.Context, in *orderParams) (*out[order.View], error) {
	o, err := a.opt.Store.UpdateOrder(ctx, in.OrderID, func(o order.Order) (order.Decision, error) {
		if o.State != order.StateCancelled || o.Erased {
			if err := refuseEnded(&o); err != nil {
				return order.Decision{}, err
			}
		}
		return order.Cancel(o, a.opt.Now()), nil // of one that is cancelled already: dropped
	})
	if err != nil {
		return nil, a.fail("cancel order", err)
	}
	return &out[order.View]{a.orderView(&o)}, nil
}

func (a *API) pollOrder(ctx context.Context, in *orderParams) (*out[PollView], error) {
	if !a.opt.Enough() {
		return nil, problemOf(order.ErrNoSpace)
	}
	obs, o, err := a.opt.Scheduler.PollNow(ctx, in.OrderID)
	if errors.Is(err, order.ErrEnded) {
		if _, e := a.order(ctx, in.OrderID); errors.Is(e, order.ErrErased) {
			err = e
		}
	}
	if err != nil {
		return nil, a.fail("poll order", err)
	}
	return &out[PollView]{PollView{Outcome: obs.Outcome, Detail: obs.Detail, Order: a.orderView(&o)}}, nil
}
