package fetcher

import (
	"bytes"
	"strings"

	"poller/order"
)

// resultJudge makes a result of a completed answer (SPEC §2, the rows that say
// "completed"). Problems are sentences that begin with the field at fault;
// errors are faults of ours.
type resultJudge struct {
	a    *answer
	keep *keeper
	seen map[string]bool // object keys
}

// The orders in which a result's fields decide.
var (
	anyResult  = []field{fFiles, fFileBase64, fObjectKey, fResultURL, fResultText}
	fileResult = anyResult[:4]
)

var fieldNames = map[field]string{
	fFiles: "files", fFileBase64: "file_base64", fObjectKey: "object_key", fResultURL: "result_url", fResultText: "result_text",
}

// decide finds the form of the result and the field that decides; noField: there is none.
func (j *resultJudge) decide() (order.OutputType, field) {
	v := j.a.get(fOutputType)
	claimed := order.OutputType(asciiLower(strings.TrimSpace(v.text)))
	switch {
	case v.kind != '"':
	case claimed == order.OutputText || claimed == order.OutputHTML || claimed == order.OutputJSON || claimed == order.OutputCSV:
		return claimed, j.first(fResultText)
	case claimed == order.OutputURL:
		return claimed, j.first(fResultURL)
	case claimed == order.OutputFile:
		return claimed, j.first(fileResult...)
	}
	f := j.first(anyResult...)
	switch f {
	case fResultURL:
		return order.OutputURL, f
	case fResultText:
		if j.a.get(f).kind != '"' {
			return order.OutputJSON, f
		}
		return order.OutputText, f
	}
	return order.OutputFile, f
}

// first is the first of these fields that is there.
func (j *resultJudge) first(fields ...field) field {
	for _, f := range fields {
		if j.a.get(f).kind != 0 {
			return f
		}
	}
	return noField
}

// judge judges the deciding field, and keeps beside it what else is acceptable.
func (j *resultJudge) judge() (*order.Result, string, error) {
	form, decides := j.decide()
	if decides == noField {
		return nil, j.missing(form), nil
	}
	r := &order.Result{OutputType: form}
	problem, err := j.add(r, decides, form)
	if err != nil || problem != "" {
		return nil, problem, err
	}
	for _, f := range anyResult {
		if f == decides || j.a.get(f).kind == 0 {
			continue
		}
		beside := order.Result{OutputType: form}
		total := j.keep.total
		problem, err := j.add(&beside, f, besideForm(form, f))
		if err != nil {
			return nil, "", err
		}
		if problem != "" || len(r.Files)+len(beside.Files) > order.MaxFiles {
			j.keep.total = total
			continue
		}
		r.Files = append(r.Files, beside.Files...)
		if beside.URL != "" {
			r.URL = beside.URL
		}
		if beside.Text != nil {
			r.Text = beside.Text
		}
	}
	return r, "", nil
}

// besideForm: beside the deciding field a URL is a link, and a text is just a text.
func besideForm(form order.OutputType, f field) order.OutputType {
	switch f {
	case fResultURL:
		return order.OutputURL
	case fResultText:
		return order.OutputText
	}
	return form
}

func (j *resultJudge) missing(form order.OutputType) string {
	v := j.a.get(fOutputType)
	names := make([]string, 0, len(anyResult))
	wanted := anyResult
	switch {
	case v.kind != '"' || form == order.OutputFile && asciiLower(strings.TrimSpace(v.text)) != "file":
	case form == order.OutputFile:
		wanted = fileResult
	case form == order.OutputURL:
		return "result_url is missing (output_type is url)"
	default:
		return "result_text is missing (output_type is " + string(form) + ")"
	}
	for _, f := range wanted {
		names = append(names, fieldNames[f])
	}
	return "no result: none of " + strings.Join(names, ", ") + " is there"
}

// add judges one field and adds what it brings.
func (j *resultJudge) add(r *order.Result, f field, form order.OutputType) (string, error) {
	switch f {
	case fResultText:
		return j.text(r, form)
	case fResultURL:
		return j.url(r, form)
	case fFiles:
		return j.files(r)
	}
	one := fileValue{filename: *j.a.get(fFilename), mimeType: *j.a.get(fMIMEType)}
	if f == fFileBase64 {
		one.base64 = *j.a.get(f)
	} else {
		one.key = *j.a.get(f)
	}
	file, problem, err := j.file(&one, "")
	if problem == "" && err == nil {
		r.Files = append(r.Files, file)
	}
	return problem, err
}

func (j *resultJudge) url(r *order.Result, form order.OutputType) (string, error) {
	v := j.a.get(fResultURL)
	if problem := checkResultURL(v); problem != "" {
		return "result_url " + problem, nil
	}
	if form == order.OutputFile {
		one := fileValue{filename: *j.a.get(fFilename), mimeType: *j.a.get(fMIMEType), url: *v}
		file, problem, err := j.file(&one, "")
		r.Files = append(r.Files, file)
		return problem, err
	}
	r.URL = v.text
	return "", nil
}

// text judges result_text; a long one becomes a file.
func (j *resultJudge) text(r *order.Result, form order.OutputType) (string, error) {
	v := j.a.get(fResultText)
	structured := v.kind == '{' || v.kind == '['
	switch {
	case v.kind != '"' && !structured:
		return "result_text is neither a string nor, with output_type json, an object or array", nil
	case structured && form != order.OutputJSON && r.OutputType == form:
		return "result_text is not a string (output_type is " + string(form) + ")", nil
	}
	s, spilled := v.sink.(*textSink)
	if !spilled {
		s = &textSink{k: j.keep}
		if err := s.write([]byte(v.text)); err != nil {
			s.abort()
			return "", err
		}
		if err := s.finish(); err != nil {
			return "", err
		}
	}
	switch {
	case !s.solid:
		return "result_text is blank", nil
	case s.kept != nil && s.kept.over:
		return "result_text " + tooMuch, nil
	case form == order.OutputJSON && !structured && !s.isJSON():
		return "result_text is not JSON (output_type is json)", nil
	}
	if s.kept == nil {
		text := string(s.buf)
		r.Text = &text
		return "", nil
	}
	if structured {
		form = order.OutputJSON
	}
	f := s.kept.file
	f.MIMEType, f.Filename = textTypes[form].mime, textTypes[form].name
	r.Files = append(r.Files, f)
	return "", nil
}

// isJSON reports whether the text is a JSON text.
func (s *textSink) isJSON() bool {
	if s.full {
		return s.json.ok()
	}
	return checkJSON(bytes.NewBuffer(s.buf)) == nil
}

// textTypes name a long text that became a file.
var textTypes = map[order.OutputType]struct{ mime, name string }{
	order.OutputText: {"text/plain; charset=utf-8", "result.txt"},
	order.OutputHTML: {"text/html; charset=utf-8", "result.html"},
	order.OutputJSON: {"application/json", "result.json"},
	order.OutputCSV:  {"text/csv; charset=utf-8", "result.csv"},
}
