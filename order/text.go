package order

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clip makes a stranger's text fit to be kept: invalid UTF-8 becomes U+FFFD,
// line breaks and tabs become spaces, other control and formatting characters
// (Unicode Cc, Cf: escape sequences, bidirectional overrides, zero-width marks)
// go, surrounding space goes, and at most max characters stay (SPEC §2).
func Clip(s string, max int) string {
	// No more bytes than max characters can have, times a margin for what goes, are worth reading.
	if limit := max * 16; len(s) > limit {
		for limit > 0 && !utf8.RuneStart(s[limit]) {
			limit--
		}
		s = s[:limit]
	}
	if len(s) <= max && plain(s) {
		return s // most texts
	}
	var b strings.Builder
	n := 0
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		if n == max {
			break
		}
		switch r {
		case '\n', '\r', '\t', '\u2028', '\u2029':
			r = ' '
		}
		if unicode.In(r, unicode.Cc, unicode.Cf) || n == 0 && unicode.IsSpace(r) {
			continue
		}
		b.WriteRune(r)
		n++
	}
	return strings.TrimRightFunc(b.String(), unicode.IsSpace)
}

// plain reports whether s is of printable ASCII with no space around it.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s == "" || s[0] != ' ' && s[len(s)-1] != ' '
}
