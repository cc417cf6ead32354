package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// What the API answers, as far as the tests look at it (SPEC §6). These are the
// platform's own words for it: a name that changes in poller breaks a test.
type (
	orderView struct {
		OrderID, RemoteID, SellerID string
		State                       string
		Deadline                    time.Time
		Message, LastOutcome        string
		LastDetail                  string
		Polls                       int
		Held                        bool
		Trouble                     *struct {
			Outcome string
			Clocks  map[string]float64
		}
		RecentTrouble []struct {
			Outcome, Detail string
			HTTPStatus      int
		}
		Result  *resultView
		Failure *struct{ Code, Message string }
	}
	resultView struct {
		OutputType, Text, URL string
		Files                 []struct {
			Filename, MIMEType, SHA256, ObjectKey, URL string
			Size                                       int64
		}
	}
	eventView struct {
		Number                  int
		Type, OrderID, SellerID string
		Data                    json.RawMessage
	}
	sweepView struct {
		ID, Tick                                      int
		Trigger, State                                string
		StartedAt                                     time.Time
		Due, Polled, Skipped, LeftToSeller, Remaining int
		Outcomes                                      map[string]int
	}
	problemView struct {
		Title, Detail string
		Status        int
		Errors        []struct{ Field, Detail string }
	}
)

// answer is an HTTP answer, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request to the API, with whatever answer. body is sent as it is
// if it is bytes, else as JSON.
func (d *daemon) do(method, path, contentType string, body any) answer {
	d.t.Helper()
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		content = bytes.NewReader(b)
	default:
		text, err := json.Marshal(body)
		noError(d.t, err, "encoding a body")
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(within(d.t), method, d.api+path, content)
	noError(d.t, err, "making a request")
	req.Header.Set("Authorization", "Bearer "+d.token)
	if content != nil {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	noError(d.t, err, method+" "+path)
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	a.body, err = io.ReadAll(resp.Body)
	noError(d.t, err, method+" "+path)
	d.answers.add(fmt.Sprint(resp.Header) + string(a.body))
	return a
}

// call sends JSON, expects a status, and reads the answer into out (nil: not at all).
func (d *daemon) call(method, path string, body any, status int, out any) {
	d.t.Helper()
	a := d.do(method, path, "application/json", body)
	if a.status != status {
		d.t.Fatalf("%s %s: status %d, want %d: %s", method, path, a.status, status, a.body)
	}
	if out != nil {
		readJSON(d, a.body, out)
	}
}

// readJSON decodes with the names of members written as in SPEC §6: order_id is OrderID.
func readJSON(d *daemon, text []byte, out any) {
	d.t.Helper()
	var raw any
	noError(d.t, json.Unmarshal(text, &raw), "decoding an answer")
	plain, err := json.Marshal(withoutUnderscores(raw))
	noError(d.t, err, "encoding an answer again")
	noError(d.t, json.Unmarshal(plain, out), "decoding an answer")
}
