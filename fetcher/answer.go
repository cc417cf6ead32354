package fetcher

import "github.com/go-json-experiment/json/jsontext"

// value is one member of an answer. Null is absent, as if the member were not there.
type value struct {
	kind jsontext.Kind // 0: absent
	text string        // a string's text; a number, object or array as written (the latter two of result_text only)
	sink sink          // where a long string or a copied object went, instead of text
}

// fileValue is one object of files.
type fileValue struct {
	filename, mimeType, base64, key, url value
	other                                bool // it is not an object
}

// errorValue is error as an object.
type errorValue struct{ code, message value }

// members is what one object says: the answer itself, or its result.
type members struct {
	v       [numFields]value
	files   []fileValue
	tooMany bool // more than order.MaxFiles of them
	err     errorValue
}

// answer is what poller reads of an answer; it is JSON, its rules are not judged yet.
type answer struct {
	top    members
	result *members // nil: none, as in most answers
}

// get is a member, from the top level if both have it.
func (a *answer) get(f field) *value {
	return &a.of(f).v[f]
}

// of is the level that get takes f from.
func (a *answer) of(f field) *members {
	if a.top.v[f].kind != 0 || a.result == nil {
		return &a.top
	}
	return a.result
}

// syntaxError: the answer is not the JSON of SPEC §2.
type syntaxError struct {
	detail string
	early  bool // it ends too early
}

func (e *syntaxError) Error() string { return e.detail }
