package fetcher

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// stringState is the string that is passing.
type stringState struct {
	inside bool
	isName bool
	place  place
	hold   []byte // as written, until it is known to be long
	sink   sink
	cut    bool
	esc    [6]byte // an escape sequence that is not complete
	escLen int
	high   rune // a high surrogate whose other half may come next
}

func (s *spill) beginString() {
	s.str = stringState{inside: true, isName: s.expect, hold: s.str.hold[:0]}
	if !s.expect {
		s.str.place = s.here('"')
	}
}

// inString takes in as much of a string as there is.
func (s *spill) inString() error {
	st := &s.str
	if st.escLen > 0 {
		return s.inEscape()
	}
	start := s.pos
	for s.pos < s.end && !stringEnds[s.in[s.pos]] {
		s.pos++
	}
	if s.pos > start {
		if err := s.take(s.in[start:s.pos], nil); err != nil {
			return err
		}
	}
	if s.pos == s.end {
		return nil
	}
	c := s.in[s.pos]
	s.pos++
	switch c {
	case '"':
		return s.endString()
	case '\\':
		st.esc[0], st.escLen = c, 1
		return nil
	}
	return errControl
}

// stringEnds are the bytes that end a plain run of a string.
var stringEnds = func() (t [256]bool) {
	for c := range 0x20 {
		t[c] = true
	}
	t['"'], t['\\'] = true, true
	return t
}()

// inEscape takes one byte of an escape sequence.
func (s *spill) inEscape() error {
	st := &s.str
	c := s.in[s.pos]
	s.pos++
	st.esc[st.escLen] = c
	st.escLen++
	var r rune
	if st.escLen == 2 {
		if c == 'u' {
			return nil
		}
		i := strings.IndexByte(`"\/bfnrt`, c)
		if i < 0 {
			return errEscape
		}
		r = rune("\"\\/\b\f\n\r\t"[i])
	} else {
		if !isHex(c) {
			return errEscape
		}
		if st.escLen < 6 {
			return nil
		}
		n, err := strconv.ParseUint(string(st.esc[2:6]), 16, 16)
		if err != nil {
			return errEscape
		}
		r = rune(n)
	}
	raw := st.esc[:st.escLen]
	st.escLen = 0
	return s.take(raw, &r)
}

// take takes a plain run, or one escape sequence that stands for r.
func (s *spill) take(raw []byte, r *rune) error {
	st := &s.str
	switch {
	case st.cut:
		return nil
	case st.sink != nil:
		return s.pour(raw, r)
	}
	st.hold = append(st.hold, raw...)
	st.high = 0
	if r != nil && 0xD800 <= *r && *r < 0xDC00 {
		st.high = *r
	}
	switch n := len(st.hold); {
	case n <= maxHoldSink, n <= maxHold && st.place != atBase64 && st.place != atText:
		return nil
	}
	return s.long()
}

// pour gives the sink a plain run or an escaped character.
func (s *spill) pour(raw []byte, r *rune) error {
	st := &s.str
	var b [2 * utf8.UTFMax]byte
	p := b[:0]
	if high := st.high; high != 0 {
		st.high = 0
		if r != nil && 0xDC00 <= *r && *r < 0xE000 {
			return st.sink.write(utf8.AppendRune(p, (high-0xD800)<<10|(*r-0xDC00)+0x10000))
		}
		p = utf8.AppendRune(p, utf8.RuneError)
	}
	switch {
	case r == nil:
		if len(p) > 0 {
			if err := st.sink.write(p); err != nil {
				return err
			}
		}
		if len(raw) == 0 {
			return nil
		}
		return st.sink.write(raw)
	case 0xD800 <= *r && *r < 0xDC00:
		st.high = *r
	default:
		p = utf8.AppendRune(p, *r) // a low surrogate alone becomes U+FFFD
	}
	if len(p) == 0 {
		return nil
	}
	return st.sink.write(p)
}

// long decides what becomes of a string that is longer than maxHold.
func (s *spill) long() error {
	st := &s.str
	if st.isName {
		return errName
	}
	if s.copying == nil && s.open != nil && (st.place == atBase64 || st.place == atText) {
		st.sink = s.open(st.place)
	}
	if st.sink == nil {
		st.cut = true
		s.out = append(append(append(s.out, '"'), st.hold[:wholeRunes(st.hold)]...), '"')
		return nil
	}
	held := st.hold
	if st.high != 0 {
		held = held[:len(held)-len(st.esc)]
	}
	whole := wholeRunes(held)
	if err := st.sink.write(unquote(held[:whole])); err != nil {
		return err
	}
	if whole == len(held) {
		return nil
	}
	return st.sink.write(held[whole:])
}

func (s *spill) endString() error {
	st := &s.str
	st.inside = false
	switch {
	case st.cut:
	case st.sink != nil:
		if err := s.pour(nil, nil); err != nil {
			return err
		}
		sk := st.sink
		st.sink = nil
		s.out = fmt.Appendf(s.out, `"%s%s:%d"`, spilledMark, s.nonce, len(s.done))
		s.done = append(s.done, sk)
		return sk.finish()
	default:
		s.out = append(append(append(s.out, '"'), st.hold...), '"')
	}
	if !st.isName {
		return nil
	}
	s.expect = false
	s.name = fieldOf(unquote(st.hold))
	return nil
}

// unquote unescapes the inside of a JSON string whose escapes are known to be
// well formed; half a surrogate pair becomes U+FFFD.
func unquote(inside []byte) []byte {
	if bytes.IndexByte(inside, '\\') < 0 {
		return inside
	}
	return unquoteString(append(append(append(make([]byte, 0, len(inside)+2), '"'), inside...), '"'))
}

// unquoteString is unquote for a string with its quotes.
func unquoteString(quoted []byte) []byte {
	// The error can only be about lone surrogates, and they are replaced all the same.
	text, _ := jsontext.AppendUnquote(nil, quoted)
	return text
}
