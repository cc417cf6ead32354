package e2e

import (
	"math"
	"net/http"
	"testing"

	"github.com/anishathalye/porcupine"
)

// orderState is an order as its clients can know it.
type orderState struct {
	state    string // "": there is none
	arg      string // its content
	deadline string // as it was last set; "": it never was
	erased   bool
}

func (s orderState) ended() bool { return s.state != "" && s.state != "processing" }

// orderModel says what may be answered about one order (SPEC §6), and what becomes of it.
var orderModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{orderState{}} },
	Step: func(state, input, output any) []any {
		s, op, r := state.(orderState), input.(apiOp), output.(apiResult)
		var next []any
		for _, o := range s.outcomes(op) {
			if r.pending || r.fits(op, o) {
				next = append(next, o.after)
			}
		}
		if r.pending {
			next = append(next, s)
		}
		return next
	},
}

// outcome is one thing that may come of an operation.
type outcome struct {
	status int
	after  orderState
}

// outcomes are all that may come of an operation.
func (s orderState) outcomes(op apiOp) []outcome {
	changed := func(status int, change func(*orderState)) outcome {
		after := s
		change(&after)
		return outcome{status, after}
	}
	stays := func(status int) []outcome { return []outcome{{status, s}} }
	switch {
	case op.kind == "submit" && s.state == "":
		return []outcome{{http.StatusCreated, orderState{state: "processing", arg: op.arg}}}
	case s.state == "":
		return stays(http.StatusNotFound)
	case s.erased:
		return stays(http.StatusGone)
	case op.kind == "submit" && op.arg == s.arg, op.kind == "get":
		return stays(http.StatusOK)
	case op.kind == "submit":
		return stays(http.StatusConflict)
	case op.kind == "cancel" && s.state == "cancelled":
		return stays(http.StatusOK)
	case op.kind == "cancel" && s.state == "processing":
		return []outcome{changed(http.StatusOK, func(s *orderState) { s.state = "cancelled" })}
	case op.kind == "poll" && s.state == "processing":
		return []outcome{{http.StatusOK, s}, changed(http.StatusOK, func(s *orderState) { s.state = "completed" })}
	case op.kind == "poll" && s.state == "completed": // it joined the poll that brought the end; see late
		return []outcome{{http.StatusConflict, s}, {http.StatusOK, s}}
	case op.kind == "deadline" && s.state == "processing":
		return []outcome{changed(http.StatusOK, func(s *orderState) { s.deadline = op.arg })}
	case op.kind == "erase" && s.ended():
		return []outcome{changed(http.StatusNoContent, func(s *orderState) { s.erased = true })}
	}
	return stays(http.StatusConflict)
}

// fits reports whether the answer is the one to this outcome.
func (r apiResult) fits(_ apiOp, o outcome) bool {
	if r.status != o.status {
		return false
	}
	if r.status != http.StatusOK && r.status != http.StatusCreated {
		return true
	}
	return r.state == o.after.state && r.arg == o.after.arg && (o.after.deadline == "" || r.deadline == o.after.deadline)
}

// sellerState is a seller as its clients can know it.
type sellerState struct {
	there, paused bool
	arg           string
}

// sellerModel is the same of a seller without orders.
var sellerModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{sellerState{}} },
	Step: func(state, input, output any) []any {
		s, op, r := state.(sellerState), input.(apiOp), output.(apiResult)
		status, after := http.StatusOK, s
		switch {
		case op.kind == "put":
			if !s.there {
				status = http.StatusCreated
			}
			after.there, after.arg = true, op.arg
		case !s.there:
			status = http.StatusNotFound
		case op.kind == "patch":
			after.arg = op.arg
		case op.kind == "pause", op.kind == "resume":
			after.paused = op.kind == "pause"
		case op.kind == "delete":
			status, after = http.StatusNoContent, sellerState{}
		}
		switch {
		case r.pending:
			return []any{s, after}
		case r.status != status, status < http.StatusNoContent && (r.arg != after.arg || r.paused != after.paused):
			return nil
		}
		return []any{after}
	},
}

// The models find what is wrong, and nothing else.
func TestModelsOfTheAPI(t *testing.T) {
	order := func(status int, state, arg string) apiResult {
		return apiResult{status: status, state: state, arg: arg}
	}
	const never = math.MaxInt64
	type step struct {
		call, end int64
		op        apiOp
		result    apiResult
	}
	submit, get, cancel, erase, poll := apiOp{"submit", "o", "x"}, apiOp{"get", "o", ""}, apiOp{"cancel", "o", ""}, apiOp{"erase", "o", ""}, apiOp{"poll", "o", ""}
	put, show, del := apiOp{"put", "s-", "x"}, apiOp{"show", "s-", ""}, apiOp{"delete", "s-", ""}
	lost := apiResult{pending: true}
	for name, c := range map[string]struct {
		key   string
		steps []step
		right bool
	}{
		"in turn":                    {"o", []step{{1, 2, submit, order(201, "processing", "x")}, {3, 4, get, order(200, "processing", "x")}, {5, 6, cancel, order(200, "cancelled", "x")}, {7, 8, erase, order(204, "", "")}, {9, 10, get, order(410, "", "")}}, true},
		"lost after it was promised": {"o", []step{{1, 2, submit, order(201, "processing", "x")}, {3, 4, get, order(404, "", "")}}, false},
		"created twice":              {"o", []step{{1, 5, submit, order(201, "processing", "x")}, {2, 4, submit, order(201, "processing", "x")}}, false},
		"seen before it was told":    {"o", []step{{1, 9, submit, order(201, "processing", "x")}, {3, 4, get, order(200, "processing", "x")}}, true},
		"seen and gone":              {"o", []step{{1, 9, submit, order(201, "processing", "x")}, {3, 4, get, order(200, "processing", "x")}, {5, 6, get, order(404, "", "")}}, false},
		"no answer, there":           {"o", []step{{1, never, submit, lost}, {3, 4, get, order(200, "processing", "x")}}, true},
		"no answer, absent":          {"o", []step{{1, never, submit, lost}, {3, 4, get, order(404, "", "")}}, true},
		"no answer, comes late":      {"o", []step{{1, never, submit, lost}, {3, 4, get, order(404, "", "")}, {5, 6, get, order(200, "processing", "x")}}, true},
		"no answer, comes and goes":  {"o", []step{{1, never, submit, lost}, {3, 4, get, order(200, "processing", "x")}, {5, 6, get, order(404, "", "")}}, false},
		"another content":            {"o", []step{{1, 2, submit, order(201, "processing", "x")}, {3, 4, get, order(200, "processing", "y")}}, false},
		"cancelled and completed":    {"o", []step{{1, 2, submit, order(201, "processing", "x")}, {3, 4, cancel, order(200, "cancelled", "x")}, {5, 6, poll, order(200, "completed", "x")}}, false},
		"a cancel undone":            {"o", []step{{1, 2, submit, order(201, "processing", "x")}, {3, 4, cancel, order(200, "cancelled", "x")}, {5, 6, get, order(200, "processing", "x")}}, false},
		"a cancel without answer":    {"o", []step{{1, 2, submit, order(201, "processing", "x")}, {3, never, cancel, lost}, {5, 6, poll, order(200, "completed", "x")}}, true},
		"polled after its end":       {"o", []step{{1, 2, submit, order(201, "processing", "x")}, {3, 4, poll, order(200, "completed", "x")}, {5, 6, poll, order(200, "completed", "x")}}, false},
		"polls that join":            {"o", []step{{1, 2, submit, order(201, "processing", "x")}, {3, 6, poll, order(200, "completed", "x")}, {4, 7, poll, order(200, "completed", "x")}}, true},
		"erased while it lives":      {"o", []step{{1, 2, submit, order(201, "processing", "x")}, {3, 4, erase, order(204, "", "")}}, false},
		"a seller that comes back":   {"s-", []step{{1, 2, put, apiResult{status: 201, arg: "x"}}, {3, 4, del, apiResult{status: 204}}, {5, 6, show, apiResult{status: 200, arg: "x"}}}, false},
		"a seller put and shown":     {"s-", []step{{1, 2, put, apiResult{status: 201, arg: "x"}}, {3, 4, show, apiResult{status: 200, arg: "x"}}}, true},
	} {
		var ops []porcupine.Operation
		for i, s := range c.steps {
			ops = append(ops, porcupine.Operation{ClientId: i, Input: s.op, Output: s.result, Call: s.call, Return: s.end})
		}
		if wrong := judgeHistory(c.key, ops); (wrong == "") != c.right {
			t.Errorf("%s: %q", name, wrong)
		}
	}
}
