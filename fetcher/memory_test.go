package fetcher

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"poller/order"
)

// TestLargeFilesInLittleMemory: answers of 50 MiB, several at once, go to the
// result store with the right digest while the heap hardly grows.
func TestLargeFilesInLittleMemory(t *testing.T) {
	const characters = maxEncoded / scale
	const decoded = characters / 4 * 3
	block := content(48 << 10)
	encoded := base64.StdEncoding.EncodeToString(block)
	sum := sha256.New()
	for n := 0; n < decoded; n += len(block) {
		sum.Write(block[:min(len(block), decoded-n)])
	}
	want := hex.EncodeToString(sum.Sum(nil))
	s := newSeller(t, func(w http.ResponseWriter, _ *http.Request) {
		b := bufio.NewWriterSize(w, 64<<10)
		b.WriteString(`{"file_base64":"`)
		left := characters
		for left > 0 {
			n := min(left, len(encoded))
			b.WriteString(encoded[:n])
			left -= n
		}
		b.WriteString(`","status":"completed"}`)
		b.Flush()
	}, func(o *Options) { o.Timeout, o.BodyTimeout = time.Minute, 2*time.Minute })
	s.files.discard = true
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var peak atomic.Uint64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapInuse))
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			obs := s.c.Fetch(t.Context(), s.ask())
			if obs.Outcome != order.Completed || obs.Result.Files[0].SHA256 != want || obs.Result.Files[0].Size != decoded {
				t.Errorf("%+v", obs)
			}
		})
	}
	wg.Wait()
	close(stop)
	<-stopped
	grown := int64(peak.Load()) - int64(before.HeapInuse)
	t.Logf("heap in use grew by %d KiB", grown>>10)
	if grown > 24<<20 {
		t.Errorf("heap in use grew by %d MiB", grown>>20)
	}
}

// TestHostileMemory: answers made to fill memory do not.
func TestHostileMemory(t *testing.T) {
	const size = 30 << 20 / scale
	unit := func(prefix, repeat, suffix string) []byte {
		return append(append([]byte(prefix), bytes.Repeat([]byte(repeat), size/len(repeat))...), suffix...)
	}
	for name, body := range map[string][]byte{
		"space":          unit(`{"status":"processing"`, " \n", `}`),
		"unknown string": unit(`{"status":"processing","x":"`, "x", `"}`),
		"escapes":        unit(`{"status":"processing","x":"`, `\ud800`, `"}`),
		"numbers":        unit(`{"status":"processing","x":[`, "0,", `0]}`),
		"objects":        unit(`{"status":"processing","x":[`, `{"a":{}},`, `0]}`),
		"files":          unit(`{"status":"processing","files":[`, `{"filename":"`+string(bytes.Repeat([]byte("n"), 8000))+`"},`, `0]}`),
		"message":        unit(`{"status":"processing","message":"`, "m", `"}`),
		"a name":         unit(`{"status":"processing","`, "n", `":0}`),
		"a number":       unit(`{"status":"processing","n":`, "1", `}`),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			obs := judged(t, nil, newFiles(), 200, string(body))
			runtime.ReadMemStats(&after)
			if obs.Outcome != order.Processing && obs.Outcome != order.InvalidResponse {
				t.Errorf("%s %s", obs.Outcome, obs.Detail)
			}
			// The text itself was copied once by the test.
			if n := int64(after.TotalAlloc-before.TotalAlloc) - int64(len(body)); n > 6<<20 {
				t.Errorf("allocated %d KiB", n>>10)
			}
		})
	}
}
