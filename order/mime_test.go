package order

import (
	"strings"
	"testing"
)

func TestValidMIMEType(t *testing.T) {
	for s, want := range map[string]bool{
		"application/pdf":                             true,
		"text/csv; charset=utf-8":                     true,
		"text/" + strings.Repeat("x", MaxMIMEBytes-5): true,
		"text/" + strings.Repeat("x", MaxMIMEBytes-4): false,
		"":                     false,
		"pdf":                  false,
		" application/pdf":     false,
		"application/pdf ":     false,
		"text/plain\r\nX-Y: z": false,
		"text/plain; a=\"\t\"": false,
		"text/pläin":           false,
		"text/":                false,
		"/pdf":                 false,
		"text/plain; charset":  false,
	} {
		if ValidMIMEType(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}
