package fetcher

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// wholeDecoder is a decoder with the buffer that it reads from.
type wholeDecoder struct {
	*jsontext.Decoder
	in bytes.Buffer
}

var decoders = sync.Pool{New: func() any {
	d := new(wholeDecoder)
	d.Decoder = jsontext.NewDecoder(&d.in)
	return d
}}

// use makes the decoder read data, without a copy; nil lets go of what it read before.
func (d *wholeDecoder) use(data []byte) {
	d.in = *bytes.NewBuffer(data)
	d.Reset(&d.in, decoderOptions)
}

// Lone surrogates are let through with the invalid UTF-8 that the option is
// for; UTF-8 is checked before the decoder sees it.
var decoderOptions = jsontext.AllowInvalidUTF8(true)

// readAnswer reads an answer that is whole in memory; data is not kept. The error is a *syntaxError.
func readAnswer(data []byte) (*answer, error) {
	if !utf8.Valid(data) {
		if whole := wholeRunes(data); whole < len(data) && utf8.Valid(data[:whole]) {
			return nil, errEarly
		}
		return nil, errUTF8
	}
	d := decoders.Get().(*wholeDecoder)
	d.use(data)
	defer func() {
		d.use(nil)
		decoders.Put(d)
	}()
	r := &reader{dec: d.Decoder, raw: data}
	return r.read()
}

// streamAnswer reads an answer out of s. many is called before names of very
// many members are kept. An error may also be one of the source, of a sink or of many.
func streamAnswer(s *spill, many func() error) (*answer, error) {
	r := &reader{dec: jsontext.NewDecoder(s, decoderOptions), spill: s, names: &names{many: many}}
	return r.read()
}

// explain makes a *syntaxError of the decoder's own errors.
func (r *reader) explain(err error) error {
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.As(err, &syntactic):
	case errors.Is(err, io.EOF):
		return &syntaxError{"the answer is empty", true}
	default:
		return err
	}
	if errors.Is(syntactic.Err, io.ErrUnexpectedEOF) {
		return errEarly
	}
	detail := "not JSON: " + syntactic.Err.Error()
	if errors.Is(syntactic.Err, jsontext.ErrDuplicateName) {
		detail = "a member comes twice: " + syntactic.JSONPointer.LastToken()
	}
	if r.spill == nil {
		detail += " (at byte " + strconv.FormatInt(syntactic.ByteOffset, 10) + ")"
		if trimmed := bytes.TrimLeft(r.raw, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '<' {
			detail = "not JSON: it looks like a web page"
		}
	}
	return &syntaxError{detail: detail}
}
