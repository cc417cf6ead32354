package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"poller/order"
)

// Problem is an error as the API answers it (RFC 9457, application/problem+json).
type Problem struct { //nolint:errname // the RFC's word, and first of all an answer
	Title  string `json:"title" doc:"What the status means"`
	Status int    `json:"status" doc:"The HTTP status"`
	Detail string `json:"detail,omitempty" doc:"What went wrong here"`
	// Errors names each field at fault.
	Errors []FieldError `json:"errors,omitempty" doc:"Each field at fault"`
	// First and Store come with 410 of the event feed: from where it can be read, and of which store.
	First *uint64 `json:"first,omitempty" doc:"With 410 of the event feed: the oldest event kept"`
	Store string  `json:"store,omitempty" doc:"With 410 of the event feed: the store's id"`
}

// FieldError says what is wrong with one field of a request. It never holds the value.
type FieldError struct {
	Field  string `json:"field" doc:"Name of a member or parameter"`
	Detail string `json:"detail" doc:"What is wrong with it"`
}

// problemType is the media type of a Problem.
const problemType = "application/problem+json"

// Error words the problem for a log or a terminal.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Title)
	if p.Detail != "" {
		b.WriteString(": " + p.Detail)
	}
	for _, e := range p.Errors {
		b.WriteString("; " + e.Field + ": " + e.Detail)
	}
	return b.String()
}

// GetStatus makes a Problem an answer of its own (huma.StatusError).
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is always application/problem+json (huma.ContentTypeFilter).
func (p *Problem) ContentType(string) string { return problemType }

// problem makes a Problem.
func problem(status int, detail string, errs ...FieldError) *Problem {
	title := http.StatusText(status)
	if title == "" {
		title = "Error"
	}
	return &Problem{Title: title, Status: status, Detail: detail, Errors: errs}
}

// invalid is a 422 that names the fields at fault.
func invalid(errs ...FieldError) *Problem {
	return problem(http.StatusUnprocessableEntity, "validation failed", errs...)
}

// problemOf turns an error of the store, the scheduler or a handler into a
// Problem. What is not expected is a 500 that tells nothing; the log does.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	for _, m := range []struct {
		err    error
		status int
		detail string
	}{
		{order.ErrDamaged, http.StatusInternalServerError, "the record or file is damaged"}, // first: what is damaged may be missing too
		{order.ErrNotFound, http.StatusNotFound, "there is no such thing here"},
		{order.ErrEnded, http.StatusConflict, "the order has ended"},
		{order.ErrActive, http.StatusConflict, "there are orders in processing"},
		{order.ErrErased, http.StatusGone, "the order was erased"},
		{order.ErrGone, http.StatusGone, "these events are not here"},
		{order.ErrNoSpace, http.StatusInsufficientStorage, "not enough free disk space; try again later"},
		{order.ErrStopping, http.StatusServiceUnavailable, "shutting down; try again later"},
		{order.ErrBroken, http.StatusServiceUnavailable, "the database failed; poller restarts"},
		{context.Canceled, http.StatusServiceUnavailable, "the request was given up"},
		{context.DeadlineExceeded, http.StatusServiceUnavailable, "it took too long; try again later"},
	} {
		if errors.Is(err, m.err) {
			return problem(m.status, m.detail)
		}
	}
	switch {
	case errors.Is(err, order.ErrConflict):
		// With what: in words for the client, as the store and the scheduler wrap it.
		text := err.Error()
		if _, with, ok := strings.Cut(text, order.ErrConflict.Error()+": "); ok {
			text = with
		}
		return problem(http.StatusConflict, order.Clip(text, order.MaxDetail))
	case errors.Is(err, order.ErrUnknownSeller):
		return invalid(FieldError{"seller_id", "there is no such seller"})
	case errors.Is(err, order.ErrCursor):
		return invalid(FieldError{"after", "this list gave out no such cursor"})
	}
	return problem(http.StatusInternalServerError, "an error of poller's own; its log says more")
}

// fail turns an error into the Problem to answer with, and logs what an operator should look at.
func (a *API) fail(doing string, err error) *Problem {
	p := problemOf(err)
	if p.Status == http.StatusInternalServerError {
		a.log.Error("request failed", zap.String("doing", doing), zap.Error(err))
	}
	return p
}

// humanise turns the router's own errors into Problems: no value that was sent is echoed.
func humanise(_ huma.Context, _ string, v any) (any, error) {
	e, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := problem(e.Status, e.Detail)
	if e.Status == http.StatusRequestEntityTooLarge {
		p.Detail = "the body is over 1 MiB"
	}
	if e.Status >= http.StatusInternalServerError {
		return p, nil
	}
	for _, d := range e.Errors {
		if d != nil {
			// "query.limit" is the parameter limit.
			_, field, _ := strings.Cut(d.Location, ".")
			p.Errors = append(p.Errors, FieldError{order.Clip(field, maxName), order.Clip(d.Message, order.MaxDetail)})
		}
	}
	return p, nil
}
