package fetcher

import (
	"bytes"
	"strings"
	"sync"
)

const (
	maxEncoded  = 50 << 20 // characters of a file_base64 (SPEC §2)
	maxDataHead = 1 << 10  // of data:…;base64,
	sniffBytes  = 3072     // that are enough to know a file's type
)

// Classes of characters in base64; below 64 it is the value of one.
const (
	b64Bad = 0xFF - iota
	b64Break
	b64Pad
)

// base64Value is the value or class of each character of both alphabets.
var base64Value = func() (t [256]byte) {
	for i := range t {
		t[i] = b64Bad
	}
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		t[c] = byte(i)
	}
	t['-'], t['_'] = 62, 63
	t['\r'], t['\n'], t['='] = b64Break, b64Break, b64Pad
	return t
}()

// base64Decoder decodes what SPEC §2 admits, piece by piece: the standard or
// the URL-safe alphabet, not mixed; padding right or none; line breaks and
// loose tail bits tolerated.
type base64Decoder struct {
	acc      uint32
	n        int // characters in acc
	pads     int
	chars    int64
	standard bool // + or / was seen
	urlSafe  bool // - or _ was seen
}

// decode appends what p decodes to; problem says what is wrong with it, or is empty.
func (d *base64Decoder) decode(dst, p []byte) (out []byte, problem string) {
	acc, n := d.acc, d.n
	for _, c := range p {
		v := base64Value[c]
		if v < 62 && d.pads == 0 {
			acc = acc<<6 | uint32(v)
			if n++; n == 4 {
				dst = append(dst, byte(acc>>16), byte(acc>>8), byte(acc))
				acc, n = 0, 0
			}
			continue
		}
		switch {
		case v == b64Break:
			d.chars-- // not counted
			continue
		case v == b64Pad:
			d.pads++
			if d.pads > 2 || n+d.pads > 4 || n < 2 {
				return dst, "has padding (=) that does not fit"
			}
			continue
		case v == b64Bad:
			return dst, "has a character that is not base64"
		case d.pads > 0:
			return dst, "goes on after its padding (=)"
		case c == '+' || c == '/':
			d.standard = true
		default:
			d.urlSafe = true
		}
		if d.standard && d.urlSafe {
			return dst, "mixes the standard and the URL-safe alphabet"
		}
		acc = acc<<6 | uint32(v)
		if n++; n == 4 {
			dst = append(dst, byte(acc>>16), byte(acc>>8), byte(acc))
			acc, n = 0, 0
		}
	}
	d.acc, d.n = acc, n
	if d.chars += int64(len(p)); d.chars > maxEncoded {
		return dst, "is longer than " + itoa(maxEncoded) + " characters"
	}
	return dst, ""
}

// end appends the last bytes.
func (d *base64Decoder) end(dst []byte) (out []byte, problem string) {
	switch {
	case d.n == 1:
		return dst, "ends in the middle of a byte"
	case d.pads > 0 && d.n+d.pads != 4:
		return dst, "has padding (=) that does not fit"
	case d.n == 2:
		dst = append(dst, byte(d.acc>>4))
	case d.n == 3:
		dst = append(dst, byte(d.acc>>10), byte(d.acc>>2))
	}
	return dst, ""
}

// base64Sink decodes a file_base64 into a file of the result store. What is
// wrong with it is in bad once it is finished: it matters only if the file is wanted.
type base64Sink struct {
	k    *keeper
	dec  base64Decoder
	kept *keptFile
	bad  string
	data string // the type that a data: prefix names
	body bool   // the prefix, if there is one, is over
	pre  []byte // what may be a prefix
	head []byte // the first bytes of the file
}

// chunkBytes is how much is decoded at once.
const chunkBytes = 32 << 10

var chunks = sync.Pool{New: func() any { b := make([]byte, 0, chunkBytes); return &b }}

func (s *base64Sink) write(p []byte) error {
	if s.bad != "" {
		return nil
	}
	if !s.body {
		s.pre = append(s.pre, p[:min(len(p), maxDataHead+1)]...)
		rest, more := s.prefix()
		if more {
			return nil
		}
		if s.bad != "" {
			return nil
		}
		tail := p[min(len(p), maxDataHead+1):]
		s.body = true
		pre := s.pre[len(s.pre)-rest:]
		s.pre = nil
		if err := s.decode(pre); err != nil {
			return err
		}
		p = tail
	}
	return s.decode(p)
}

// prefix looks for data:…;base64, in pre: how many bytes after it are there, or more is needed.
func (s *base64Sink) prefix() (rest int, more bool) {
	const scheme = "data:"
	n := min(len(s.pre), len(scheme))
	if !strings.EqualFold(string(s.pre[:n]), scheme[:n]) {
		return len(s.pre), false
	}
	comma := bytes.IndexByte(s.pre, ',')
	if comma < 0 {
		if len(s.pre) > maxDataHead {
			s.bad = "begins with data: but not with data:…;base64,"
		}
		return 0, s.bad == ""
	}
	head := string(s.pre[len(scheme):comma])
	const coding = ";base64"
	if len(head) < len(coding) || !strings.EqualFold(head[len(head)-len(coding):], coding) {
		s.bad = "begins with data: but not with data:…;base64,"
		return 0, false
	}
	s.data = head[:len(head)-len(coding)]
	return len(s.pre) - comma - 1, false
}

// decode decodes and keeps.
func (s *base64Sink) decode(p []byte) error {
	out := chunks.Get().(*[]byte)
	defer chunks.Put(out)
	for len(p) > 0 && s.bad == "" {
		part := p[:min(len(p), chunkBytes)]
		p = p[len(part):]
		var b []byte
		b, s.bad = s.dec.decode((*out)[:0], part)
		if s.bad == "" {
			if err := s.keep(b); err != nil {
				return err
			}
		}
	}
	if s.bad != "" {
		s.abort()
	}
	return nil
}

func (s *base64Sink) keep(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if s.kept == nil {
		s.kept = &keptFile{k: s.k}
	}
	if n := sniffBytes - len(s.head); n > 0 {
		s.head = append(s.head, b[:min(n, len(b))]...)
	}
	if err := s.kept.write(b); err != nil {
		return err
	}
	if s.kept.over {
		s.bad = tooMuch
	}
	return nil
}

// tooMuch is what is wrong with a file that does not fit.
const tooMuch = "makes the result larger than allowed (results.max_per_order)"

func (s *base64Sink) finish() error {
	if s.bad != "" {
		return nil
	}
	if !s.body {
		if err := s.decode(s.pre); err != nil || s.bad != "" {
			return err
		}
	}
	var tail [2]byte
	var b []byte
	if b, s.bad = s.dec.end(tail[:0]); s.bad != "" {
		s.abort()
		return nil
	}
	if err := s.keep(b); err != nil {
		return err
	}
	if s.kept == nil {
		s.bad = "is empty"
		return nil
	}
	if s.bad != "" {
		return nil
	}
	return s.kept.finish()
}

func (s *base64Sink) abort() {
	if s.kept != nil {
		s.kept.abort()
	}
}
