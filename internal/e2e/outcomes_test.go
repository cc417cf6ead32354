package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"poller/internal/fakeseller"
)

// said is a script that answers with one JSON value.
func said(v any) fakeseller.Script { return fakeseller.Script{{JSON: v}} }

// outcomeCase is an order whose every poll after the first steps has one outcome.
type outcomeCase struct {
	outcome string // of the polls that keep coming
	script  fakeseller.Script
	detail  string   // part of what the last trouble says
	code    string   // of its failure, if a clock ends it
	history []string // event types
	state   string
}

// outcomeCases has an order for each outcome of SPEC §5.
func outcomeCases(blockedURL string) map[string]outcomeCase {
	tried := []string{"submitted", "trouble", "failed"}
	return map[string]outcomeCase{
		"processing": {outcome: "processing", script: fakeseller.Progressing(1, fakeseller.Processing()), history: []string{"submitted", "progress", "failed"}, code: "deadline_exceeded", state: "failed"},
		"completed":  {outcome: "completed", script: fakeseller.Quick("done"), history: []string{"submitted", "completed"}, state: "completed"},
		"failed":     {outcome: "failed", script: fakeseller.Failed("no more paper"), history: []string{"submitted", "failed"}, code: "seller_failed", state: "failed"},
		"not_found":  {outcome: "not_found", script: fakeseller.NotFound(), detail: "404", history: tried, code: "not_found", state: "failed"},
		"unauthorized": {outcome: "unauthorized", script: fakeseller.Status(http.StatusForbidden), detail: "403",
			history: tried, code: "deadline_exceeded", state: "failed"},
		"throttled": {outcome: "completed", script: append(fakeseller.Script{{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}}}, fakeseller.Quick("at last")...),
			detail: "429", history: []string{"submitted", "completed"}, state: "completed"},
		"http_error":       {outcome: "http_error", script: fakeseller.Status(http.StatusTeapot), detail: "418", history: tried, code: "deadline_exceeded", state: "failed"},
		"timeout":          {outcome: "timeout", script: fakeseller.Hang(), detail: "no answer within 1s", history: tried, code: "deadline_exceeded", state: "failed"},
		"unreachable":      {outcome: "unreachable", script: fakeseller.Drop(), detail: "connection closed", history: tried, code: "deadline_exceeded", state: "failed"},
		"blocked":          {outcome: "blocked", script: fakeseller.Redirect(http.StatusFound, blockedURL), detail: "port", history: tried, code: "deadline_exceeded", state: "failed"},
		"invalid_response": {outcome: "invalid_response", script: fakeseller.InvalidJSON(), detail: "JSON", history: tried, code: "invalid_response", state: "failed"},
		"rejected_result":  {outcome: "rejected_result", script: fakeseller.URLResult("http://plain.example/"), detail: "result_url", history: tried, code: "rejected_result", state: "failed"},
		"local_fault": {outcome: "local_fault", script: fakeseller.FileBase64(fakeseller.File{Name: "big", Size: 300 << 10}), detail: "results.max_per_seller",
			history: []string{"submitted"}, state: "processing"},
	}
}

// resultCase is an order that completes with one form of result.
type resultCase struct {
	script fakeseller.Script
	want   resultView // of files only what the seller said
	bytes  []string   // of the files
	types  []string   // Content-Type as served
}

const boundary = "\x00\x01binary\xff"

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// resultCases has an order for each form of result of SPEC §2.
func resultCases() map[string]resultCase {
	long := strings.Repeat("a long story; ", 5000) // 70 KB
	text := func(kind, text string) resultView { return resultView{OutputType: kind, Text: text} }
	files := func(f ...fileView) resultView { return resultView{OutputType: "file", Files: f} }
	return map[string]resultCase{
		"text":        {script: fakeseller.TextResult("Grüße"), want: text("text", "Grüße")},
		"html":        {script: fakeseller.HTMLResult("<p>hello"), want: text("html", "<p>hello")},
		"json-string": {script: fakeseller.JSONResult(`{"a": [1, 2]}`), want: text("json", `{"a": [1, 2]}`)},
		"json-object": {script: fakeseller.Script{{Body: []byte(`{"status":"completed","output_type":"json","result_text":{"a": [1, 2]}}`)}}, want: text("json", `{"a": [1, 2]}`)},
		"csv":         {script: fakeseller.CSVResult("a,b\n1,2\n"), want: text("csv", "a,b\n1,2\n")},
		"url":         {script: fakeseller.URLResult("https://files.example/1?sig=x"), want: resultView{OutputType: "url", URL: "https://files.example/1?sig=x"}},
		"file": {
			script: fakeseller.FileBase64(fakeseller.File{Name: "one.bin", MIME: "application/x-one", Bytes: []byte(boundary)}),
			want:   files(fileView{Filename: "one.bin", MIMEType: "application/x-one"}), bytes: []string{boundary}, types: []string{"application/x-one"},
		},
		"data-prefix": {
			script: said(object{"status": "completed", "filename": "two.png", "file_base64": "data:image/png;base64," + b64("not a png")}),
			want:   files(fileView{Filename: "two.png", MIMEType: "image/png"}), bytes: []string{"not a png"}, types: []string{"image/png"},
		},
		"two-files": {
			script: fakeseller.Files(fakeseller.File{Name: "a.txt", MIME: "text/plain", Bytes: []byte("first")}, fakeseller.File{Name: `../b".html`, MIME: "text/html", Bytes: []byte("<script>")}),
			want:   files(fileView{Filename: "a.txt", MIMEType: "text/plain"}, fileView{Filename: "b_.html", MIMEType: "text/html"}),
			bytes:  []string{"first", "<script>"}, types: []string{"text/plain", "text/html"},
		},
		"long-text": {
			script: fakeseller.TextResult(long),
			want:   resultView{OutputType: "text", Files: []fileView{{Filename: "result.txt", MIMEType: "text/plain; charset=utf-8"}}},
			bytes:  []string{long}, types: []string{"text/plain; charset=utf-8"},
		},
		"nested":       {script: said(object{"status": "completed", "result": object{"output_type": "text", "result_text": "inside"}}), want: text("text", "inside")},
		"array-of-one": {script: said([]object{{"status": " COMPLETED ", "result_text": "alone"}}), want: text("text", "alone")},
	}
}

// Issue 3, "Shown by" 2: one order per outcome of SPEC §5 and per form of
// result of §2; each ends as the SPEC says, its history tells why, and the
// metrics agree with the count.
func TestOneOrderPerOutcomeAndPerResult(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.set("fetch.timeout", "1s", "results.max_per_seller", "256KiB",
		"orders.give_up_after", "{not_found: 1ms, invalid_response: 1ms, rejected_result: 1ms}")
	d := s.start()
	outcomes, results := outcomeCases("https://127.0.0.1:1/elsewhere"), resultCases()
	for name, c := range outcomes {
		s.sellers.Handle(name+"/"+name, c.script)
		s.sellers.Handle(name+"/well-*", fakeseller.Processing())
		host := 0
		if name == "unreachable" {
			host = 2 // a kept connection that is dropped is no poll yet: the next one is tried
		}
		d.register(host, name)
		d.submit(name, name)
		if c.code == name { // a clock ends it, at a seller that is well
			d.submit(name, "well-"+name)
		}
	}
	d.register(1, "forms")
	for name, c := range results {
		s.sellers.Handle("forms/"+name, c.script)
		d.submit("forms", name)
	}
	d.submit("forms", "cancelled")
	d.submit("forms", "steady") // at another host: who does not answer is blamed while others do (SPEC §5)

	for range 3 { // the third poll at the earliest ends an order by a clock
		d.sweep()
	}
	d.call(http.MethodPost, "/v1/orders/cancelled/cancel", nil, http.StatusOK, nil)
	deadline := time.Now().Add(200 * time.Millisecond).UTC()
	for name, c := range outcomes {
		if c.code == "deadline_exceeded" {
			d.call(http.MethodPatch, "/v1/orders/"+name, object{"deadline": deadline.Format(time.RFC3339Nano)}, http.StatusOK, nil)
		}
	}
	for left := len(outcomes); left > 0; { // a sweep that begins after the deadline is the last chance
		d.sweep()
		left = 0
		for name, c := range outcomes {
			if d.order(name).State != c.state {
				left++
			}
		}
		if t.Context().Err() != nil || time.Since(deadline) > patience {
			break // the rest of the test says what is wrong
		}
	}

	for name, c := range outcomes {
		t.Run("outcome/"+name, func(t *testing.T) { checkOutcome(t, d, name, c) })
	}
	for name, c := range results {
		t.Run("result/"+name, func(t *testing.T) { checkResult(t, d, name, c) })
	}
	equal(t, "history of the cancelled order", d.history("cancelled"), []string{"submitted", "cancelled"})
	ends := d.checkEvents()
	checkCounts(t, d, outcomes, len(ends))
}

func checkOutcome(t *testing.T, d *daemon, name string, c outcomeCase) {
	o := d.order(name)
	equal(t, "state and last outcome", [2]string{o.State, o.LastOutcome}, [2]string{c.state, c.outcome})
	equal(t, "history", d.history(name), c.history)
	switch {
	case c.code == "" && o.Failure != nil:
		t.Errorf("failure %+v", *o.Failure)
	case c.code != "" && (o.Failure == nil || o.Failure.Code != c.code):
		t.Errorf("failure %+v, want the code %s", o.Failure, c.code)
	case c.code == "deadline_exceeded" && !strings.Contains(o.Failure.Message, c.outcome):
		t.Errorf("the failure does not name the last trouble: %s", o.Failure.Message)
	case name == "failed" && o.Failure.Message != "no more paper":
		t.Errorf("the failure is not in the seller's words: %s", o.Failure.Message)
	}
	if c.detail != "" {
		if len(o.RecentTrouble) == 0 {
			t.Fatal("no recent_trouble")
		}
		if last := o.RecentTrouble[len(o.RecentTrouble)-1]; last.Outcome != name || !strings.Contains(last.Detail, c.detail) {
			t.Errorf("the last trouble is %+v, want %s with %q", last, name, c.detail)
		}
	}
	if got := d.sellers.Stats(name + "/" + name).Polls; got != o.Polls {
		t.Errorf("%d polls are recorded, the seller saw %d", o.Polls, got)
	}
}

func checkResult(t *testing.T, d *daemon, name string, c resultCase) {
	o := d.order(name)
	equal(t, "history", d.history(name), []string{"submitted", "completed"})
	if o.Result == nil || o.Polls != 1 {
		t.Fatalf("no result, or more than one poll: %+v", o)
	}
	for i, f := range o.Result.Files {
		if i >= len(c.bytes) {
			break
		}
		got := d.file(name, i)
		equal(t, "content", got.body, []byte(c.bytes[i]))
		if f.Size != len(c.bytes[i]) || f.SHA256 != digest([]byte(c.bytes[i])) || !strings.HasPrefix(f.ObjectKey, "orders/"+name+"/") {
			t.Errorf("file %d is recorded as %+v", i, f)
		}
		equal(t, "Content-Type", got.header.Get("Content-Type"), c.types[i])
		if !strings.HasPrefix(got.header.Get("Content-Disposition"), "attachment; filename=") || got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("file %d is served with %v", i, got.header)
		}
		o.Result.Files[i].Size, o.Result.Files[i].SHA256, o.Result.Files[i].ObjectKey = 0, "", ""
	}
	equal(t, "result", *o.Result, c.want)
	d.call(http.MethodGet, "/v1/orders/"+name+"/files/"+string('0'+rune(len(c.bytes))), nil, http.StatusNotFound, nil)
}

// checkCounts compares the metrics with what the orders and the sellers say.
func checkCounts(t *testing.T, d *daemon, outcomes map[string]outcomeCase, ended int) {
	polls := map[string]int{"throttled": 1} // the one order of which not all polls had the same outcome
	states, transitions, all := map[string]int{}, map[string]int{}, 0
	for name, o := range d.orders() {
		all += o.Polls
		states[o.State]++
		if c, ok := outcomes[name]; ok {
			polls[c.outcome] += o.Polls
		} else {
			polls[o.LastOutcome] += o.Polls
		}
		switch {
		case o.Failure != nil:
			transitions[`poller_transitions_total{code="`+o.Failure.Code+`",to="failed"}`]++
		case o.State != "processing":
			transitions[`poller_transitions_total{code="",to="`+o.State+`"}`]++
		}
	}
	polls["completed"]-- // the throttled poll
	want, got := map[string]float64{}, 0.
	for outcome, n := range polls {
		want[`poller_polls_total{outcome="`+outcome+`"}`] = float64(n)
	}
	for state, n := range states {
		want[`poller_orders{state="`+state+`"}`] = float64(n)
	}
	for name, n := range transitions {
		want[name] = float64(n)
	}
	want["poller_polls_in_flight"], want["poller_sweep_running"] = 0, 0
	d.checkSamples(want)
	for name, v := range d.samples() {
		if strings.HasPrefix(name, "poller_polls_total") {
			got += v
			if v == 0 {
				t.Errorf("%s is 0: no poll had this outcome", name)
			}
		}
	}
	equal(t, "all polls", got, float64(all))
	equal(t, "orders that have ended", ended, states["completed"]+states["failed"]+states["cancelled"])
}

// file fetches a file of an order's result.
func (d *daemon) file(order string, n int) answer {
	d.t.Helper()
	a, err := d.do(http.MethodGet, "/v1/orders/"+order+"/files/"+string('0'+rune(n)), nil)
	noError(d.t, err, "fetching a file")
	if a.status != http.StatusOK {
		d.t.Fatalf("file %d of %s: status %d: %s", n, order, a.status, bytes.TrimSpace(a.body))
	}
	return a
}

// digest is the SHA-256 in hex.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
