package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"poller/order"
)

// maxName is how much of a stranger's member name an answer repeats, in characters.
const maxName = 64

// members maps the names that a JSON object may have to pointers that take
// their values: *string, **string, *bool, **int, **time.Time, *map[string]string.
type members map[string]any

// decode reads one JSON object strictly (SPEC §6): 400 for what is not JSON or
// has a member twice, 422 for unknown members and wrong types, all of them at
// once. given tells which members were there; null is as good as absent, but
// given. The values of members in error are left as they were.
func decode(body []byte, m members) (given map[string]bool, p *Problem) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(body))
	whole, err := dec.ReadValue()
	kind := whole.Kind()
	if err == nil {
		if _, err = dec.ReadToken(); errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			return nil, problem(http.StatusBadRequest, "more than one JSON value")
		}
	}
	if err != nil {
		return nil, notJSON(err)
	}
	if kind != '{' {
		return nil, problem(http.StatusUnprocessableEntity, "must be a JSON object")
	}
	given = make(map[string]bool, len(m))
	var faults []FieldError
	obj := jsontext.NewDecoder(bytes.NewBuffer(body))
	if _, err := obj.ReadToken(); err != nil {
		return nil, notJSON(err)
	}
	for obj.PeekKind() == '"' {
		nameToken, err := obj.ReadToken()
		if err != nil {
			return nil, notJSON(err)
		}
		name := nameToken.String()
		value, err := obj.ReadValue()
		if err != nil {
			return nil, notJSON(err)
		}
		target, known := m[name]
		if !known {
			faults = append(faults, FieldError{order.Clip(name, maxName), "there is no such member"})
			continue
		}
		given[name] = true
		if fault := assign(value, target); fault != "" {
			faults = append(faults, FieldError{name, fault})
		}
	}
	if len(faults) > 0 {
		return nil, invalid(faults...)
	}
	return given, nil
}

// assign puts one JSON value where it belongs, and says what is wrong with it: "" is nothing.
func assign(value jsontext.Value, target any) string {
	if m, ok := target.(*map[string]string); ok {
		var texts map[string]*string
		if err := json.Unmarshal(value, &texts); err != nil {
			return "must be an object of strings"
		}
		var plain map[string]string
		for k, v := range texts {
			if v == nil {
				return "must be an object of strings"
			}
			if plain == nil {
				plain = make(map[string]string, len(texts))
			}
			plain[k] = *v
		}
		*m = plain
		return ""
	}
	if json.Unmarshal(value, target) == nil {
		return ""
	}
	switch target.(type) {
	case *string, **string:
		return "must be a string"
	case *bool:
		return "must be true or false"
	case **int:
		return "must be a whole number"
	case **time.Time:
		return "must be a time as in RFC 3339, such as 2026-11-30T12:00:00Z"
	}
	return fmt.Sprintf("can't be read as %T", target)
}

// notJSON words a syntax error without repeating what was sent, beyond a member's name.
func notJSON(err error) *Problem {
	p := problem(http.StatusBadRequest, "not JSON")
	if se, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if errors.Is(se, jsontext.ErrDuplicateName) {
			p.Detail = "a member stands twice"
			p.Errors = []FieldError{{order.Clip(se.JSONPointer.LastToken(), maxName), "stands twice"}}
			return p
		}
		p.Detail = fmt.Sprintf("not JSON, from byte %d on", se.ByteOffset)
	}
	return p
}
