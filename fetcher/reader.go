package fetcher

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"poller/order"
)

// reader walks through an answer.
type reader struct {
	dec   *jsontext.Decoder
	raw   []byte // the whole answer, or nil
	spill *spill // where it comes from if it is not whole in memory
	names *names // nil: not watched
	a     answer
}

func (r *reader) read() (*answer, error) {
	if err := r.document(); err != nil {
		return nil, r.explain(err)
	}
	return &r.a, nil
}

var (
	errNotObject = &syntaxError{detail: "the answer is JSON, but not an object"}
	errNotOne    = &syntaxError{detail: "the answer is an array, but not of exactly one object"}
	errTrailing  = &syntaxError{detail: "the answer has something after its end"}
	errMembers   = &syntaxError{detail: "the answer has objects with too many members"}
)

// document reads the one JSON text that the answer must be.
func (r *reader) document() error {
	switch r.dec.PeekKind() {
	case '{':
		if err := r.object(&r.a.top, true); err != nil {
			return err
		}
	case '[':
		if _, err := r.dec.ReadToken(); err != nil {
			return err
		}
		if r.dec.PeekKind() != '{' {
			return r.unless(errNotOne)
		}
		if err := r.object(&r.a.top, true); err != nil {
			return err
		}
		if r.dec.PeekKind() != ']' {
			return r.unless(errNotOne)
		}
		if _, err := r.dec.ReadToken(); err != nil {
			return err
		}
	default:
		return r.unless(errNotObject)
	}
	switch _, err := r.dec.ReadToken(); {
	case err == nil:
		return errTrailing
	case errors.Is(err, io.EOF):
		return nil
	default:
		var syntactic *jsontext.SyntacticError
		if errors.As(err, &syntactic) {
			return errTrailing
		}
		return err
	}
}

// unless is the decoder's error at this point, if it has one, and else err.
func (r *reader) unless(err error) error {
	if _, e := r.dec.ReadToken(); e != nil {
		return e
	}
	return err
}

// object reads the answer itself (top) or its result.
func (r *reader) object(l *members, top bool) error {
	return r.eachField(func(name field) error {
		v := &l.v[name]
		kind := r.dec.PeekKind()
		switch {
		case name == noField:
			return r.skip()
		case name == fResult:
			if !top || kind != '{' {
				return r.skip()
			}
			r.a.result = new(members)
			return r.object(r.a.result, false)
		case name == fFiles && kind == '[':
			v.kind = kind
			return r.files(l)
		case name == fError && kind == '{':
			v.kind = kind
			return r.errorObject(&l.err)
		case name == fResultText && (kind == '{' || kind == '['):
			return r.copied(v, level(!top))
		}
		return r.value(v)
	})
}

// eachField reads an object; f reads the value of each member.
func (r *reader) eachField(f func(name field) error) error {
	if err := r.token(); err != nil {
		return err
	}
	for {
		switch r.dec.PeekKind() {
		case '}':
			err := r.token()
			return err
		case '"':
			raw, err := r.dec.ReadValue()
			if err != nil {
				return err
			}
			if err := r.names.add(r, len(raw)); err != nil {
				return err
			}
			if err := f(fieldOf(unquote(raw[1 : len(raw)-1]))); err != nil {
				return err
			}
		default:
			if _, err := r.dec.ReadToken(); err != nil {
				return err
			}
			return errNotObject // not reached: the decoder admits nothing else
		}
	}
}

// value reads one value; of an object or array only what it is.
func (r *reader) value(v *value) error {
	kind := r.dec.PeekKind()
	switch kind {
	case '"':
		raw, err := r.dec.ReadValue()
		if err != nil {
			return err
		}
		v.kind = kind
		if r.spill != nil {
			v.sink = r.spill.spilled(string(raw[1 : len(raw)-1]))
		}
		if v.sink == nil {
			v.text = string(unquote(raw[1 : len(raw)-1]))
		}
		return nil
	case '0':
		raw, err := r.dec.ReadValue()
		if err != nil {
			return err
		}
		v.kind, v.text = kind, string(raw)
		return nil
	case 'n':
		return r.skip()
	}
	if err := r.skip(); err != nil {
		return err
	}
	v.kind = kind
	return nil
}

// copied reads a result_text that is an object or array.
func (r *reader) copied(v *value, level int) error {
	kind := r.dec.PeekKind()
	begin := r.dec.InputOffset()
	if err := r.skip(); err != nil {
		return err
	}
	v.kind = kind
	if r.spill != nil {
		v.sink = r.spill.copied[level]
		return nil
	}
	// Between the offsets are the colon and spaces before the value.
	v.text = string(bytes.TrimLeft(r.raw[begin:r.dec.InputOffset()], ": \t\r\n"))
	return nil
}

func (r *reader) errorObject(e *errorValue) error {
	return r.membersNamed(func(name string) *value {
		switch name {
		case "code":
			return &e.code
		case "message":
			return &e.message
		}
		return nil
	})
}

// files reads the array files.
func (r *reader) files(l *members) error {
	if err := r.token(); err != nil {
		return err
	}
	for r.dec.PeekKind() != ']' {
		var f fileValue
		var err error
		l.tooMany = len(l.files) == order.MaxFiles
		if f.other = r.dec.PeekKind() != '{'; f.other || l.tooMany {
			err = r.skip()
		} else {
			err = r.file(&f)
		}
		if err != nil {
			return err
		}
		if l.tooMany {
			continue
		}
		f.clip()
		l.files = append(l.files, f)
	}
	err := r.token()
	return err
}

func (r *reader) file(f *fileValue) error {
	return r.membersNamed(func(name string) *value {
		switch name {
		case "filename":
			return &f.filename
		case "mime_type":
			return &f.mimeType
		case "file_base64":
			return &f.base64
		case "object_key":
			return &f.key
		case "result_url":
			return &f.url
		}
		return nil
	})
}

// membersNamed reads an object; want says where the member of that name goes, nil: nowhere.
func (r *reader) membersNamed(want func(name string) *value) error {
	if err := r.token(); err != nil {
		return err
	}
	for r.dec.PeekKind() != '}' {
		raw, err := r.dec.ReadValue()
		if err != nil {
			return err
		}
		if err := r.names.add(r, len(raw)); err != nil {
			return err
		}
		v := want(string(unquote(raw[1 : len(raw)-1])))
		if v == nil {
			err = r.skip()
		} else {
			err = r.value(v)
		}
		if err != nil {
			return err
		}
	}
	err := r.token()
	return err
}

// skip reads one value of no interest, to its end.
func (r *reader) skip() error {
	depth := r.dec.StackDepth()
	for {
		before := r.dec.InputOffset()
		if err := r.token(); err != nil {
			return err
		}
		if r.dec.StackDepth() <= depth {
			return nil
		}
		if err := r.names.add(r, int(r.dec.InputOffset()-before)); err != nil {
			return err
		}
	}
}

// token passes over one token and watches the depth.
func (r *reader) token() error {
	_, err := r.dec.ReadToken()
	if err == nil && r.dec.StackDepth() > maxDepth {
		return errDepth
	}
	return err
}
