package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"

	"poller/order"
)

// maxMetadata is the most metadata of an order, in bytes of compact JSON.
const maxMetadata = 4 << 10

type submitParams struct {
	Prefer string `header:"Prefer" doc:"return=minimal: of an NDJSON submission answer only problems and the last line"`
}

func (a *API) routeSubmit() {
	const path = "/v1/orders"
	handleRaw(a, operation{
		method: http.MethodPost, path: path, id: "submit-orders", tag: "orders",
		summary: "Submit one order (JSON) or many (NDJSON, one a line); an acknowledged order is on disk",
		status:  http.StatusCreated, errors: []int{http.StatusConflict, http.StatusGone, http.StatusServiceUnavailable, http.StatusInsufficientStorage},
		body: SubmitBody{}, bodyTypes: []string{typeNDJSON},
	}, a.submit)
	view := map[string]*huma.MediaType{typeJSON: {Schema: a.schema(order.View{})}}
	o := a.documented(http.MethodPost, path)
	o.Responses["201"] = &huma.Response{Description: "Created", Content: view}
	o.Responses["200"] = &huma.Response{
		Description: "The same order was there already; or the answer to many: one line for each, and a last one with the sums",
		Content: map[string]*huma.MediaType{
			typeJSON:   view[typeJSON],
			typeNDJSON: {Schema: &huma.Schema{OneOf: []*huma.Schema{a.schema(SubmitLine{}), a.schema(SubmitSummary{})}}},
		},
	}
}

// submit takes one order or many. With too little space nothing is taken: it could not be kept.
func (a *API) submit(w http.ResponseWriter, r *http.Request, _ *submitParams) {
	if err := a.errStopped(); err != nil {
		writeProblem(w, problemOf(err))
		return
	}
	if !a.opt.Enough() {
		writeProblem(w, problemOf(order.ErrNoSpace))
		return
	}
	if t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); t == typeNDJSON {
		a.submitMany(w, r)
		return
	}
	a.submitOne(w, r)
}

func (a *API) submitOne(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyReadTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		// The deadline stays: net/http waits for the rest of the body.
		writeProblem(w, unreadable(err))
		return
	}
	_ = control.SetReadDeadline(time.Time{})
	now := a.opt.Now()
	s, p := submission(body, now)
	if p != nil {
		writeProblem(w, p)
		return
	}
	done, err := a.opt.Store.Submit(r.Context(), []order.Submission{s}, a.opt.DefaultDeadline(), now)
	if err == nil {
		err = done[0].Err
	}
	if err != nil {
		writeProblem(w, a.fail("submit order", err))
		return
	}
	w.Header().Set("Content-Type", typeJSON)
	status := http.StatusOK
	if done[0].Created {
		status = http.StatusCreated
		w.Header().Set("Location", "/v1/orders/"+s.OrderID)
	}
	w.WriteHeader(status)
	_ = marshal(w, a.orderView(&done[0].Order)) // a view of texts and numbers: it can't fail
}

// unreadable words why a body could not be read.
func unreadable(err error) *Problem {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem(http.StatusRequestEntityTooLarge, "the body is over 1 MiB")
	}
	if t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && t.Timeout() {
		return problem(http.StatusRequestTimeout, "the body came too slowly")
	}
	return problem(http.StatusBadRequest, "the body broke off")
}

// submission reads one order to be submitted. What is wrong with values, but
// for the order_id, is its Fault: it counts only if the order does not exist yet (SPEC §6).
func submission(body []byte, now time.Time) (order.Submission, *Problem) {
	b, ok := wellFormed(body)
	if !ok {
		b = SubmitBody{}
		if _, p := decode(body, b.members()); p != nil {
			return order.Submission{OrderID: knownID(b.OrderID)}, p
		}
	}
	s := order.Submission{OrderID: b.OrderID, SellerID: b.SellerID, Deadline: b.Deadline, Metadata: b.Metadata}
	if !order.ValidID(b.OrderID) {
		return order.Submission{}, invalid(FieldError{"order_id", idRule})
	}
	var faults []FieldError
	if !order.ValidID(b.SellerID) {
		faults = append(faults, FieldError{"seller_id", idRule})
	}
	if b.RemoteID != nil {
		s.RemoteID = *b.RemoteID
		if !order.ValidID(s.RemoteID) {
			faults = append(faults, FieldError{"remote_id", idRule})
		}
	}
	if b.Deadline != nil && !b.Deadline.After(now) {
		faults = append(faults, FieldError{"deadline", "must be in the future"})
	}
	if len(b.Metadata) > 0 {
		if text, err := json.Marshal(b.Metadata); err != nil || len(text) > maxMetadata {
			faults = append(faults, FieldError{"metadata", "is over 4 KiB as JSON"})
		}
	}
	if len(faults) > 0 {
		s.Fault = invalid(faults...)
	}
	return s, nil
}

// wellFormed reads an order at which there is nothing to say, several times as
// fast as decode, of which each line of a million makes use. false: let decode judge.
func wellFormed(body []byte) (b SubmitBody, ok bool) {
	if json.Unmarshal(body, &b, json.RejectUnknownMembers(true)) != nil || b.OrderID == "" {
		return b, false
	}
	for _, v := range b.Metadata {
		if v == "" {
			return b, false // it may have been null
		}
	}
	return b, true
}

func (b *SubmitBody) members() members {
	return members{
		"order_id": &b.OrderID, "seller_id": &b.SellerID, "remote_id": &b.RemoteID,
		"deadline": &b.Deadline, "metadata": &b.Metadata,
	}
}

// knownID is the id if it may be repeated in an answer, else "".
func knownID(id string) string {
	if order.ValidID(id) {
		return id
	}
	return ""
}
