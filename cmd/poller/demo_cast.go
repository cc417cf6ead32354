package main

import (
	"fmt"
	"time"

	"poller/internal/fakeseller"
	"poller/order"
)

// A demoSeller is one pretended AI tool, with a host of its own.
type demoSeller struct {
	id     string
	plays  string        // what it does, for the spectator
	down   time.Duration // its host is cut off for so long
	locked bool          // registered with a wrong key
	orders []demoOrder
}

// A demoOrder is one order and how it must end.
type demoOrder struct {
	id       string
	script   fakeseller.Script
	deadline time.Duration // from now; 0: the usual one
	cancel   time.Duration // the platform cancels it after so long

	state order.State
	code  string // of the failure
}

// The demo's clock: everything that takes a quarter of an hour or hours in earnest takes seconds.
const (
	demoTick     = "2s"
	demoGiveUp   = 4 * time.Second
	demoDeadline = 8 * time.Second
	demoLimit    = 30 * time.Second // by then it must be over
)

func completes(id string, s fakeseller.Script) demoOrder {
	return demoOrder{id: id, script: s, state: order.StateCompleted}
}

func fails(id, code string, s fakeseller.Script) demoOrder {
	return demoOrder{id: id, script: s, state: order.StateFailed, code: code}
}

// demoCast is who takes part: orders of every kind.
func demoCast() []demoSeller {
	soon := fakeseller.Progressing
	// A clock runs only while the seller answers for other orders, so these answer a moment after the bad ones.
	healthy := func(result string) fakeseller.Script {
		return fakeseller.Slow(100*time.Millisecond, soon(5, fakeseller.TextResult(result)))
	}
	text := fakeseller.TextResult
	throttled := fakeseller.Throttle(1, 1, text("my turn at last"))
	flaky := fakeseller.Flaky(3, soon(2, text("done in spite of all")))

	locked := fails("locked-1", order.CodeDeadlineExceeded, text("nobody will see this"))
	locked.deadline = demoDeadline
	hanging := fails("hanging-1", order.CodeDeadlineExceeded, fakeseller.Hang())
	hanging.deadline = demoDeadline
	unwanted := demoOrder{id: "steady-2", script: fakeseller.Processing(), cancel: 5 * time.Second, state: order.StateCancelled}

	return []demoSeller{
		{id: "quick", plays: "answers at once: a result of each form", orders: []demoOrder{
			completes("text-1", text("Once upon a time …")),
			completes("html-1", fakeseller.HTMLResult("<h1>Report</h1>")),
			completes("json-1", fakeseller.JSONResult(map[string]any{"score": 0.98})),
			completes("csv-1", fakeseller.CSVResult("a,b\n1,2\n")),
			completes("url-1", fakeseller.URLResult("https://results.example/42")),
		}},
		{id: "files", plays: "sends files", orders: []demoOrder{
			completes("file-1", soon(1, fakeseller.FileBase64(fakeseller.File{Name: "voice.mp3", MIME: "audio/mpeg", Size: 300 << 10, Seed: 1}))),
			completes("files-3", soon(2, fakeseller.Files(fakeseller.GeneratedFiles(3, 64<<10)...))),
			completes("big-1", soon(3, fakeseller.FileBase64(fakeseller.File{Name: "film.mp4", MIME: "video/mp4", Size: 4 << 20, Seed: 2}))),
		}},
		{id: "slow", plays: "takes its time for each answer", orders: []demoOrder{
			completes("slow-1", fakeseller.Slow(700*time.Millisecond, soon(3, text("worth the wait")))),
			completes("slow-2", fakeseller.Slow(900*time.Millisecond, soon(4, text("worth the wait")))),
		}},
		{id: "steady", plays: "works for long; one buyer changes his mind", orders: []demoOrder{
			completes("steady-1", soon(5, text("there it is"))),
			unwanted,
		}},
		{id: "failing", plays: "says that the job failed", orders: []demoOrder{
			fails("failing-1", order.CodeSellerFailed, fakeseller.Failed("the prompt was refused")),
			fails("failing-2", order.CodeSellerFailed, fakeseller.FailAfter(2, "out of GPU memory")),
		}},
		{id: "flaky", plays: "answers every third poll with HTTP 500", orders: []demoOrder{
			completes("flaky-1", flaky), completes("flaky-2", flaky),
		}},
		{id: "forgetful", plays: "lost one order (404), works on another", orders: []demoOrder{
			fails("lost-1", order.CodeNotFound, fakeseller.NotFound()),
			completes("kept-1", healthy("this one I know")),
		}},
		{id: "garbled", plays: "sends broken JSON, and a result on http:", orders: []demoOrder{
			fails("garbled-1", order.CodeInvalidResponse, fakeseller.InvalidJSON()),
			fails("rejected-1", order.CodeRejectedResult, fakeseller.URLResult("http://results.example/43")),
			completes("sound-1", healthy("not all is bad")),
		}},
		{id: "busy", plays: "takes one poll a second: 429", orders: []demoOrder{
			completes("busy-1", throttled), completes("busy-2", throttled), completes("busy-3", throttled),
		}},
		{id: "rebooting", plays: "is down at first, then comes back", down: 5 * time.Second, orders: []demoOrder{
			completes("rebooting-1", text("back again")),
		}},
		{id: "locked", plays: "was registered with a wrong key: 401", locked: true, orders: []demoOrder{locked}},
		{id: "hanging", plays: "takes the request and never answers", orders: []demoOrder{hanging}},
	}
}

// judge says what is wrong with how the order ended, "" for nothing.
func (o *demoOrder) judge(got *order.View) string {
	code := ""
	if got.Failure != nil {
		code = got.Failure.Code
	}
	if got.State == o.state && code == o.code {
		return ""
	}
	return fmt.Sprintf("%s: %s, expected %s", o.id, joined(" ", string(got.State), code), joined(" ", string(o.state), o.code))
}
