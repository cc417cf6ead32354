package results

import (
	"crypto/rand"
	"strings"
	"unicode/utf8"
)

// Limits of an object key, in bytes. They are those of S3 and of the usual
// file systems, so that a key that one driver takes is good for every other.
const (
	MaxKeyLength     = 1024
	MaxSegmentLength = 255
)

// top is the folder of all files, and the first segment of every key.
const top = "orders"

// ValidKey reports whether a key, which may come from a stranger, can be one
// of a result file: orders/<remote_id>/<name>, where the name may have further
// segments; valid UTF-8 without NUL, no segment empty, "." or "..", within the limits (SPEC §2).
func ValidKey(key string) bool {
	if len(key) > MaxKeyLength || !utf8.ValidString(key) || strings.ContainsRune(key, 0) {
		return false
	}
	segments := strings.Split(key, "/")
	for _, s := range segments {
		if s == "" || s == "." || s == ".." || len(s) > MaxSegmentLength {
			return false
		}
	}
	return segments[0] == top && len(segments) >= 3
}

// randomLength is the length of a key's random part, in characters of base32: at least 128 bits.
const randomLength = 26

// newKey returns a key for a file of an order that nobody can guess and that was never given before.
func newKey(remoteID string) string {
	return top + "/" + remoteID + "/" + strings.ToLower(rand.Text())
}
