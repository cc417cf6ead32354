package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"poller/order"
)

// maxWait is the longest that an answer of the event feed is held back.
const maxWait = 60 * time.Second

type eventParams struct {
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Items on a page at most"`
	After string `query:"after" maxLength:"256" doc:"A number, or the next of an answer before; absent: from the oldest event kept"`
	Wait  string `query:"wait" maxLength:"16" doc:"Hold the answer until there is an event, at most so long: seconds, or 30s, 1m; up to 60s"`
}

func (a *API) routeEvents() {
	handle(a, operation{
		method: http.MethodGet, path: "/v1/events", id: "list-events", tag: "events",
		summary: "All events in order of number; 410 with first and store if after lies outside what is kept",
		errors:  []int{http.StatusGone},
	}, a.events)
}

func (a *API) events(ctx context.Context, in *eventParams) (*out[EventPage], error) {
	wait, ok := parseWait(in.Wait)
	if !ok {
		return nil, invalid(FieldError{"wait", "must be seconds or a duration, up to 60s"})
	}
	first, last := a.opt.Store.EventRange()
	after := max(first, 1) - 1
	if in.After != "" {
		store, number, ok := parseEventCursor(in.After)
		if !ok {
			return nil, invalid(FieldError{"after", "must be a number or a next of this feed"})
		}
		if store != "" && store != a.opt.Store.ID() || number > last || number+1 < first {
			return nil, a.gone()
		}
		after = number
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		changed := a.opt.Store.EventsChanged() // before reading: nothing is missed
		page, err := a.eventPage(ctx, after, in.Limit)
		if errors.Is(err, order.ErrGone) {
			return nil, a.gone()
		}
		if err != nil {
			return nil, a.fail("list events", err)
		}
		if len(page.Items) > 0 || wait == 0 {
			return &out[EventPage]{page}, nil
		}
		select {
		case <-changed:
		case <-over.C:
			wait = 0
		case <-a.stopped:
			wait = 0
		case <-ctx.Done():
			return nil, problemOf(ctx.Err())
		}
	}
}

// eventPage reads events in small steps, as listOrders does; events may carry orders.
func (a *API) eventPage(ctx context.Context, after uint64, limit int) (EventPage, error) {
	p := EventPage{Items: []order.EventView{}, Store: a.opt.Store.ID()}
	for size := 0; len(p.Items) < limit && size < pageBytes; {
		step := min(pageStep, limit-len(p.Items))
		events, err := a.opt.Store.Events(ctx, after, step)
		if err != nil {
			return p, err
		}
		for i := range events {
			if events[i].Order != nil {
				size += weight(events[i].Order)
			}
			p.Items = append(p.Items, events[i].View())
			after = events[i].Number
		}
		if len(events) < step {
			break
		}
	}
	p.Next = p.Store + "-" + strconv.FormatUint(after, 10)
	return p, nil
}

// gone is the 410 that says from where the feed can be read.
func (a *API) gone() *Problem {
	first, _ := a.opt.Store.EventRange()
	p := problem(http.StatusGone, "after lies outside what this feed holds: go on from first, and look at the orders for what came before")
	p.First, p.Store = &first, a.opt.Store.ID()
	return p
}

// parseEventCursor reads "<number>" or "<store>-<number>".
func parseEventCursor(s string) (store string, number uint64, ok bool) {
	digits := s
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		store, digits = s[:i], s[i+1:]
		if store == "" {
			return "", 0, false
		}
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || number == 1<<64-1 {
		return "", 0, false
	}
	return store, number, true
}

// parseWait reads seconds ("30") or a duration ("30s"), from 0 to maxWait. "" is 0.
func parseWait(s string) (time.Duration, bool) {
	if s == "" {
		return 0, true
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		n, err := strconv.ParseUint(s, 10, 8)
		if err != nil {
			return 0, false
		}
		d = time.Duration(n) * time.Second
	}
	return d, 0 <= d && d <= maxWait
}

// eventViews shows events.
func eventViews(events []order.Event) []order.EventView {
	views := make([]order.EventView, 0, len(events))
	for i := range events {
		views = append(views, events[i].View())
	}
	return views
}
