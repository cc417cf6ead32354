package fakeseller

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

// object is a JSON object.
type object = map[string]any

// Processing never ends.
func Processing() Script { return Script{{JSON: object{"status": "processing"}}} }

// Quick is completed at the first poll, with a text.
func Quick(text string) Script { return TextResult(text) }

// Progressing is processing for n polls, with rising progress, and then goes on with end.
func Progressing(n int, end Script) Script {
	var s Script
	for i := range n {
		s = append(s, Step{JSON: object{
			"status": "processing", "progress": 100 * (i + 1) / (n + 1),
			"message": "step " + strconv.Itoa(i+1) + " of " + strconv.Itoa(n),
		}})
	}
	return append(s, end...)
}

// Slow answers as s does, each time after d.
func Slow(d time.Duration, s Script) Script {
	return s.each(func(step Step) Step {
		step.Delay += d
		return step
	})
}

// Hang takes the request and never answers.
func Hang() Script { return Script{{Hang: true}} }

// Drop takes the request and closes the connection.
func Drop() Script { return Script{{Drop: true}} }

// FailAfter is processing for n polls and then failed.
func FailAfter(n int, message string) Script { return Progressing(n, Failed(message)) }

// Failed says that the job failed.
func Failed(message string) Script {
	return Script{{JSON: object{"status": "failed", "error": message}}}
}

// Flaky answers every n-th poll with 500 and else as s does. Orders that share the script share the count.
func Flaky(every int, s Script) Script {
	n := 0
	return s.gated(func(Poll) *Step {
		if n++; n%every != 0 {
			return nil
		}
		return &Step{Status: http.StatusInternalServerError, Body: []byte("oops")}
	})
}

// Status answers with an HTTP status and a small JSON object that is no status answer.
func Status(code int) Script {
	return Script{{Status: code, JSON: object{"error": http.StatusText(code)}}}
}

// NotFound knows no such order.
func NotFound() Script { return Status(http.StatusNotFound) }

// Redirect answers with a Location.
func Redirect(code int, location string) Script {
	return Script{{Status: code, Header: http.Header{"Location": {location}}}}
}

// Unauthorized answers as s does if the request has the header, else 401. It
// asks for more than Credentials; to ask for something else, set Options.Open.
func Unauthorized(name, value string, s Script) Script {
	return s.gated(func(p Poll) *Step {
		if p.Header.Get(name) == value {
			return nil
		}
		return &Status(http.StatusUnauthorized)[0]
	})
}

// Throttle answers as s does to the first polls of any second, as many as rate
// says, and to the rest with 429 and Retry-After in seconds (0: without). All
// orders that share the script share the rate: use it with Handle("seller/*", …).
func Throttle(rate, retryAfter int, s Script) Script {
	var passed []time.Time // in the last second, oldest first
	return s.gated(func(p Poll) *Step {
		for len(passed) > 0 && p.At.Sub(passed[0]) >= time.Second {
			passed = passed[1:]
		}
		if len(passed) < rate {
			passed = append(passed, p.At)
			return nil
		}
		refusal := Status(http.StatusTooManyRequests)[0]
		if retryAfter > 0 {
			refusal.Header = http.Header{"Retry-After": {strconv.Itoa(retryAfter)}}
		}
		return &refusal
	})
}

// TextResult is completed with a text.
func TextResult(text string) Script { return completed("text", "result_text", text) }

// HTMLResult is completed with a page.
func HTMLResult(html string) Script { return completed("html", "result_text", html) }

// CSVResult is completed with a table.
func CSVResult(csv string) Script { return completed("csv", "result_text", csv) }

// JSONResult is completed with a JSON value: a string is the text of one, anything else is sent as it is.
func JSONResult(value any) Script { return completed("json", "result_text", value) }

// URLResult is completed with a link.
func URLResult(url string) Script { return completed("url", "result_url", url) }

// ObjectKeyResult is completed with a file that was uploaded beforehand.
func ObjectKeyResult(key string) Script { return completed("file", "object_key", key) }

func completed(outputType, field string, value any) Script {
	return Script{{JSON: object{"status": "completed", "output_type": outputType, field: value}}}
}

// InvalidJSON answers with something that only begins like JSON.
func InvalidJSON() Script { return Script{{Body: []byte(`{"status": "processing", "progress": `)}} }

// WrongOrderID answers for an order that was not asked about.
func WrongOrderID() Script {
	return Script{{JSON: object{"status": "processing", "order_id": "another-order"}}}
}

// HugeBody is processing with a message of that many bytes; less than 0: it never ends.
func HugeBody(bytes int64) Script {
	return Script{{Func: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"status":"processing","message":"`)
		chunk := make([]byte, 64<<10)
		for i := range chunk {
			chunk[i] = 'x'
		}
		for left := bytes; left != 0; {
			n := int64(len(chunk))
			if left > 0 {
				n = min(n, left)
				left -= n
			}
			if _, err := w.Write(chunk[:n]); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, `"}`)
	}}}
}
