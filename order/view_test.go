package order_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poller/order"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestViews holds the exact JSON of every form of an order (SPEC §6).
func TestViews(t *testing.T) {
	metadata := map[string]string{"buyer": "b-9", "a": "1"}
	inTrouble := polled(processing(), t0, order.Processing, order.NotFound, order.NotFound, order.InvalidResponse)
	inTrouble.RecentTrouble[0].Duration = 8050 * time.Millisecond
	running := processing()
	running.Metadata, running.Polls, running.LastOutcome = metadata, 3, order.Processing
	running.LastPolledAt = t0.Add(interval).In(time.FixedZone("CET", 3600))
	running.Progress, running.Message, running.ETASeconds = ptr(45.5), `<b>"page 3"</b>`, ptr(90.0)
	running.NotBefore = t0.Add(40 * minute)

	ended := func(r order.Result) order.Order {
		o := processing()
		o.State, o.EndedAt, o.Polls, o.LastOutcome, o.LastPolledAt = order.StateCompleted, t0.Add(interval), 1, order.Completed, t0.Add(interval)
		o.Result = &r
		return o
	}
	text := func(form order.OutputType, s string) order.Order {
		return ended(order.Result{OutputType: form, Text: &s})
	}
	sha := strings.Repeat("ab", 32)
	for name, o := range map[string]order.Order{
		"new":        processing(),
		"running":    running,
		"trouble":    inTrouble,
		"held":       heldFor(order.CodeNotFound),
		"failed":     decide(processing(), order.SellerFailed, t0).Order,
		"cancelled":  order.Cancel(processing(), t0).Order,
		"text":       text(order.OutputText, "line 1\nline 2"),
		"html":       text(order.OutputHTML, "<p>&amp;</p>"),
		"json":       text(order.OutputJSON, `{"a":[1,2]}`),
		"csv":        text(order.OutputCSV, "a,b\r\n1,2\r\n"),
		"url":        ended(order.Result{OutputType: order.OutputURL, URL: "https://cdn.example/r?a=1&b=2"}),
		"file":       ended(order.Result{OutputType: order.OutputFile, Files: []order.File{{Filename: "r.pdf", MIMEType: "application/pdf", Size: 1234, SHA256: sha, ObjectKey: "orders/o-1/k1"}}}),
		"empty_file": ended(order.Result{OutputType: order.OutputFile, Files: []order.File{{Filename: "r.txt", MIMEType: "text/plain", SHA256: sha, ObjectKey: "orders/o-1/k1"}}}),
		"files": ended(order.Result{OutputType: order.OutputFile, Text: ptr("see the files"), URL: "https://cdn.example/all", Files: []order.File{
			{Filename: "a.png", MIMEType: "image/png", Size: 1, SHA256: sha, ObjectKey: "orders/o-1/k1", Uploaded: true},
			{Filename: "b.mp4", MIMEType: "video/mp4", URL: "https://cdn.example/b.mp4"},
		}}),
	} {
		t.Run(name, func(t *testing.T) {
			next := time.Time{}
			if !o.Ended() {
				next = t0.Add(2 * interval)
			}
			got := indented(t, o.View(next))
			file := filepath.Join("testdata", "view", name+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got %s\nwant %s", got, want)
			}
		})
	}
}

// indented is v as JSON that a human can compare, with nothing escaped for HTML.
func indented(t *testing.T, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestAViewSharesNoMapWithItsOrder(t *testing.T) {
	o := processing()
	o.Metadata = map[string]string{"k": "v"}
	v := o.View(time.Time{})
	v.Metadata["k"] = "changed"
	if o.Metadata["k"] != "v" {
		t.Error("the order's metadata changed")
	}
}

func TestStoredFilesOfAResult(t *testing.T) {
	var none *order.Result
	if none.Stored() != 0 || none.Keys() != nil {
		t.Error("no result has files")
	}
	r := order.Result{Files: []order.File{{Size: 3, ObjectKey: "orders/a/1"}, {Size: 9, URL: "https://a.example/"}, {Size: 4, ObjectKey: "orders/a/2"}}}
	if got := r.Stored(); got != 7 {
		t.Errorf("%d bytes stored, want 7", got)
	}
	if got := r.Keys(); len(got) != 2 || got[0] != "orders/a/1" || got[1] != "orders/a/2" {
		t.Errorf("keys %v", got)
	}
}

func TestAHeaderNeverPrintsItsValue(t *testing.T) {
	s := order.Seller{Headers: []order.Header{{Name: "Authorization", Value: "Bearer sentinel"}}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, v := range []any{s, &s, s.Headers, s.Headers[0], &s.Headers[0]} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, "sentinel") || strings.Contains(got, fmt.Sprintf("%x", "sentinel")) {
				t.Errorf("%s of %T shows it: %s", verb, v, got)
			}
		}
	}
	if got := s.Headers[0].LogValue().String(); strings.Contains(got, "sentinel") {
		t.Errorf("a structured log shows it: %s", got)
	}
}

func TestSameEndpoint(t *testing.T) {
	a := order.Seller{StatusURL: "https://a.example/{order_id}", Headers: []order.Header{{Name: "X-Key", Value: "1"}}, Note: "old"}
	for _, c := range []struct {
		name   string
		change func(*order.Seller)
		want   bool
	}{
		{"the note", func(s *order.Seller) { s.Note = "new" }, true},
		{"limits", func(s *order.Seller) { s.MaxConcurrency, s.MaxPerMinute = 9, 9 }, true},
		{"status_url", func(s *order.Seller) { s.StatusURL += "/" }, false},
		{"a header's value", func(s *order.Seller) { s.Headers = []order.Header{{Name: "X-Key", Value: "2"}} }, false},
		{"one header more", func(s *order.Seller) { s.Headers = append(s.Headers[:1:1], order.Header{Name: "B", Value: "1"}) }, false},
	} {
		b := a
		c.change(&b)
		if got := a.SameEndpoint(&b); got != c.want {
			t.Errorf("%s: SameEndpoint = %v", c.name, got)
		}
	}
}

func TestTheSameSubmissionHasTheSameDigest(t *testing.T) {
	deadline := t0.Add(time.Hour)
	base := order.Submission{OrderID: "a", SellerID: "s", Deadline: &deadline, Metadata: map[string]string{"k": "v", "l": "w"}}
	elsewhere := deadline.In(time.FixedZone("CET", 3600))
	for _, c := range []struct {
		name   string
		change func(*order.Submission)
		same   bool
	}{
		{"again", func(*order.Submission) {}, true},
		{"the deadline in another zone", func(s *order.Submission) { s.Deadline = &elsewhere }, true},
		{"its fault", func(s *order.Submission) { s.Fault = order.ErrUnknownSeller }, true},
		{"another seller", func(s *order.Submission) { s.SellerID = "t" }, false},
		{"a remote_id, as it was sent", func(s *order.Submission) { s.RemoteID = "a" }, false},
		{"no deadline", func(s *order.Submission) { s.Deadline = nil }, false},
		{"another deadline", func(s *order.Submission) { s.Deadline = &t0 }, false},
		{"other metadata", func(s *order.Submission) { s.Metadata = map[string]string{"k": "v"} }, false},
	} {
		s := base
		c.change(&s)
		if got := s.Digest() == base.Digest(); got != c.same {
			t.Errorf("%s: same %v", c.name, got)
		}
	}
	far := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if (&order.Submission{OrderID: "a", Deadline: &far}).Digest() == (&order.Submission{OrderID: "b", Deadline: &far}).Digest() {
		t.Error("with a deadline that has no JSON form all orders are one")
	}
}
