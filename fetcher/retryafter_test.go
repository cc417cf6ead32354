package fetcher

import (
	"math"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"120": 2 * time.Minute, " 1 ": time.Second, "007": 7 * time.Second, "Mon, 23 Nov 2026 12:00:30 GMT": 30 * time.Second,
		"Monday, 23-Nov-26 12:00:30 GMT": 30 * time.Second, "Mon Nov 23 12:00:30 2026": 30 * time.Second,
		"99999999999999999999": math.MaxInt64, "9223372037": math.MaxInt64, "9223372036": 9223372036 * time.Second,
		"0": 0, "": 0, "-5": 0, "+5": 0, "1.5": 0, "5s": 0, "soon": 0, "0x10": 0, "Mon, 23 Nov 2026 12:00:00 GMT": 0, "Mon, 23 Nov 2026 11:00:00 GMT": 0, "1,2": 0,
	} {
		got := retryAfter(in, now)
		if (got == nil) != (want == 0) || got != nil && *got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120", int64(0))
	f.Add("Mon, 23 Nov 2026 12:00:30 GMT", int64(1e9))
	f.Fuzz(func(t *testing.T, s string, now int64) {
		if d := retryAfter(s, time.Unix(now, 0)); d != nil && *d <= 0 {
			t.Fatalf("%q: %v", s, *d)
		}
	})
}
