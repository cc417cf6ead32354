package fakeseller

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"
)

// Script is what a seller answers to the polls of one order, one step per
// poll; the last step is repeated. An empty script is one empty Step.
type Script []Step

// Step answers one poll. The zero value is status 200 with an empty body.
type Step struct {
	Status int         // 0: 200
	Header http.Header // beside Content-Type: application/json, which it may replace

	// The body: the first of these that is set.
	Func http.HandlerFunc // answers by itself; Status and Header are not used
	Body []byte
	JSON any

	Delay time.Duration // before anything is answered; ends early with the client or the server
	Hang  bool          // never answers; ends with the client or the server
	Drop  bool          // closes the connection without an answer
	Drip  time.Duration // sends the body one byte at a time with this pause between them, and white space for ever after it
	Gzip  bool          // compresses the body if the client takes gzip

	// Gate, if not nil, may answer with another step in place of this one; the
	// script then stays where it is. A server calls gates one at a time; they must not call the server.
	Gate func(Poll) *Step
}

// gated returns the script with a gate before each of its steps, in front of gates that are there.
func (s Script) gated(gate func(Poll) *Step) Script {
	return s.each(func(step Step) Step {
		inner := step.Gate
		step.Gate = func(p Poll) *Step {
			if other := gate(p); other != nil || inner == nil {
				return other
			}
			return inner(p)
		}
		return step
	})
}

// each returns a copy of the script with every step changed.
func (s Script) each(change func(Step) Step) Script {
	out := make(Script, 0, len(s))
	for _, step := range s {
		out = append(out, change(step))
	}
	return out
}

// rule is a script for the orders that match a pattern.
type rule struct {
	pattern string
	script  Script
}

// ruleset finds the rule of an order.
type ruleset struct {
	exact  map[string]*rule // by seller/order
	globs  []*rule          // the latest last
	others *rule
}

func newRuleset() ruleset {
	return ruleset{exact: make(map[string]*rule), others: &rule{script: Processing()}}
}

func (r *ruleset) find(seller, order string) *rule {
	name := seller + "/" + order
	if found := r.exact[name]; found != nil {
		return found
	}
	for i := len(r.globs) - 1; i >= 0; i-- {
		if ok, err := path.Match(r.globs[i].pattern, name); err == nil && ok {
			return r.globs[i]
		}
	}
	return r.others
}

// Handle sets the script of an order, "seller/order", or of all orders that
// match a pattern in the syntax of path.Match: "seller/*", "*/slow-*". A whole
// name goes before a pattern, a later pattern before an earlier one. Orders
// that are polled already begin the new script at its first step. A malformed pattern panics.
func (s *Server) Handle(pattern string, script Script) {
	if _, err := path.Match(pattern, ""); err != nil || strings.Count(pattern, "/") != 1 {
		panic(fmt.Sprintf("fakeseller: %q is not of the form seller/order", pattern))
	}
	if len(script) == 0 {
		script = Script{{}}
	}
	r := &rule{pattern: pattern, script: script}
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.ContainsAny(pattern, `*?[\`) {
		s.rules.globs = append(s.rules.globs, r)
		return
	}
	s.rules.exact[pattern] = r
}

// serve answers one poll.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if len(parts) != 3 || parts[1] != "status" || parts[0] == "" || parts[2] == "" {
		http.Error(w, `{"error":"no such page"}`, http.StatusNotFound)
		return
	}
	step, done := s.begin(parts[0], parts[2], r)
	defer done()
	step.answer(w, r)
}

// answer sends what the step says.
func (p *Step) answer(w http.ResponseWriter, r *http.Request) {
	if p.Hang {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	if !pause(r.Context(), p.Delay) || p.Drop {
		panic(http.ErrAbortHandler)
	}
	if p.Func != nil {
		p.Func(w, r)
		return
	}
	body := p.Body
	if body == nil && p.JSON != nil {
		var err error
		if body, err = json.Marshal(p.JSON); err != nil {
			panic(fmt.Sprintf("fakeseller: a step's JSON: %v", err)) // a script that can't be played is a fault of the test
		}
	}
	w.Header().Set("Content-Type", "application/json")
	for name, values := range p.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	if p.Gzip && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		body = zipped(body)
		w.Header().Set("Content-Encoding", "gzip")
	}
	status := p.Status
	if status == 0 {
		status = http.StatusOK
	}
	w.WriteHeader(status)
	if p.Drip > 0 {
		drip(w, r, body, p.Drip)
		return
	}
	_, _ = w.Write(body) // a client that left is no concern of ours, here and below
}

// drip sends a body byte by byte and then white space until the client leaves.
func drip(w http.ResponseWriter, r *http.Request, body []byte, every time.Duration) {
	control := http.NewResponseController(w)
	for i := 0; ; i++ {
		c := []byte{' '}
		if i < len(body) {
			c[0] = body[i]
		}
		if _, err := w.Write(c); err != nil || control.Flush() != nil || !pause(r.Context(), every) {
			panic(http.ErrAbortHandler)
		}
	}
}

// pause waits, and reports false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func zipped(body []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(body) // a bytes.Buffer takes everything
	_ = z.Close()
	return out.Bytes()
}
