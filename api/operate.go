package api

import (
	"context"
	"errors"
	"net/http"

	"go.uber.org/zap"

	"poller/order"
)

// releaseChunk is how many held orders one commit ends.
const releaseChunk = 1000

func (a *API) routeOperations() {
	handle(a, operation{
		method: http.MethodGet, path: "/v1/status", id: "status", tag: "operations", summary: "Poller at a glance",
	}, a.status)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/held/release", id: "release-held", tag: "operations",
		summary: "End held orders as last decided: a seller's, or all, with a new fuse",
		errors:  []int{http.StatusInsufficientStorage}, body: ReleaseBody{},
	}, a.release)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/clock/confirm", id: "confirm-clock", tag: "operations",
		summary: "The wall clock is right: deadlines and retention go on",
		errors:  []int{http.StatusInsufficientStorage},
	}, a.confirmClock)
}

func (a *API) status(ctx context.Context, _ *none) (*out[StatusView], error) {
	v := StatusView{
		Version: a.opt.Version, Store: a.opt.Store.ID(), StartedAt: a.opt.StartedAt.UTC(),
		Held: a.opt.Store.Held(), ClockDoubted: a.opt.Scheduler.ClockDoubted(),
		DiskFreeBytes: a.opt.DiskFree(), Webhook: a.opt.Webhook(),
	}
	s, running := a.opt.Scheduler.LiveSweep()
	if !running {
		latest, _, err := a.opt.Store.Sweeps(ctx, "", 1)
		if err != nil {
			return nil, a.fail("show status", err)
		}
		if len(latest) > 0 {
			s, running = latest[0], true
		}
	}
	if running {
		sv := sweepView(&s)
		v.Sweep = &sv
	}
	return &out[StatusView]{v}, nil
}

func (a *API) release(ctx context.Context, in *bodied) (*out[ReleaseView], error) {
	var b ReleaseBody
	given, p := decode(in.RawBody, members{"seller_id": &b.SellerID})
	if p != nil {
		return nil, p
	}
	seller := ""
	if given["seller_id"] {
		// null or "" may be a script's missing variable: not all sellers' orders are meant.
		if b.SellerID == nil || !order.ValidID(*b.SellerID) {
			return nil, invalid(FieldError{"seller_id", idRule + "; leave it out to release all"})
		}
		seller = *b.SellerID
		if _, err := a.opt.Store.Seller(ctx, seller); err != nil {
			if errors.Is(err, order.ErrNotFound) {
				err = order.ErrUnknownSeller
			}
			return nil, a.fail("release held orders", err)
		}
	}
	var v ReleaseView
	for more := true; more; {
		if err := a.errStopped(); err != nil {
			return nil, problemOf(err)
		}
		n, m, err := a.opt.Store.Release(ctx, seller, releaseChunk, a.opt.Now())
		if err != nil {
			return nil, a.fail("release held orders", err)
		}
		v.Released, more = v.Released+int64(n), m
	}
	a.log.Info("held orders released", zap.String("seller", seller), zap.Int64("orders", v.Released))
	return &out[ReleaseView]{v}, nil
}

func (a *API) confirmClock(ctx context.Context, _ *none) (*out[ClockView], error) {
	if err := a.opt.Scheduler.ConfirmClock(ctx); err != nil {
		return nil, a.fail("confirm clock", err)
	}
	a.log.Info("wall clock confirmed")
	return &out[ClockView]{ClockView{ClockDoubted: a.opt.Scheduler.ClockDoubted()}}, nil
}
