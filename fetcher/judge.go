package fetcher

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"poller/order"
)

// judge applies the rules of SPEC §2 to an answer that is JSON.
func (p *poll) judge(a *answer, keep *keeper) {
	status, ok := a.status()
	if !ok {
		p.unlessAccepted(order.InvalidResponse, "status is missing, or neither processing, completed nor failed")
		return
	}
	if problem := a.orderID(p.ask.RemoteID); problem != "" {
		p.unlessAccepted(order.InvalidResponse, problem)
		return
	}
	if status != order.Processing {
		p.obs.RetryAfter = nil // it says when to ask again, and nobody will
		if p.obs.HTTPStatus == http.StatusAccepted {
			p.unlessAccepted(order.InvalidResponse, "")
			return
		}
	}
	switch status {
	case order.Processing:
		p.obs.Progress = a.progress()
		p.obs.ETASeconds = a.eta()
		p.obs.Message = a.message()
		p.end(order.Processing, "")
	case order.SellerFailed:
		p.obs.Message = a.message()
		p.obs.SellerError = a.sellerError()
		p.end(order.SellerFailed, "")
	case order.Completed:
		p.judgeResult(a, keep)
	}
}

// unlessAccepted ends the poll with this outcome, or with http_error if the
// status was 202, which is an answer with processing only.
func (p *poll) unlessAccepted(o order.Outcome, detail string) {
	if p.obs.HTTPStatus == http.StatusAccepted {
		o, detail = order.HTTPError, statusText(http.StatusAccepted)+" without status processing"
	}
	p.end(o, detail)
}

// judgeResult judges and keeps the result of a completed answer.
func (p *poll) judgeResult(a *answer, keep *keeper) {
	result, problem, err := (&resultJudge{a: a, keep: keep, seen: map[string]bool{}}).judge()
	switch {
	case err != nil:
		p.readFailed(err, nil, nil)
	case problem != "":
		p.end(order.RejectedResult, problem)
	default:
		keep.owned(result)
		p.obs.Result = result
		p.end(order.Completed, "")
	}
}

// status is the outcome that the answer claims.
func (a *answer) status() (order.Outcome, bool) {
	v := a.get(fStatus)
	if v.kind != '"' {
		return "", false
	}
	switch asciiLower(strings.TrimSpace(v.text)) {
	case "processing":
		return order.Processing, true
	case "completed":
		return order.Completed, true
	case "failed":
		return order.SellerFailed, true
	}
	return "", false
}

// orderID says what is wrong with order_id, if it is there.
func (a *answer) orderID(remoteID string) string {
	v := a.get(fOrderID)
	switch {
	case v.kind == 0:
		return ""
	case v.kind != '"' && v.kind != '0':
		return "order_id is neither a string nor a number"
	case v.text != remoteID:
		return "order_id is that of another order"
	}
	return ""
}

// progress is 0…100, or nil.
func (a *answer) progress() *float64 {
	v := a.get(fProgress)
	text := v.text
	if v.kind == '"' {
		text = strings.TrimSpace(text)
		text = strings.TrimSpace(strings.TrimSuffix(text, "%"))
	}
	n, ok := number(text)
	if !ok || n > 100 {
		return nil
	}
	return &n
}

// eta is a number of seconds, or nil.
func (a *answer) eta() *float64 {
	v := a.get(fETA)
	if v.kind != '0' {
		return nil
	}
	n, ok := number(v.text)
	if !ok {
		return nil
	}
	return &n
}

// number reads a decimal number that is not negative and not too large for a float64.
func number(text string) (float64, bool) {
	for i := range len(text) {
		// ParseFloat also takes hexadecimal, infinities and underscores.
		if c := text[i]; (c < '0' || c > '9') && strings.IndexByte("+-.eE", c) < 0 {
			return 0, false
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n < 0 || math.IsInf(n, 0) {
		return 0, false
	}
	return n + 0, true // -0 becomes 0
}

func (a *answer) message() string { return clipped(a.get(fMessage), order.MaxMessage) }

// sellerError is what the seller says of a failed job: error as an object or a
// string, else error_message, else message.
func (a *answer) sellerError() order.SellerError {
	var e order.SellerError
	if v := a.get(fError); v.kind == '{' {
		obj := a.of(fError).err
		e.Code = clipped(&obj.code, order.MaxCode)
		if obj.code.kind == '0' {
			e.Code = order.Clip(obj.code.text, order.MaxCode)
		}
		e.Message = clipped(&obj.message, order.MaxMessage)
	} else {
		e.Message = clipped(v, order.MaxMessage)
	}
	if e.Message == "" {
		e.Message = clipped(a.get(fErrorMessage), order.MaxMessage)
	}
	if e.Message == "" {
		e.Message = a.message()
	}
	return e
}

// clipped is a string fit to be kept; anything else is none.
func clipped(v *value, limit int) string {
	if v.kind != '"' {
		return ""
	}
	return order.Clip(v.text, limit)
}

// asciiLower lowers A–Z only: no other letter becomes one of a word that we know.
func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
