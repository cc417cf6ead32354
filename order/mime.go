package order

import (
	"mime"
	"strings"
)

// ValidMIMEType reports whether s is a media type that may be kept and sent as
// a header: type/subtype with or without parameters, of visible ASCII and
// spaces, none around it, at most MaxMIMEBytes (SPEC §2).
func ValidMIMEType(s string) bool {
	if len(s) > MaxMIMEBytes || strings.TrimSpace(s) != s {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	t, _, err := mime.ParseMediaType(s)
	return err == nil && strings.Contains(t, "/")
}
