package fetcher

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// retryAfter reads a Retry-After header: seconds, or an HTTP date. It is nil
// when that can't be read or is not in the future. More than fits in a Duration is the longest Duration.
func retryAfter(value string, now time.Time) *time.Duration {
	value = strings.Trim(value, " \t")
	if value == "" {
		return nil
	}
	var d time.Duration
	if digits(value) {
		s, err := strconv.ParseUint(value, 10, 64)
		if err != nil || s > uint64(math.MaxInt64/time.Second) {
			d = math.MaxInt64
		} else {
			d = time.Duration(s) * time.Second
		}
	} else {
		at, err := http.ParseTime(value)
		if err != nil {
			return nil
		}
		d = at.Sub(now)
	}
	if d <= 0 {
		return nil
	}
	return &d
}

// digits reports whether s is one or more ASCII digits.
func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func itoa(n int) string { return strconv.Itoa(n) }
