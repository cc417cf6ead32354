package fetcher

import (
	"fmt"
	"maps"
	"net/http"
	"strings"

	"poller/order"
)

// Limits of SPEC §2, "headers".
const (
	maxHeaders     = 32
	maxHeaderName  = 256
	maxHeaderValue = 8 << 10
)

// maskedValue is what answers show in place of a header's value.
const maskedValue = "***"

// refusedHeaders belong to the connection or the message's framing, or would
// make the answer another one than the status.
var refusedHeaders = map[string]bool{
	"host": true, "content-length": true, "connection": true, "transfer-encoding": true, "accept-encoding": true,
	"keep-alive": true, "proxy-connection": true, "proxy-authenticate": true, "proxy-authorization": true,
	"te": true, "trailer": true, "upgrade": true, "http2-settings": true, "range": true, "expect": true,
}

// checkHeaders judges a seller's headers; fine ones cost no memory.
func checkHeaders(s *order.Seller) []FieldError {
	var errs []FieldError
	if len(s.Headers) == 0 && !s.AllowUnauthenticated {
		errs = append(errs, FieldError{"headers", "at least one header is needed (allow_unauthenticated: true if the endpoint asks for none)"})
	}
	if len(s.Headers) > maxHeaders {
		return append(errs, FieldError{"headers", fmt.Sprintf("%d headers, at most %d", len(s.Headers), maxHeaders)})
	}
	for i, h := range s.Headers {
		if e := checkHeaderName(h.Name); e != "" {
			// The name is not shown: it may be a whole header line, with the secret in it.
			errs = append(errs, FieldError{"headers", e})
			continue
		}
		field := "headers." + h.Name
		if e := checkHeaderValue(h); e != "" {
			errs = append(errs, FieldError{field, e})
		}
		for _, other := range s.Headers[:i] {
			if strings.EqualFold(other.Name, h.Name) {
				errs = append(errs, FieldError{field, "given twice"})
				break
			}
		}
	}
	return errs
}

func checkHeaderName(name string) string {
	switch {
	case name == "":
		return "a header without a name"
	case len(name) > maxHeaderName:
		return fmt.Sprintf("a header name of %d bytes, at most %d", len(name), maxHeaderName)
	}
	for i := range len(name) {
		if c := name[i]; !alnum(c) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return "a header name with a character other than letters, digits and !#$%&'*+-.^_`|~"
		}
	}
	return ""
}

func checkHeaderValue(h order.Header) string {
	lower := strings.ToLower(h.Name)
	v := h.Value
	switch {
	case refusedHeaders[lower]:
		return "is set by the connection, or changes what the answer is; it can't be chosen"
	case strings.HasPrefix(lower, "if-"):
		return "makes the request conditional; it can't be chosen"
	case v == "":
		return "the value is empty"
	case v == maskedValue:
		return "the value is ***, which is how values are shown; send the real one"
	case len(v) > maxHeaderValue:
		return fmt.Sprintf("the value has %d bytes, at most %d", len(v), maxHeaderValue)
	case v[0] == ' ' || v[0] == '\t' || v[len(v)-1] == ' ' || v[len(v)-1] == '\t':
		return "the value begins or ends with a space or tab"
	}
	for i := range len(v) {
		if c := v[i]; (c < ' ' || c > '~') && c != '\t' {
			return "the value has a character other than visible ASCII, space and tab"
		}
	}
	return ""
}

// ownHeaders is the request's head without the seller's headers.
func ownHeaders(version string) http.Header {
	return http.Header{
		"Accept":          {"application/json"},
		"Accept-Encoding": {"gzip"},
		"Cache-Control":   {"no-cache"},
		"User-Agent":      {"poller/" + version},
	}
}

// withSeller is the request's head for the seller's own origin.
func (s *settings) withSeller(headers []order.Header) http.Header {
	h := maps.Clone(s.ownHeaders)
	for _, sh := range headers {
		h[http.CanonicalHeaderKey(sh.Name)] = []string{sh.Value}
	}
	return h
}

func alnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
