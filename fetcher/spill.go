package fetcher

import (
	"crypto/rand"
	"io"
	"strconv"
	"unicode/utf8"
)

const (
	maxDepth    = 64       // of nesting; the root is 1 (SPEC §2)
	spillChunk  = 32 << 10 // read at once
	maxHold     = 16 << 10 // bytes of one string, as written, that are passed on
	maxHoldSink = 4 << 10  // ... of one that a sink would take
	maxLiteral  = 16 << 10 // of a number
	spilledMark = "spilled:"
)

// sink takes a long string of the answer, unescaped, piece by piece. An error
// ends the poll: it is a fault of ours, never what is wrong with the string.
type sink interface {
	write(p []byte) error
	finish() error
	abort() // instead of finish
}

// spill passes a JSON text on with its long strings taken out, so that the
// decoder behind it needs little memory whatever it is fed. A long file_base64
// or result_text goes to a sink, and a placeholder that nobody can guess
// stands in its stead; any other long string is cut, which changes nothing, for
// whatever is kept of it is shorter still. A result_text that is an object or
// array is copied to a sink while it passes. Space between tokens is reduced.
//
// It checks what the decoder gets no more to see (UTF-8, escapes, control
// characters in long strings) and else trusts in the decoder: of a text that is
// not JSON it makes another that is not.
type spill struct {
	src      io.Reader
	open     func(place) sink // nil, or a nil sink: the string is cut
	maxDepth int
	nonce    string

	in       []byte
	pos, end int
	tail     []byte // the first bytes of a character whose rest is yet to come
	out      []byte
	outPos   int
	err      error // after out

	stack   []container
	name    field // of the value to come, in an object
	expect  bool  // a string here is a member's name
	space   bool  // the last byte passed on was a space
	literal int   // bytes of the number or word that is passing

	str  stringState
	done []sink // finished, by the number in their placeholder

	copying  sink // of a result_text that is an object or array
	copyAt   int  // its depth
	copyFrom int  // an index of in
	copied   [2]sink
}

type container struct {
	place  place
	object bool
}

func newSpill(src io.Reader, depth int, k *keeper) *spill {
	s := &spill{src: src, maxDepth: depth, in: make([]byte, spillChunk), nonce: rand.Text()}
	if k != nil {
		s.open = k.sink
	}
	return s
}

// errControl and the like are what is wrong with an answer beyond what the decoder is shown.
var (
	errControl = &syntaxError{detail: "not JSON: a control character in a string"}
	errEscape  = &syntaxError{detail: "not JSON: a broken escape sequence in a string"}
	errEarly   = &syntaxError{"not JSON: it ends too early", true}
	errUTF8    = &syntaxError{detail: "the answer is not UTF-8"}
	errDepth   = &syntaxError{detail: "the answer is nested deeper than " + strconv.Itoa(maxDepth)}
	errName    = &syntaxError{detail: "the answer has a member name of more than 16 KiB"}
	errLiteral = &syntaxError{detail: "the answer has a number of more than 16 KiB"}
)

func (s *spill) Read(p []byte) (int, error) {
	for s.outPos == len(s.out) {
		if s.err != nil {
			return 0, s.err
		}
		s.out, s.outPos = s.out[:0], 0
		s.fill()
	}
	n := copy(p, s.out[s.outPos:])
	s.outPos += n
	return n, nil
}

// fill reads one chunk and passes it on.
func (s *spill) fill() {
	n, err := s.src.Read(s.in)
	s.pos, s.end = 0, n
	if !s.validUTF8(s.in[:n]) {
		s.err = errUTF8
		return
	}
	if err == io.EOF && len(s.tail) > 0 {
		s.err = errEarly // in the middle of a character
		return
	}
	if e := s.chunk(); e != nil {
		s.err = e
		return
	}
	s.err = err
}

// validUTF8 checks a chunk, whose last character may go on in the next.
func (s *spill) validUTF8(p []byte) bool {
	for len(s.tail) > 0 && len(p) > 0 {
		s.tail = append(s.tail, p[0])
		p = p[1:]
		if utf8.FullRune(s.tail) {
			if !utf8.Valid(s.tail) {
				return false
			}
			s.tail = s.tail[:0]
		}
	}
	whole := wholeRunes(p)
	s.tail = append(s.tail, p[whole:]...)
	return utf8.Valid(p[:whole])
}

// wholeRunes is the length of p without a last character that is not complete.
func wholeRunes(p []byte) int {
	for i := len(p) - 1; i >= 0 && i >= len(p)-utf8.UTFMax; i-- {
		if utf8.RuneStart(p[i]) {
			if !utf8.FullRune(p[i:]) {
				return i
			}
			break
		}
	}
	return len(p)
}

func (s *spill) chunk() error {
	s.copyFrom = 0
	for s.pos < s.end {
		var err error
		if s.str.inside {
			err = s.inString()
		} else {
			err = s.outside()
		}
		if err != nil {
			return err
		}
	}
	if s.copying != nil {
		return s.copying.write(s.in[s.copyFrom:s.end])
	}
	return nil
}

// outside passes on one byte that is not in a string.
func (s *spill) outside() error {
	c := s.in[s.pos]
	switch c {
	case ' ', '\t', '\r', '\n':
		s.pos++
		if !s.space {
			s.out = append(s.out, ' ')
		}
		s.space, s.literal = true, 0
		return nil
	case '"':
		s.beginString()
		s.pos++
	case '{', '[':
		if err := s.push(c); err != nil {
			return err
		}
		s.out = append(s.out, c)
		s.pos++
	case '}', ']':
		s.out = append(s.out, c)
		s.pos++
		if err := s.pop(); err != nil {
			return err
		}
	case ',':
		s.expect = len(s.stack) > 0 && s.stack[len(s.stack)-1].object
		s.name = noField
		s.out = append(s.out, c)
		s.pos++
	default:
		s.out = append(s.out, c)
		s.pos++
		s.space = false
		if s.literal++; s.literal > maxLiteral {
			return errLiteral
		}
		return nil
	}
	s.space, s.literal = false, 0
	return nil
}

// here is the place of a value that begins with first.
func (s *spill) here(first byte) place {
	if len(s.stack) == 0 {
		return atRoot.child(noField, first)
	}
	return s.stack[len(s.stack)-1].place.child(s.name, first)
}

func (s *spill) push(c byte) error {
	if len(s.stack) == s.maxDepth {
		return errDepth
	}
	at := s.here(c)
	if at == atText {
		if s.copying == nil && s.open != nil {
			if s.copying = s.open(atText); s.copying != nil {
				s.copyAt, s.copyFrom = len(s.stack), s.pos
			}
		}
		at = elsewhere
	}
	s.stack = append(s.stack, container{at, c == '{'})
	s.expect, s.name = c == '{', noField
	return nil
}

func (s *spill) pop() error {
	if len(s.stack) == 0 {
		return nil // the decoder will say so
	}
	s.stack = s.stack[:len(s.stack)-1]
	s.expect, s.name = false, noField
	if s.copying == nil || len(s.stack) != s.copyAt {
		return nil
	}
	c := s.copying
	if err := c.write(s.in[s.copyFrom:s.pos]); err != nil {
		return err
	}
	s.copying = nil
	s.copied[level(s.stack[len(s.stack)-1].place == inResult)] = c
	return c.finish()
}

// level is the index of an answer's own members (0) or those of its result (1).
func level(inResult bool) int {
	if inResult {
		return 1
	}
	return 0
}

// spilled is the sink behind a placeholder, or nil if text is none.
func (s *spill) spilled(text string) sink {
	prefix := spilledMark + s.nonce + ":"
	if len(text) <= len(prefix) || text[:len(prefix)] != prefix {
		return nil
	}
	n, err := strconv.Atoi(text[len(prefix):])
	if err != nil || n < 0 || n >= len(s.done) {
		return nil
	}
	return s.done[n]
}

// abort drops what is not finished.
func (s *spill) abort() {
	if s.str.sink != nil {
		s.str.sink.abort()
		s.str.sink = nil
	}
	if s.copying != nil {
		s.copying.abort()
		s.copying = nil
	}
}
