package api

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"go.uber.org/zap"

	"poller/order"
)

// maxNote is the longest note of a seller, in characters.
const maxNote = 1000

type (
	sellerWrite struct {
		SellerID string `path:"seller_id" maxLength:"128" pattern:"^[A-Za-z0-9._~-]+$"`
		RawBody  []byte `contentType:"application/json"`
	}
	sellerList struct {
		Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Items on a page at most"`
		After string `query:"after" maxLength:"1024" doc:"The next of the page before"`
	}
)

func (a *API) routeSellers() {
	const one = "/v1/sellers/{seller_id}"
	handle(a, operation{
		method: http.MethodPut, path: one, id: "put-seller", tag: "sellers",
		summary: "Create or replace a seller; paused stays as it was",
		status:  http.StatusOK, also: http.StatusCreated, errors: []int{http.StatusInsufficientStorage}, body: SellerBody{},
	}, a.putSeller)
	handle(a, operation{
		method: http.MethodPatch, path: one, id: "patch-seller", tag: "sellers",
		summary: "Change a seller (merge patch, RFC 7396); headers, when given, replace all of them",
		errors:  []int{http.StatusNotFound, http.StatusInsufficientStorage}, body: SellerPatch{}, bodyTypes: []string{typeMergePatch},
	}, a.patchSeller)
	handle(a, operation{
		method: http.MethodGet, path: "/v1/sellers", id: "list-sellers", tag: "sellers", summary: "List sellers by id",
	}, a.listSellers)
	handle(a, operation{
		method: http.MethodGet, path: one, id: "get-seller", tag: "sellers", summary: "Show a seller and how it answers",
		errors: []int{http.StatusNotFound},
	}, a.getSeller)
	handle(a, operation{
		method: http.MethodDelete, path: one, id: "delete-seller", tag: "sellers",
		summary: "Delete a seller that has no orders in processing",
		status:  http.StatusNoContent, errors: []int{http.StatusNotFound, http.StatusConflict, http.StatusInsufficientStorage},
	}, a.deleteSeller)
	for _, act := range []struct {
		name, summary, done string
		status              int
		set                 func(*order.Seller)
	}{
		{"pause", "Poll none of its orders until it is resumed", "seller paused", http.StatusOK, func(s *order.Seller) { s.Paused = true }},
		{"resume", "Poll its orders again", "seller resumed", http.StatusOK, func(s *order.Seller) { s.Paused = false }},
		{
			"cancel", "Cancel all its orders, in the background, over restarts", "orders of a seller are being cancelled",
			http.StatusAccepted, func(s *order.Seller) { s.Cancelling = true },
		},
	} {
		handle(a, operation{
			method: http.MethodPost, path: one + "/" + act.name, id: act.name + "-seller", tag: "sellers", summary: act.summary,
			status: act.status, errors: []int{http.StatusNotFound, http.StatusInsufficientStorage},
		}, func(ctx context.Context, in *sellerParams) (*out[SellerView], error) {
			s, err := a.opt.Store.UpdateSeller(ctx, in.SellerID, func(s *order.Seller) error { act.set(s); return nil })
			if err != nil {
				return nil, a.fail(act.name+" seller", err)
			}
			a.log.Info(act.done, zap.String("seller", s.ID))
			a.opt.Scheduler.SellerChanged(s)
			if s.Cancelling {
				a.canceller.kick()
			}
			return &out[SellerView]{a.sellerView(&s)}, nil
		})
	}
}

func (a *API) putSeller(ctx context.Context, in *sellerWrite) (*made[SellerView], error) {
	if !order.ValidID(in.SellerID) {
		return nil, invalid(FieldError{"seller_id", idRule})
	}
	var b SellerBody
	given, p := decode(in.RawBody, b.members())
	if p != nil {
		return nil, p
	}
	if !given["status_url"] {
		return nil, invalid(FieldError{"status_url", "is needed"})
	}
	s := order.Seller{ID: in.SellerID, StatusURL: b.StatusURL, AllowUnauthenticated: b.AllowUnauthenticated, Note: b.Note}
	faults := setHeaders(&s, b.Headers)
	faults = append(faults, setLimit("max_concurrency", &s.MaxConcurrency, b.MaxConcurrency)...)
	faults = append(faults, setLimit("max_per_minute", &s.MaxPerMinute, b.MaxPerMinute)...)
	if faults = append(faults, a.checkSeller(&s)...); len(faults) > 0 {
		return nil, invalid(faults...)
	}
	s, created, err := a.opt.Store.PutSeller(ctx, s)
	if err != nil {
		return nil, a.fail("put seller", err)
	}
	a.opt.Scheduler.SellerChanged(s)
	o := &made[SellerView]{Status: http.StatusOK, Body: a.sellerView(&s)}
	if created {
		o.Status, o.Location = http.StatusCreated, "/v1/sellers/"+s.ID
	}
	return o, nil
}

func (a *API) patchSeller(ctx context.Context, in *sellerWrite) (*out[SellerView], error) {
	var b SellerBody
	given, p := decode(in.RawBody, b.members())
	if p != nil {
		return nil, p
	}
	s, err := a.opt.Store.UpdateSeller(ctx, in.SellerID, func(s *order.Seller) error {
		var faults []FieldError
		if given["status_url"] {
			s.StatusURL = b.StatusURL
		}
		if given["headers"] {
			faults = append(faults, setHeaders(s, b.Headers)...)
		}
		if given["allow_unauthenticated"] {
			s.AllowUnauthenticated = b.AllowUnauthenticated
		}
		if given["max_concurrency"] {
			faults = append(faults, setLimit("max_concurrency", &s.MaxConcurrency, b.MaxConcurrency)...)
		}
		if given["max_per_minute"] {
			faults = append(faults, setLimit("max_per_minute", &s.MaxPerMinute, b.MaxPerMinute)...)
		}
		if given["note"] {
			s.Note = b.Note
		}
		if faults = append(faults, a.checkSeller(s)...); len(faults) > 0 {
			return invalid(faults...)
		}
		return nil
	})
	if err != nil {
		return nil, a.fail("patch seller", err)
	}
	a.opt.Scheduler.SellerChanged(s)
	return &out[SellerView]{a.sellerView(&s)}, nil
}

func (a *API) listSellers(ctx context.Context, in *sellerList) (*out[List[SellerView]], error) {
	sellers, next, err := a.opt.Store.Sellers(ctx, in.After, in.Limit)
	if err != nil {
		return nil, a.fail("list sellers", err)
	}
	items := make([]SellerView, 0, len(sellers))
	for i := range sellers {
		items = append(items, a.sellerView(&sellers[i]))
	}
	return page(items, next), nil
}

func (a *API) getSeller(ctx context.Context, in *sellerParams) (*out[SellerView], error) {
	s, err := a.opt.Store.Seller(ctx, in.SellerID)
	if err != nil {
		return nil, a.fail("show seller", err)
	}
	return &out[SellerView]{a.sellerView(&s)}, nil
}

func (a *API) deleteSeller(ctx context.Context, in *sellerParams) (*none, error) {
	s, err := a.opt.Store.Seller(ctx, in.SellerID)
	if err == nil {
		err = a.opt.Store.DeleteSeller(ctx, in.SellerID)
	}
	if err != nil {
		return nil, a.fail("delete seller", err)
	}
	a.log.Info("seller deleted", zap.String("seller", s.ID))
	a.opt.Scheduler.SellerDeleted(s.Number)
	return &none{}, nil
}

func (b *SellerBody) members() members {
	return members{
		"status_url": &b.StatusURL, "headers": &b.Headers, "allow_unauthenticated": &b.AllowUnauthenticated,
		"max_concurrency": &b.MaxConcurrency, "max_per_minute": &b.MaxPerMinute, "note": &b.Note,
	}
}

// checkSeller says what is wrong with a seller, all of it.
func (a *API) checkSeller(s *order.Seller) []FieldError {
	faults := a.opt.CheckSeller(s)
	if s.MaxConcurrency > 0 {
		if limit := a.opt.MaxHostCap(hostOf(s.StatusURL)); s.MaxConcurrency > limit {
			faults = append(faults, FieldError{"max_concurrency", "is above what one host may have at once (fetch.per_host, fetch.hosts)"})
		}
	}
	if utf8.RuneCountInString(s.Note) > maxNote {
		faults = append(faults, FieldError{"note", "is longer than 1000 characters"})
	}
	return faults
}

// setHeaders replaces a seller's headers, in the order of their names, so that
// the same headers again are the same seller.
func setHeaders(s *order.Seller, headers map[string]string) []FieldError {
	s.Headers = make([]order.Header, 0, len(headers))
	for name, value := range headers {
		s.Headers = append(s.Headers, order.Header{Name: name, Value: value})
	}
	byName := func(x, y order.Header) int {
		return cmp.Or(strings.Compare(strings.ToLower(x.Name), strings.ToLower(y.Name)), strings.Compare(x.Name, y.Name))
	}
	slices.SortFunc(s.Headers, byName)
	var faults []FieldError
	for i := 1; i < len(s.Headers); i++ {
		if strings.EqualFold(s.Headers[i-1].Name, s.Headers[i].Name) {
			faults = append(faults, FieldError{"headers." + order.Clip(s.Headers[i].Name, maxName), "stands twice: case does not count"})
		}
	}
	return faults
}

// setLimit sets a limit of a seller; nil is none of its own.
func setLimit(name string, limit, given *int) []FieldError {
	if given == nil {
		*limit = 0
		return nil
	}
	if *given < 1 {
		return []FieldError{{name, "must be at least 1"}}
	}
	*limit = *given
	return nil
}

// hostOf is the "name:port" of a status URL, as the caps of hosts know it; "" if it has none.
func hostOf(statusURL string) string {
	u, err := url.Parse(statusURL)
	if err != nil || u.Host == "" {
		return ""
	}
	return strings.ToLower(u.Hostname()) + ":" + cmp.Or(u.Port(), "443")
}
