package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"poller/order"
)

// How an NDJSON submission is read: a commit takes what has come within a
// moment, up to a bound. Memory is bounded by lines waiting (queued portions) and lines in a commit.
const (
	maxLine       = 64 << 10              // bytes of a line, without its end
	portionLines  = 128                   // lines handed on together
	portionBytes  = 128 << 10             // ... or bytes
	queuedPortion = 4                     // read ahead while a commit is under way
	batchLines    = 2000                  // lines in a commit
	batchBytes    = 1 << 20               // ... or bytes
	batchMoment   = 20 * time.Millisecond // how long a commit waits for more
	lineTimeout   = 2 * time.Minute       // how long a client may send nothing
)

// A line is one line of an NDJSON submission: an order, or what is wrong with it.
type line struct {
	number  int64
	bytes   int
	order   order.Submission
	problem *Problem
}

// submitMany takes one order a line. The answer waits until all is read, so
// that a client may read nothing before it has sent all; meanwhile it is spooled.
func (a *API) submitMany(w http.ResponseWriter, r *http.Request) {
	answer := newSpool(a.opt.TempDir)
	defer answer.Close()
	m := &many{api: a, ctx: r.Context(), answer: answer, minimal: prefersMinimal(r.Header)}
	err := m.run(w, r.Body)
	if err == nil {
		err = answer.Finish()
	}
	if err != nil {
		// Nothing is acknowledged: the same again tells what was stored.
		writeProblem(w, a.fail("keep the answer to a submission", err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", typeNDJSON)
	if m.minimal {
		h.Set("Preference-Applied", "return=minimal")
	}
	w.WriteHeader(http.StatusOK)
	if err := answer.Copy(w); err != nil {
		a.log.Debug("an answer to a submission was not taken", zap.Error(err))
		panic(http.ErrAbortHandler) // cut short: the last line is missing
	}
	_ = marshal(w, m.sum)
}

// prefersMinimal reports whether the client asked for problems only (RFC 7240).
func prefersMinimal(h http.Header) bool {
	for _, value := range h.Values("Prefer") {
		for p := range strings.SplitSeq(value, ",") {
			p, _, _ = strings.Cut(p, ";")
			name, v, _ := strings.Cut(p, "=")
			if strings.EqualFold(strings.TrimSpace(name), "return") && strings.EqualFold(strings.Trim(strings.TrimSpace(v), `"`), "minimal") {
				return true
			}
		}
	}
	return false
}

// many is one NDJSON submission under way.
type many struct {
	api     *API
	ctx     context.Context //nolint:containedctx // it lives as long as the request
	answer  *spool
	minimal bool
	sum     SubmitSummary
}

// run reads, submits and spools the answer. Its error is of the spool: everything else is said in lines.
func (m *many) run(w http.ResponseWriter, body io.Reader) error {
	control := http.NewResponseController(w)
	cutOff := func() { _ = control.SetReadDeadline(time.Unix(1, 0)) }
	portions := make(chan []line, queuedPortion)
	quit := make(chan struct{}) // nobody takes portions any more
	read := make(chan struct{}) // the reader has ended
	var both sync.WaitGroup
	both.Go(func() {
		defer close(read)
		defer close(portions)
		readLines(&patientReader{r: body, control: control, stopped: m.api.stopped}, m.api.opt.Now, func(p []line) bool {
			select {
			case portions <- p:
				return true
			case <-quit:
				return false
			}
		})
	})
	both.Go(func() {
		select {
		case <-m.api.stopped:
			cutOff()
		case <-quit:
		case <-read:
		}
	})
	defer func() {
		close(quit)
		select {
		case <-read:
		default:
			cutOff()
		}
		both.Wait()
	}()
	for {
		batch := collect(portions)
		if len(batch) == 0 {
			return nil
		}
		if err := m.submit(batch); err != nil {
			return err
		}
	}
}

// collect takes lines until there are enough for a commit, or a moment has passed. None: all is read.
func collect(portions <-chan []line) []line {
	batch, ok := <-portions
	if !ok {
		return nil
	}
	size := 0
	for i := range batch {
		size += batch[i].bytes
	}
	moment := time.NewTimer(batchMoment)
	defer moment.Stop()
	for len(batch) < batchLines && size < batchBytes {
		select {
		case p, ok := <-portions:
			if !ok {
				return batch
			}
			for i := range p {
				size += p[i].bytes
			}
			batch = append(batch, p...)
		case <-moment.C:
			return batch
		}
	}
	return batch
}

// submit commits the lines that are orders, and spools the answer to all of them, in their order.
func (m *many) submit(batch []line) error {
	subs := make([]order.Submission, 0, len(batch))
	for i := range batch {
		if batch[i].problem == nil {
			subs = append(subs, batch[i].order)
		}
	}
	var done []order.Submitted
	var refused *Problem
	if len(subs) > 0 {
		var err error
		if done, err = m.store(subs); err != nil {
			refused = m.api.fail("submit orders", err)
		}
	}
	for i := range batch {
		l := &batch[i]
		a := SubmitLine{Line: l.number, OrderID: l.order.OrderID}
		switch {
		case l.problem != nil:
			a.Problem = l.problem
		case refused != nil:
			a.Problem = refused
		default:
			d := &done[0]
			done = done[1:]
			switch {
			case d.Err != nil:
				a.Problem = m.api.fail("submit order", d.Err)
			case d.Created:
				a.Status = http.StatusCreated
			default:
				a.Status = http.StatusOK
			}
		}
		if err := m.tell(a); err != nil {
			return err
		}
	}
	return nil
}

func (m *many) store(subs []order.Submission) ([]order.Submitted, error) {
	if err := m.api.errStopped(); err != nil {
		return nil, err
	}
	if !m.api.opt.Enough() {
		return nil, order.ErrNoSpace
	}
	done, err := m.api.opt.Store.Submit(m.ctx, subs, m.api.opt.DefaultDeadline(), m.api.opt.Now())
	if err == nil && len(done) != len(subs) {
		err = errors.New("api: the store answered for other orders than were submitted")
	}
	return done, err
}

// tell counts and spools the answer to one line.
func (m *many) tell(a SubmitLine) error {
	m.sum.Lines++
	switch {
	case a.Problem != nil:
		a.Status = a.Problem.Status
		m.sum.Refused++
	case a.Status == http.StatusCreated:
		m.sum.Created++
	default:
		m.sum.Existing++
	}
	if m.minimal && a.Problem == nil {
		return nil
	}
	return m.answer.Put(a)
}
