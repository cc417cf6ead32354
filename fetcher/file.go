package fetcher

import (
	"fmt"
	"strings"

	"poller/order"
)

// files judges the array files.
func (j *resultJudge) files(r *order.Result) (string, error) {
	l := j.a.of(fFiles)
	switch {
	case j.a.get(fFiles).kind != '[':
		return "files is not an array", nil
	case len(l.files) == 0:
		return "files is empty", nil
	case l.tooMany:
		return "files has more than " + itoa(order.MaxFiles) + " files", nil
	}
	files := make([]order.File, 0, len(l.files))
	for i := range l.files {
		name := fmt.Sprintf("files[%d]", i)
		if l.files[i].other {
			return name + " is not an object", nil
		}
		file, problem, err := j.file(&l.files[i], name+".")
		if err != nil || problem != "" {
			return problem, err
		}
		files = append(files, file)
	}
	r.Files = append(r.Files, files...)
	return "", nil
}

// file judges one file, which must come in exactly one way; prefix goes before field names.
func (j *resultJudge) file(v *fileValue, prefix string) (order.File, string, error) {
	ways := 0
	for _, w := range []*value{&v.base64, &v.key, &v.url} {
		if w.kind != 0 {
			ways++
		}
	}
	var f order.File
	var data, problem string
	var head []byte
	var err error
	switch {
	case ways != 1:
		return f, strings.TrimSuffix(prefix, ".") + " must have exactly one of file_base64, object_key and result_url", nil
	case v.base64.kind != 0:
		prefix += "file_base64 "
		var s *base64Sink
		if s, problem, err = j.decoded(&v.base64); s != nil {
			f, data, head = s.kept.file, s.data, s.head
		}
	case v.key.kind != 0:
		prefix += "object_key "
		f, problem, err = j.uploaded(&v.key)
	default:
		prefix += "result_url "
		problem = checkResultURL(&v.url)
		f.URL = v.url.text
	}
	if problem != "" || err != nil {
		if problem != "" {
			problem = prefix + problem
		}
		return f, problem, err
	}
	f.MIMEType = fileType(v, data, head, &f)
	f.Filename = fileName(v, &f)
	return f, "", nil
}

// decoded is a file_base64 as a file; the sink is nil if there is a problem or error.
func (j *resultJudge) decoded(v *value) (*base64Sink, string, error) {
	if v.kind != '"' {
		return nil, "is not a string", nil
	}
	s, ok := v.sink.(*base64Sink)
	if !ok {
		s = &base64Sink{k: j.keep}
		err := s.write([]byte(v.text))
		if err == nil {
			err = s.finish()
		}
		if err != nil {
			s.abort()
			return nil, "", err
		}
	}
	if s.bad != "" {
		return nil, s.bad, nil
	}
	return s, "", nil
}

// uploaded is the file behind an object_key.
func (j *resultJudge) uploaded(v *value) (order.File, string, error) {
	if v.kind != '"' {
		return order.File{}, "is not a string", nil
	}
	key := v.text
	if problem := checkObjectKey(key, j.keep.remoteID); problem != "" {
		return order.File{}, problem, nil
	}
	if j.seen[key] {
		return order.File{}, "is named twice", nil
	}
	size, sum, found, err := j.keep.stat(key)
	if err != nil || !found {
		return order.File{}, "names no object in the result store", err
	}
	ok, err := j.keep.want(size)
	if err != nil || !ok {
		return order.File{}, tooMuch, err
	}
	j.seen[key] = true
	return order.File{ObjectKey: key, Size: size, SHA256: sum, Uploaded: true}, "", nil
}
