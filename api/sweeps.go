package api

import (
	"context"
	"net/http"

	"go.uber.org/zap"
)

type sweepList struct {
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Items on a page at most"`
	After string `query:"after" maxLength:"1024" doc:"The next of the page before"`
}

func (a *API) routeSweeps() {
	const path = "/v1/sweeps"
	handle(a, operation{
		method: http.MethodPost, path: path, id: "start-sweep", tag: "sweeps",
		summary: "Start a sweep now; 409 while one started by hand still has orders that wait for nobody",
		status:  http.StatusAccepted,
		errors:  []int{http.StatusConflict, http.StatusServiceUnavailable, http.StatusInsufficientStorage},
		body:    SweepBody{}, optional: true,
	}, a.startSweep)
	handle(a, operation{
		method: http.MethodGet, path: path, id: "list-sweeps", tag: "sweeps", summary: "The latest sweeps, newest first",
	}, a.listSweeps)
}

func (a *API) startSweep(ctx context.Context, in *bodied) (*out[SweepView], error) {
	var b SweepBody
	if len(in.RawBody) > 0 {
		if _, p := decode(in.RawBody, members{"due_only": &b.DueOnly}); p != nil {
			return nil, p
		}
	}
	s, err := a.opt.Scheduler.StartSweep(ctx, b.DueOnly)
	if err != nil {
		return nil, a.fail("start sweep", err)
	}
	a.log.Info("sweep started by hand", zap.Uint64("sweep", s.ID), zap.Bool("due_only", b.DueOnly))
	return &out[SweepView]{sweepView(&s)}, nil
}

func (a *API) listSweeps(ctx context.Context, in *sweepList) (*out[List[SweepView]], error) {
	sweeps, next, err := a.opt.Store.Sweeps(ctx, in.After, in.Limit)
	if err != nil {
		return nil, a.fail("list sweeps", err)
	}
	live, running := a.opt.Scheduler.LiveSweep()
	items := make([]SweepView, 0, len(sweeps))
	for i := range sweeps {
		if running && sweeps[i].ID == live.ID {
			sweeps[i] = live // the store has its books as of the last commit
		}
		items = append(items, sweepView(&sweeps[i]))
	}
	return page(items, next), nil
}
