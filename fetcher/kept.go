package fetcher

import (
	"mime"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gabriel-vasile/mimetype"

	"poller/order"
)

const unknownType = "application/octet-stream"

// fileType is what the seller says, else what the bytes show, else what the name says.
func fileType(v *fileValue, data string, head []byte, f *order.File) string {
	for _, said := range []string{v.mimeType.text, data} {
		if said = strings.TrimSpace(said); order.ValidMIMEType(said) {
			return said
		}
	}
	if len(head) > 0 {
		return mimetype.Detect(head).String()
	}
	if t := mime.TypeByExtension(path.Ext(fileName(v, f))); order.ValidMIMEType(t) {
		return t
	}
	return unknownType
}

// fileName is the seller's name for the file, made safe, or one made up for it.
func fileName(v *fileValue, f *order.File) string {
	if v.filename.kind == '"' {
		if name := safeName(v.filename.text); name != "" {
			return name
		}
	}
	from := f.ObjectKey
	if f.URL != "" {
		if u, err := url.Parse(f.URL); err == nil {
			from = u.Path
		}
	}
	if f.URL != "" || f.Uploaded {
		if name := safeName(path.Base(from)); name != "" {
			return name
		}
	}
	ext := ""
	if t := mimetype.Lookup(strings.TrimSpace(strings.Split(f.MIMEType, ";")[0])); t != nil {
		ext = t.Extension()
	}
	return "result" + ext
}

// safeName makes a stranger's file name harmless wherever it may be used as
// one: its last element only, without control and formatting characters, without
// those that some system forbids, no dots or spaces at its ends, at most
// order.MaxFilenameBytes; of a longer one the extension is kept. Empty: nothing is left.
func safeName(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if i := strings.LastIndexAny(s, `/\`); i >= 0 {
		s = s[i+1:]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.In(r, unicode.Cc, unicode.Cf):
			return -1
		case strings.ContainsRune(`<>:"|?*`, r):
			return '_'
		case unicode.IsSpace(r):
			return ' '
		}
		return r
	}, s)
	s = strings.Trim(s, " .")
	if len(s) <= order.MaxFilenameBytes {
		return s
	}
	ext := path.Ext(s)
	if len(ext) > 32 {
		ext = ""
	}
	stem := s[:order.MaxFilenameBytes-len(ext)]
	for !utf8.ValidString(stem) {
		stem = stem[:len(stem)-1]
	}
	return strings.TrimRight(stem, " .") + ext
}

// maxObjectKey: longer than any key that poller gives out.
const maxObjectKey = 1024

// checkObjectKey says what is wrong with a key that must be one of this order's own objects.
func checkObjectKey(key, remoteID string) string {
	own, ok := strings.CutPrefix(key, "orders/"+remoteID+"/")
	switch {
	case !ok:
		return "must begin with orders/" + remoteID + "/"
	case len(key) > maxObjectKey:
		return "is longer than " + itoa(maxObjectKey) + " bytes"
	}
	for segment := range strings.SplitSeq(own, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return "has a segment that is empty, . or .."
		}
	}
	for i := range len(own) {
		if c := own[i]; c <= ' ' || c > '~' || c == '\\' {
			return "has a character that no key has"
		}
	}
	return ""
}

// checkResultURL says what is wrong with a result_url: the buyer will follow it.
func checkResultURL(v *value) string {
	raw := v.text
	switch {
	case v.kind != '"':
		return "is not a string"
	case raw == "":
		return "is empty"
	case len(raw) > maxURL:
		return "is longer than " + itoa(maxURL) + " bytes"
	case strings.ContainsFunc(raw, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf) }), strings.TrimSpace(raw) != raw:
		return "has control characters, or space around it"
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return "is not a URL"
	case u.Scheme == "http":
		return "must be https, not http"
	case u.Scheme != "https":
		return "must be an absolute https URL"
	case u.User != nil:
		return "must not have user info (user:password@)"
	case u.Host == "":
		return "has no host"
	}
	host, _, problem := splitAuthority(u.Host)
	var addr netip.Addr
	if problem == "" {
		addr, problem = hostAddr(host)
	}
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	switch {
	case problem != "":
		return problem
	case addr.IsValid() && !public(addr):
		return "leads to an address that is not public"
	case name == "localhost" || strings.HasSuffix(name, ".localhost"):
		return "leads to localhost"
	}
	return ""
}

// clip bounds what many files of one answer hold in memory; what is cut here is longer than any rule admits.
func (f *fileValue) clip() {
	for _, b := range [...]struct {
		v    *value
		most int
	}{{&f.filename, 4 << 10}, {&f.mimeType, 2 * order.MaxMIMEBytes}, {&f.key, maxObjectKey + 1}, {&f.url, maxURL + 1}} {
		if len(b.v.text) > b.most {
			b.v.text = strings.Clone(b.v.text[:b.most])
		}
	}
}
