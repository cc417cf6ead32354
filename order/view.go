package order

import (
	"maps"
	"time"
)

// View is an order as the platform and operators see it (SPEC §6): in API
// answers, in the data of events and in webhooks. Absent values are null.
type View struct {
	OrderID       string            `json:"order_id"`
	RemoteID      string            `json:"remote_id"`
	SellerID      string            `json:"seller_id"`
	State         State             `json:"state" enum:"processing,completed,failed,cancelled"`
	SubmittedAt   time.Time         `json:"submitted_at"`
	Deadline      time.Time         `json:"deadline"`
	Progress      *float64          `json:"progress"`
	Message       *string           `json:"message"`
	ETASeconds    *float64          `json:"eta_seconds"`
	Polls         uint64            `json:"polls"`
	LastOutcome   *Outcome          `json:"last_outcome"`
	LastDetail    *string           `json:"last_detail"`
	LastPolledAt  *time.Time        `json:"last_polled_at"`
	NextPollAt    *time.Time        `json:"next_poll_at"`
	NotBefore     *time.Time        `json:"not_before"`
	Held          bool              `json:"held"`
	Trouble       *TroubleView      `json:"trouble"`
	RecentTrouble []IncidentView    `json:"recent_trouble"`
	EndedAt       *time.Time        `json:"ended_at"`
	Result        *ResultView       `json:"result"`
	Failure       *Failure          `json:"failure"`
	Metadata      map[string]string `json:"metadata"`
}

// TroubleView is an order's present trouble.
type TroubleView struct {
	Outcome Outcome            `json:"outcome"`
	Since   time.Time          `json:"since"`
	Clocks  map[string]float64 `json:"clocks"` // name: seconds
}

// IncidentView is one poll that was not processing.
type IncidentView struct {
	Incident
	DurationMS int64 `json:"duration_ms"`
}

// ResultView is a result. Text, URL and Files may stand beside each other.
type ResultView struct {
	OutputType OutputType `json:"output_type" enum:"text,html,json,csv,url,file"`
	Text       *string    `json:"text,omitempty"`
	URL        string     `json:"url,omitempty"`
	Files      []FileView `json:"files,omitempty"`
}

// FileView is one file of a result, kept by poller (object_key) or by the seller (url).
type FileView struct {
	Filename  string `json:"filename"`
	MIMEType  string `json:"mime_type"`
	Size      *int64 `json:"size,omitempty"` // bytes
	SHA256    string `json:"sha256,omitempty"`
	ObjectKey string `json:"object_key,omitempty"`
	URL       string `json:"url,omitempty"`
}

// View shows the order. next is when it will be polled next, which is worked
// out when shown and never stored; zero: not known, or never again.
func (o *Order) View(next time.Time) View {
	v := View{
		OrderID: o.ID, RemoteID: o.RemoteID, SellerID: o.SellerID, State: o.State,
		SubmittedAt: o.SubmittedAt.UTC(), Deadline: o.Deadline.UTC(),
		Progress: o.Progress, Message: orNull(o.Message), ETASeconds: o.ETASeconds,
		Polls: o.Polls, LastOutcome: orNull(o.LastOutcome), LastDetail: orNull(o.LastDetail),
		LastPolledAt: utc(o.LastPolledAt), NextPollAt: utc(next), NotBefore: utc(o.NotBefore),
		Held: o.Held != nil, Trouble: o.troubleView(), RecentTrouble: []IncidentView{},
		EndedAt: utc(o.EndedAt), Result: o.Result.view(), Failure: o.Failure,
		Metadata: maps.Clone(o.Metadata),
	}
	if v.Metadata == nil {
		v.Metadata = map[string]string{}
	}
	for _, i := range o.RecentTrouble {
		i.At = i.At.UTC()
		v.RecentTrouble = append(v.RecentTrouble, IncidentView{Incident: i, DurationMS: i.Duration.Milliseconds()})
	}
	return v
}

func (o *Order) troubleView() *TroubleView {
	if o.Trouble == nil {
		return nil
	}
	t := &TroubleView{Outcome: o.Trouble.Outcome, Since: o.Trouble.Since.UTC(), Clocks: map[string]float64{}}
	for _, kind := range []Outcome{NotFound, InvalidResponse, RejectedResult} {
		if c := o.Clocks.Of(kind); c.Polls > 0 {
			t.Clocks[string(kind)] = c.Elapsed.Seconds()
		}
	}
	return t
}

func (r *Result) view() *ResultView {
	if r == nil {
		return nil
	}
	v := &ResultView{OutputType: r.OutputType, Text: r.Text, URL: r.URL}
	for i := range r.Files {
		f := &r.Files[i]
		fv := FileView{Filename: f.Filename, MIMEType: f.MIMEType, SHA256: f.SHA256, ObjectKey: f.ObjectKey, URL: f.URL}
		if f.ObjectKey != "" {
			size := f.Size
			fv.Size = &size
		}
		v.Files = append(v.Files, fv)
	}
	return v
}

func orNull[T ~string](s T) *T {
	if s == "" {
		return nil
	}
	return &s
}

func utc(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
