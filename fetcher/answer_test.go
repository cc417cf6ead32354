package fetcher

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"poller/order"
)

// readWays are the ways in which an answer may come: they must make no difference.
var readWays = map[string]func(io.Reader) io.Reader{
	"whole":              nil,
	"streamed":           func(r io.Reader) io.Reader { return r },
	"one byte at a time": iotest.OneByteReader,
}

// judged is what becomes of an answer's body without a connection around it.
func judged(t testing.TB, way func(io.Reader) io.Reader, files *memFiles, code int, text string, change ...func(*order.Ask, *Options)) order.Observation {
	t.Helper()
	ask := order.Ask{RemoteID: "o-1", Seller: &order.Seller{ID: "s"}}
	opts := Options{Files: files}
	for _, f := range change {
		f(&ask, &opts)
	}
	c := New(opts)
	p := &poll{client: c, set: c.settings.Load(), ask: ask, parent: context.Background()}
	p.limit.begin(time.Minute, time.Minute, func() bool { return false })
	p.obs.HTTPStatus, p.obs.StartedAt = code, time.Now()
	resp := &http.Response{StatusCode: code, ContentLength: int64(len(text))}
	p.raw = rawBody{r: strings.NewReader(text)}
	b := p.newBody()
	if way == nil {
		p.readBody(b, resp)
	} else {
		func() {
			keep := newKeeper(p, code == 200)
			defer keep.clean()
			a, release, err := p.stream(way(bytes.NewReader(bytes.TrimPrefix([]byte(text), []byte("\xEF\xBB\xBF")))), keep)
			defer release()
			if err != nil {
				p.readFailed(err, b, resp)
				return
			}
			p.judge(a, keep)
		}()
	}
	checkObservation(t, p.obs)
	if files.open != 0 {
		t.Errorf("%d files left open", files.open)
	}
	var owned []string
	if p.obs.Result != nil {
		owned = p.obs.Result.Keys()
	}
	for _, k := range files.keys() {
		if !strings.Contains(k, "/up") && !strings.Contains(strings.Join(owned, " "), k) {
			t.Errorf("file %s was left behind", k)
		}
	}
	return p.obs
}

// longWays are the same for long answers.
var longWays = map[string]func(io.Reader) io.Reader{
	"whole":                nil,
	"eleven bytes at once": func(r io.Reader) io.Reader { return elevenReader{r} },
}

type elevenReader struct{ r io.Reader }

func (e elevenReader) Read(p []byte) (int, error) { return e.r.Read(p[:min(len(p), 11)]) }

func TestAnswerOutcome(t *testing.T) {
	deep := func(n int) string {
		return `{"status":"processing","x":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`
	}
	for _, c := range []struct {
		name, body string
		want       order.Outcome
		detail     string
	}{
		{"processing", `{"status":"processing"}`, order.Processing, ""},
		{"case and space", `{"status":" ProcessIng\n"}`, order.Processing, ""},
		{"failed", `{"status":"failed"}`, order.SellerFailed, ""},
		{"byte-order mark", "\xEF\xBB\xBF{\"status\":\"processing\"}", order.Processing, ""},
		{"array of one", `[{"status":"processing"}]`, order.Processing, ""},
		{"in result", `{"result":{"status":"processing"}}`, order.Processing, ""},
		{"top level counts", `{"status":"processing","result":{"status":"failed"}}`, order.Processing, ""},
		{"null at the top is absent", `{"status":null,"result":{"status":"failed"}}`, order.SellerFailed, ""},
		{"escaped name", `{"st\u0061tus":"processing"}`, order.Processing, ""},
		{"unknown members", `{"a":[1,{"b":null}],"status":"processing","c":true}`, order.Processing, ""},
		{"lone surrogate", `{"status":"processing","x":"\ud800"}`, order.Processing, ""},
		{"depth 64", deep(64), order.Processing, ""},
		{"order_id string", `{"status":"processing","order_id":"o-1"}`, order.Processing, ""},
		{"order_id null", `{"status":"processing","order_id":null}`, order.Processing, ""},
		{"space after", "{\"status\":\"processing\"} \n\t", order.Processing, ""},

		{"empty", ``, order.InvalidResponse, "empty"},
		{"only space", `   `, order.InvalidResponse, "empty"},
		{"status missing", `{}`, order.InvalidResponse, "status"},
		{"status unknown", `{"status":"done"}`, order.InvalidResponse, "status"},
		{"status number", `{"status":1}`, order.InvalidResponse, "status"},
		{"kelvin sign", "{\"status\":\"proce\x73\u017fing\"}", order.InvalidResponse, "status"},
		{"name in another case", `{"Status":"processing"}`, order.InvalidResponse, "status"},
		{"order_id differs", `{"status":"processing","order_id":"o-2"}`, order.InvalidResponse, "order_id"},
		{"order_id number differs", `{"status":"processing","order_id":1}`, order.InvalidResponse, "order_id"},
		{"order_id object", `{"status":"processing","order_id":{}}`, order.InvalidResponse, "order_id"},
		{"array of two", `[{"status":"processing"},{"status":"processing"}]`, order.InvalidResponse, "exactly one"},
		{"array of none", `[]`, order.InvalidResponse, "exactly one"},
		{"array in array", `[[{"status":"processing"}]]`, order.InvalidResponse, "exactly one"},
		{"string", `"processing"`, order.InvalidResponse, "not an object"},
		{"null", `null`, order.InvalidResponse, "not an object"},
		{"duplicate", `{"status":"processing","status":"processing"}`, order.InvalidResponse, "twice: status"},
		{"duplicate, escaped", `{"status":"processing","st\u0061tus":"failed"}`, order.InvalidResponse, "twice"},
		{"duplicate within", `{"status":"processing","x":[{"a":1,"a":2}]}`, order.InvalidResponse, "twice: a"},
		{"trailing", `{"status":"processing"}x`, order.InvalidResponse, "after its end"},
		{"two texts", `{"status":"processing"}{"status":"processing"}`, order.InvalidResponse, "after its end"},
		{"depth 65", deep(65), order.InvalidResponse, "deeper than 64"},
		{"invalid UTF-8", "{\"status\":\"processing\",\"x\":\"\xff\"}", order.InvalidResponse, "UTF-8"},
		{"UTF-16", "\xff\xfe{\x00}\x00", order.InvalidResponse, "UTF-8"},
		{"cut character", "{\"status\":\"processing\",\"x\":\"\xe2\x82\"}", order.InvalidResponse, "UTF-8"},
		{"NaN", `{"status":"processing","progress":NaN}`, order.InvalidResponse, "not JSON"},
		{"Infinity", `{"status":"processing","progress":-Infinity}`, order.InvalidResponse, "not JSON"},
		{"single quotes", `{'status':'processing'}`, order.InvalidResponse, "not JSON"},
		{"trailing comma", `{"status":"processing",}`, order.InvalidResponse, "not JSON"},
		{"comment", `{"status":"processing"/**/}`, order.InvalidResponse, "not JSON"},
		{"cut", `{"status":"processing"`, order.InvalidResponse, "too early"},
		{"cut in a string", `{"status":"proc`, order.InvalidResponse, "too early"},
		{"control character", "{\"status\":\"processing\",\"x\":\"a\nb\"}", order.InvalidResponse, "not JSON"},
		{"bad escape", `{"status":"processing","x":"\q"}`, order.InvalidResponse, "not JSON"},
		{"web page", `<!doctype html><html>`, order.InvalidResponse, "not JSON"},
		{"number with zero", `{"status":"processing","progress":01}`, order.InvalidResponse, "not JSON"},
		{"two numbers", `{"status":"processing","progress":1 2}`, order.InvalidResponse, "not JSON"},
	} {
		for way, r := range readWays {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				obs := judged(t, r, newFiles(), 200, c.body)
				if obs.Outcome != c.want || !strings.Contains(obs.Detail, c.detail) {
					t.Errorf("%s %q, want %s %q", obs.Outcome, obs.Detail, c.want, c.detail)
				}
			})
		}
	}
}

func TestOrderIDNumber(t *testing.T) {
	for _, c := range []struct {
		body string
		want order.Outcome
	}{
		{`{"status":"processing","order_id":12}`, order.Processing},
		{`{"status":"processing","order_id":"12"}`, order.Processing},
		{`{"status":"processing","order_id":12.0}`, order.InvalidResponse},
		{`{"status":"processing","order_id":1.2e1}`, order.InvalidResponse},
	} {
		obs := judged(t, nil, newFiles(), 200, c.body, func(a *order.Ask, _ *Options) { a.RemoteID = "12" })
		if obs.Outcome != c.want {
			t.Errorf("%s: %s", c.body, obs.Outcome)
		}
	}
}

func TestProgress(t *testing.T) {
	num := func(f float64) *float64 { return &f }
	for _, c := range []struct {
		json string
		want *float64
	}{
		{`0`, num(0)}, {`100`, num(100)}, {`45.5`, num(45.5)}, {`-0`, num(0)}, {`1e2`, num(100)}, {`"45"`, num(45)}, {`"45%"`, num(45)},
		{`" 45 % "`, num(45)}, {`1e-999999999`, num(0)},
		{`101`, nil}, {`-1`, nil}, {`1e999999999`, nil}, {`"abc"`, nil}, {`""`, nil}, {`"%"`, nil}, {`"0x10"`, nil}, {`"inf"`, nil}, {`"nan"`, nil},
		{`"1_0"`, nil}, {`true`, nil}, {`null`, nil}, {`[45]`, nil}, {`{"a":1}`, nil}, {`"45%%"`, nil},
	} {
		for way, r := range readWays {
			obs := judged(t, r, newFiles(), 200, `{"status":"processing","progress":`+c.json+`,"message":7,"eta_seconds":"5"}`)
			switch {
			case obs.Outcome != order.Processing:
				t.Errorf("%s: %s: %s", way, c.json, obs.Outcome)
			case (obs.Progress == nil) != (c.want == nil), c.want != nil && *obs.Progress != *c.want:
				t.Errorf("%s: %s: %v", way, c.json, obs.Progress)
			case obs.Message != "" || obs.ETASeconds != nil:
				t.Errorf("message %q, eta %v", obs.Message, obs.ETASeconds)
			}
		}
	}
	obs := judged(t, nil, newFiles(), 200, `{"status":"processing","eta_seconds":90,"message":"a\u001b[31m\nb\u202e"}`)
	if obs.ETASeconds == nil || *obs.ETASeconds != 90 || obs.Message != "a[31m b" {
		t.Errorf("%v %q", obs.ETASeconds, obs.Message)
	}
}

func TestSellerError(t *testing.T) {
	long := strings.Repeat("ä", 70000)
	for _, c := range []struct{ fields, code, message string }{
		{`"error":"no"`, "", "no"},
		{`"error":{"code":"E1","message":"no"}`, "E1", "no"},
		{`"error":{"code":7,"message":"no","extra":[]}`, "7", "no"},
		{`"error":{"code":"E1"},"error_message":"why"`, "E1", "why"},
		{`"error_message":"why"`, "", "why"},
		{`"message":"m"`, "", "m"},
		{`"error":17,"message":"m"`, "", "m"},
		{`"result":{"error":{"code":"x","message":"y"}}`, "x", "y"},
		{`"error":"` + long + `"`, "", long[:1000]},
		{``, "", ""},
	} {
		for way, r := range readWays {
			body := `{"status":"failed",` + c.fields + `}`
			if c.fields == "" {
				body = `{"status":"failed"}`
			}
			obs := judged(t, r, newFiles(), 200, body)
			if obs.Outcome != order.SellerFailed || obs.SellerError != (order.SellerError{Code: c.code, Message: c.message}) {
				t.Errorf("%s: %.60s: %s %.80v", way, c.fields, obs.Outcome, obs.SellerError)
			}
		}
	}
}

func TestAccepted(t *testing.T) {
	for body, want := range map[string]order.Outcome{
		`{"status":"processing"}`:                  order.Processing,
		`{"status":"completed","result_text":"x"}`: order.HTTPError,
		`{"status":"failed"}`:                      order.HTTPError,
		`{}`:                                       order.HTTPError,
		`{"status":"completed","file_base64":"` + b64(90000) + `"}`:  order.HTTPError,
		`{"status":"processing","file_base64":"` + b64(90000) + `"}`: order.Processing,
	} {
		files := newFiles()
		if obs := judged(t, nil, files, 202, body); obs.Outcome != want {
			t.Errorf("%.60s: %s", body, obs.Outcome)
		}
		if files.n != 0 {
			t.Errorf("%.60s: %d files made", body, files.n)
		}
	}
}

func b64(n int) string { return base64.StdEncoding.EncodeToString(content(n)) }

// content is n bytes that are not all alike.
func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

func TestMaxBodyAndFaults(t *testing.T) {
	big := `{"file_base64":"` + b64(200000) + `","status":"completed"}`
	quota := func(a *order.Ask, _ *Options) { a.Reserve = func(int64) bool { return false } }
	files := newFiles()
	if obs := judged(t, nil, files, 200, big, func(_ *order.Ask, o *Options) { o.MaxBody = 1000 }); obs.Outcome != order.InvalidResponse || !strings.Contains(obs.Detail, "larger than 1000") {
		t.Errorf("max_body: %s %q", obs.Outcome, obs.Detail)
	}
	if obs := judged(t, nil, files, 200, big, quota); obs.Outcome != order.LocalFault || !obs.Quota || !strings.Contains(obs.Detail, "results.max_per_seller") {
		t.Errorf("quota: %+v", obs)
	}
	if obs := judged(t, nil, files, 200, big, func(_ *order.Ask, o *Options) { o.MaxPerOrder = 1000 }); obs.Outcome != order.RejectedResult || !strings.Contains(obs.Detail, "file_base64") {
		t.Errorf("max_per_order: %s %q", obs.Outcome, obs.Detail)
	}
	full := newFiles()
	full.fail = fmt.Errorf("write: %w", order.ErrNoSpace)
	if obs := judged(t, nil, full, 200, big); obs.Outcome != order.LocalFault || obs.Quota || !strings.Contains(obs.Detail, "disk is full") {
		t.Errorf("disk full: %+v", obs)
	}
	full.fail = errors.New("input/output error")
	if obs := judged(t, nil, full, 200, `{"status":"completed","object_key":"orders/o-1/up"}`); obs.Outcome != order.LocalFault {
		t.Errorf("disk failing: %+v", obs)
	}
	if obs := judged(t, nil, full, 200, `{"status":"completed","result_text":"short"}`); obs.Outcome != order.Completed {
		t.Errorf("a short text needs no disk: %+v", obs)
	}
}

func TestManyMembers(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"status":"processing","x":{`)
	for i := range 60000 {
		fmt.Fprintf(&b, `"k%d":0,`, i)
	}
	some := b.String() + `"z":0}}`
	if obs := judged(t, nil, newFiles(), 200, some); obs.Outcome != order.Processing {
		t.Errorf("60,000 members: %s %s", obs.Outcome, obs.Detail)
	}
	if obs := judged(t, nil, newFiles(), 200, b.String()+`"k1":0}}`); obs.Outcome != order.InvalidResponse || !strings.Contains(obs.Detail, "twice") {
		t.Errorf("the last one twice: %s %s", obs.Outcome, obs.Detail)
	}
	for i := range 200000 {
		fmt.Fprintf(&b, `"l%d":0,`, i)
	}
	if obs := judged(t, nil, newFiles(), 200, b.String()+`"z":0}}`); obs.Outcome != order.InvalidResponse || !strings.Contains(obs.Detail, "too many members") {
		t.Errorf("260,000 members: %s %s", obs.Outcome, obs.Detail)
	}
	small := `{"status":"processing","x":[` + strings.Repeat(`{"a":1,"b":{"c":2}},`, 200000) + `0]}`
	if obs := judged(t, nil, newFiles(), 200, small); obs.Outcome != order.Processing {
		t.Errorf("many objects of few members: %s %s", obs.Outcome, obs.Detail)
	}
	if obs := judged(t, nil, newFiles(), 200, `{"status":"processing","`+strings.Repeat("n", 70000)+`":1}`); obs.Outcome != order.InvalidResponse {
		t.Errorf("a long name: %s", obs.Outcome)
	}
	if obs := judged(t, nil, newFiles(), 200, `{"status":"processing","n":`+strings.Repeat("9", 70000)+`}`); obs.Outcome != order.InvalidResponse {
		t.Errorf("a long number: %s", obs.Outcome)
	}
}

// FuzzAnswer: however an answer comes, it means the same, and what is taken for
// JSON is JSON to encoding/json too.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		`{"status":"processing","progress":"45%"}`, `[{"status":"failed","error":{"code":1,"message":"x"}}]`,
		`{"status":"completed","result_text":{"a":[1,2]},"output_type":"json"}`, `{"status":"completed","file_base64":"SGVsbG8="}`,
		`{"status":"completed","files":[{"filename":"a","file_base64":"data:text/plain;base64,SGVsbG8"}],"result_text":"\ud83d\ude00\ud800"}`,
		`{"status":"completed","result_url":"https://example.com/a"}`, `{"result":{"status":"processing"},"a":"\u00e9\n"}`,
		`{"file_base64":"` + b64(6000) + `","status":"completed"}`, `{"status":"completed","result_text":"` + strings.Repeat(`a\u20ac`, 1500) + `"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var seen []string
		var first order.Observation
		for _, name := range []string{"whole", "streamed", "one byte at a time"} {
			files := newFiles()
			obs := judged(t, readWays[name], files, 200, string(b))
			files.mu.Lock()
			text := ""
			if obs.Result != nil {
				for _, file := range obs.Result.Files {
					text += fmt.Sprintf("%s %s %d %s;", file.Filename, file.MIMEType, file.Size, file.SHA256)
				}
				if obs.Result.Text != nil {
					text += *obs.Result.Text
				}
				text += obs.Result.URL
			}
			files.mu.Unlock()
			seen = append(seen, fmt.Sprintf("%s %q %v %q", obs.Outcome, obs.Message, obs.SellerError, text))
			first = obs
		}
		if seen[0] != seen[1] || seen[1] != seen[2] {
			t.Fatalf("it matters how the answer comes:\n%s\n%s\n%s", seen[0], seen[1], seen[2])
		}
		trimmed := bytes.TrimPrefix(b, []byte("\xEF\xBB\xBF"))
		if first.Outcome != order.InvalidResponse && (!json.Valid(trimmed) || !utf8.Valid(trimmed)) {
			t.Fatalf("%s, but it is no JSON", first.Outcome)
		}
	})
}
