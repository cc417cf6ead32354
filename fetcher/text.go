package fetcher

import (
	"bytes"
	"errors"
	"io"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"poller/order"
)

// textSink takes a result_text that may be long: it becomes a file of the
// result store once it is longer than an order may carry itself.
type textSink struct {
	k     *keeper
	buf   []byte // all of it, while it is short
	kept  *keptFile
	full  bool // buf is in kept
	solid bool // it is not blank
	part  []byte
	json  *jsonCheck
}

func (s *textSink) write(p []byte) error {
	s.look(p)
	if !s.full && len(s.buf)+len(p) <= order.MaxInlineText {
		s.buf = append(s.buf, p...)
		return nil
	}
	if !s.full {
		s.full = true
		s.kept = &keptFile{k: s.k}
		s.json = startJSONCheck()
		s.json.write(s.buf)
		if err := s.kept.write(s.buf); err != nil {
			return err
		}
		s.buf = nil
	}
	s.json.write(p)
	return s.kept.write(p)
}

// look finds out whether the text is more than space.
func (s *textSink) look(p []byte) {
	for len(p) > 0 && !s.solid {
		if len(s.part) > 0 {
			s.part = append(s.part, p[0])
			p = p[1:]
			if !utf8.FullRune(s.part) {
				continue
			}
			s.solid = !blank(s.part)
			s.part = s.part[:0]
			continue
		}
		whole := wholeRunes(p)
		s.solid = !blank(p[:whole])
		s.part = append(s.part, p[whole:]...)
		return
	}
}

func (s *textSink) finish() error {
	if !s.full {
		return nil
	}
	s.json.end()
	return s.kept.finish()
}

func (s *textSink) abort() {
	if s.json != nil {
		s.json.end()
	}
	if s.kept != nil {
		s.kept.abort()
	}
}

// blank reports whether a text is nothing but space (Unicode White_Space).
func blank(p []byte) bool { return len(bytes.TrimLeftFunc(p, unicode.IsSpace)) == 0 }

// jsonCheck finds out whether a text too long for memory is JSON, while it
// passes. Its goroutine ends with end, which waits for it.
type jsonCheck struct {
	w    *io.PipeWriter
	done chan struct{}
	err  error
}

func startJSONCheck() *jsonCheck {
	r, w := io.Pipe()
	c := &jsonCheck{w: w, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = checkJSON(newSpill(r, maxTextDepth, nil))
		if c.err == nil {
			c.err = io.EOF
		}
		r.CloseWithError(c.err) // from here on write returns at once
	}()
	return c
}

func (c *jsonCheck) write(p []byte) {
	// An error says that it is not JSON; c.err says it as well.
	_, _ = c.w.Write(p)
}

func (c *jsonCheck) end() {
	c.w.Close()
	<-c.done
}

// ok reports the finding; end was called.
func (c *jsonCheck) ok() bool { return errors.Is(c.err, io.EOF) }

// maxTextDepth is how deep a result_text may be nested: as deep as the decoder goes.
const maxTextDepth = 10000

// checkJSON reads one JSON text to its end. It may have a member twice: this
// text is the buyer's, poller takes nothing from it.
func checkJSON(r io.Reader) error {
	dec := jsontext.NewDecoder(r, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if err := dec.SkipValue(); err != nil {
		return err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return errTrailing
	}
	return nil
}
