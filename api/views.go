package api

import (
	"maps"
	"strings"
	"time"

	"poller/order"
)

// List is one page of a list. Next is the cursor of the next page, null at the end.
type List[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next" doc:"Give it as after= to get the next page; null at the end"`
}

// SellerBody is what a seller is registered with (PUT), and what a merge patch may change (PATCH).
type SellerBody struct {
	StatusURL            string            `json:"status_url" maxLength:"2048" doc:"Template of the status URL, https, with {order_id} in path or query"`
	Headers              map[string]string `json:"headers,omitempty" doc:"Request headers, at most 32; values are never shown again"`
	AllowUnauthenticated bool              `json:"allow_unauthenticated,omitempty" doc:"Register without headers"`
	MaxConcurrency       *int              `json:"max_concurrency,omitempty" minimum:"1" doc:"Polls at once; absent: fetch.per_seller"`
	MaxPerMinute         *int              `json:"max_per_minute,omitempty" minimum:"1" doc:"Polls begun in any 60 s; absent: no limit"`
	Note                 string            `json:"note,omitempty" maxLength:"1000" doc:"For operators"`
}

// SellerPatch is a merge patch (RFC 7396) of a SellerBody: null takes a member back to its default.
type SellerPatch struct {
	StatusURL            *string           `json:"status_url,omitempty" maxLength:"2048"`
	Headers              map[string]string `json:"headers,omitempty" doc:"Replaces all of them"`
	AllowUnauthenticated *bool             `json:"allow_unauthenticated,omitempty"`
	MaxConcurrency       *int              `json:"max_concurrency,omitempty" minimum:"1"`
	MaxPerMinute         *int              `json:"max_per_minute,omitempty" minimum:"1"`
	Note                 *string           `json:"note,omitempty" maxLength:"1000"`
}

// SellerView is a seller as answers show it. Header values are always "***".
type SellerView struct {
	SellerID             string            `json:"seller_id"`
	StatusURL            string            `json:"status_url"`
	Headers              map[string]string `json:"headers" doc:"Names in lower case; every value is ***"`
	AllowUnauthenticated bool              `json:"allow_unauthenticated"`
	MaxConcurrency       *int              `json:"max_concurrency"`
	MaxPerMinute         *int              `json:"max_per_minute"`
	Note                 string            `json:"note"`
	Paused               bool              `json:"paused"`
	Cancelling           bool              `json:"cancelling" doc:"All its orders are being cancelled"`
	ActiveOrders         int64             `json:"active_orders" doc:"Orders in processing"`
	ResultBytes          int64             `json:"result_bytes" doc:"Kept result files"`
	Health               HealthView        `json:"health"`
}

// HealthView is how a seller answers.
type HealthView struct {
	LastOutcome    *order.Outcome `json:"last_outcome"`
	LastPolledAt   *time.Time     `json:"last_polled_at"`
	LastAnsweredAt *time.Time     `json:"last_answered_at"`
	FailuresInARow int            `json:"failures_in_a_row"`
	Breaker        order.Breaker  `json:"breaker" enum:"closed,open,half_open"`
}

// SubmitBody is an order to be submitted.
type SubmitBody struct {
	OrderID  string            `json:"order_id" maxLength:"128" pattern:"^[A-Za-z0-9._~-]+$"`
	SellerID string            `json:"seller_id" maxLength:"128" pattern:"^[A-Za-z0-9._~-]+$"`
	RemoteID *string           `json:"remote_id,omitempty" maxLength:"128" pattern:"^[A-Za-z0-9._~-]+$" doc:"The seller's name for it; absent: the order_id"`
	Deadline *time.Time        `json:"deadline,omitempty" doc:"In the future; absent: orders.deadline from now"`
	Metadata map[string]string `json:"metadata,omitempty" doc:"At most 4 KiB as JSON"`
}

// SubmitLine answers one line of an NDJSON submission.
type SubmitLine struct {
	Line    int64    `json:"line" doc:"From 1"`
	OrderID string   `json:"order_id,omitempty"`
	Status  int      `json:"status" doc:"The HTTP status that it would have had alone"`
	Problem *Problem `json:"problem,omitempty"`
}

// SubmitSummary is the last line of the answer to an NDJSON submission.
type SubmitSummary struct {
	Lines    int64 `json:"lines" doc:"created + existing + refused; blank lines don't count"`
	Created  int64 `json:"created"`
	Existing int64 `json:"existing"`
	Refused  int64 `json:"refused"`
}

// DeadlineBody moves an order's deadline.
type DeadlineBody struct {
	Deadline *time.Time `json:"deadline" nullable:"false" doc:"In the future"`
}

// PollView is what a poll by hand found out.
type PollView struct {
	Outcome order.Outcome `json:"outcome"`
	Detail  string        `json:"detail"`
	Order   order.View    `json:"order"`
}

// SweepBody says which sweep to start.
type SweepBody struct {
	DueOnly bool `json:"due_only,omitempty" doc:"Take no new tick: only what the last one left or skipped, and new orders"`
}

// SweepView is the record of one sweep.
type SweepView struct {
	ID           uint64                  `json:"id"`
	Tick         uint64                  `json:"tick"`
	Trigger      order.Trigger           `json:"trigger" enum:"cron,manual,catch_up"`
	State        order.SweepState        `json:"state" enum:"running,done,overrun,interrupted"`
	StartedAt    time.Time               `json:"started_at"`
	EndedAt      *time.Time              `json:"ended_at"`
	Due          int64                   `json:"due"`
	Polled       int64                   `json:"polled"`
	Skipped      int64                   `json:"skipped" doc:"Left alone by a breaker"`
	LeftToSeller int64                   `json:"left_to_seller" doc:"The seller's own cap, rate or rest"`
	Remaining    int64                   `json:"remaining" doc:"Our own limits"`
	Outcomes     map[order.Outcome]int64 `json:"outcomes"`
}

// EventPage is one page of the event feed. Next is never null: the feed goes on.
type EventPage struct {
	Items []order.EventView `json:"items"`
	Next  string            `json:"next" doc:"Give it as after= to go on"`
	Store string            `json:"store"`
}

// StatusView is poller at a glance.
type StatusView struct {
	Version       string      `json:"version"`
	Store         string      `json:"store"`
	StartedAt     time.Time   `json:"started_at"`
	Sweep         *SweepView  `json:"sweep" doc:"The running one, else the latest"`
	Held          int64       `json:"held"`
	ClockDoubted  bool        `json:"clock_doubted"`
	DiskFreeBytes int64       `json:"disk_free_bytes"`
	Webhook       WebhookView `json:"webhook"`
}

// WebhookView counts what the platform has not taken yet.
type WebhookView struct {
	Pending int64 `json:"pending"`
	Dead    int64 `json:"dead" doc:"Set aside until replayed"`
}

// ReleaseBody says whose held orders to release.
type ReleaseBody struct {
	SellerID *string `json:"seller_id,omitempty" maxLength:"128" doc:"Absent: all, and a new fuse"`
}

// ReleaseView is how many held orders were ended.
type ReleaseView struct {
	Released int64 `json:"released"`
}

// UploadBody is a file to be uploaded.
type UploadBody struct {
	Filename string `json:"filename" minLength:"1" maxLength:"255" example:"report.pdf" doc:"At most 255 bytes, without / and \\"`
	MIMEType string `json:"mime_type" maxLength:"127" example:"application/pdf" doc:"The Content-Type that the PUT will have"`
	Size     *int   `json:"size" nullable:"false" minimum:"1" maximum:"157286400" example:"48213" doc:"The exact size in bytes"`
}

// Upload says how a file is uploaded: a PUT of it to UploadURL with all of Headers.
type Upload struct {
	ObjectKey string            `json:"object_key" example:"orders/o-1/5JQ2ZV7WHD3C4Y6KXN8RTB1FMA" doc:"What the seller's answer names once the file is there"`
	UploadURL string            `json:"upload_url" example:"https://uploads.example.com/orders/o-1/5JQ2ZV7WHD3C4Y6KXN8RTB1FMA?expires=1796126400&signature=c2ln" doc:"Takes one PUT; it is as good as a token, so keep it out of logs"`
	Headers   map[string]string `json:"headers" doc:"To be sent with the PUT as they are"`
	ExpiresIn int64             `json:"expires_in" example:"3600" doc:"Seconds until the URL is refused"`
	MaxBytes  int64             `json:"max_bytes" example:"157286400" doc:"The largest file that may be uploaded"`
}

// ReplayBody says which ends to deliver again: either After or OrderID.
type ReplayBody struct {
	After   EventCursor `json:"after,omitempty"`
	OrderID *string     `json:"order_id,omitempty" maxLength:"128" pattern:"^[A-Za-z0-9._~-]+$" example:"o-1" doc:"The end of this order"`
}

// ReplayView is how many ends will be delivered again.
type ReplayView struct {
	Replayed int64 `json:"replayed" example:"17"`
}

// ClockView is whether the wall clock is doubted.
type ClockView struct {
	ClockDoubted bool `json:"clock_doubted"`
}

// sellerView shows a seller, without one header value.
func (a *API) sellerView(s *order.Seller) SellerView {
	v := SellerView{
		SellerID: s.ID, StatusURL: s.StatusURL, Headers: map[string]string{},
		AllowUnauthenticated: s.AllowUnauthenticated,
		MaxConcurrency:       orNull(s.MaxConcurrency), MaxPerMinute: orNull(s.MaxPerMinute),
		Note: s.Note, Paused: s.Paused, Cancelling: s.Cancelling,
	}
	for _, h := range s.Headers {
		v.Headers[strings.ToLower(h.Name)] = "***"
	}
	v.ActiveOrders, v.ResultBytes = a.opt.Store.SellerUsage(s.Number)
	h, b := a.opt.Scheduler.SellerHealth(s.Number)
	if b == "" {
		b = order.BreakerClosed
	}
	v.Health = HealthView{
		LastOutcome: orNull(h.LastOutcome), LastPolledAt: utc(h.LastPolledAt), LastAnsweredAt: utc(h.LastAnsweredAt),
		FailuresInARow: h.FailuresInARow, Breaker: b,
	}
	return v
}

// orderView shows an order with its next poll.
func (a *API) orderView(o *order.Order) order.View {
	return o.View(a.opt.Scheduler.NextPoll(o))
}

// sweepView shows a sweep.
func sweepView(s *order.Sweep) SweepView {
	v := SweepView{
		ID: s.ID, Tick: s.Tick, Trigger: s.Trigger, State: s.State,
		StartedAt: s.StartedAt.UTC(), EndedAt: utc(s.EndedAt),
		Due: s.Due, Polled: s.Polled, Skipped: s.Skipped, LeftToSeller: s.LeftToSeller, Remaining: s.Remaining,
		Outcomes: maps.Clone(s.Outcomes),
	}
	if v.Outcomes == nil {
		v.Outcomes = map[order.Outcome]int64{}
	}
	return v
}

// page makes a List; next is a store's cursor, "" at the end.
func page[T any](items []T, next string) *out[List[T]] {
	if items == nil {
		items = []T{}
	}
	return &out[List[T]]{Body: List[T]{Items: items, Next: orNull(next)}}
}

func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func deref[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}

func utc(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
