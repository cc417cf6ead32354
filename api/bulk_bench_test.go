package api

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// BenchmarkReadLines is what reading costs for each line of an NDJSON submission.
func BenchmarkReadLines(b *testing.B) {
	var text strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&text, `{"order_id":"order-%d","seller_id":"seller-%d","metadata":{"buyer":"%d"}}`+"\n", i, i%100, i)
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		readLines(strings.NewReader(text.String()), func() time.Time { return start }, func(p []line) bool { n += len(p); return true })
		if n != 10_000 {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/line")
}
