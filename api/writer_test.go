package api

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// deadlineRecorder notes each write deadline and each write.
type deadlineRecorder struct {
	httptest.ResponseRecorder
	deadlines []time.Time
	writes    []int
}

func (d *deadlineRecorder) SetWriteDeadline(t time.Time) error {
	d.deadlines = append(d.deadlines, t)
	return nil
}

func (d *deadlineRecorder) Write(b []byte) (int, error) {
	d.writes = append(d.writes, len(b))
	return d.ResponseRecorder.Write(b)
}

// GUARANTEES G23: slow clients are bounded: each piece of an answer has a
// deadline of its own, and that of the answer before on this connection is taken away.
func TestWriterSetsDeadlines(t *testing.T) {
	t.Parallel()
	d := &deadlineRecorder{ResponseRecorder: *httptest.NewRecorder()}
	w := newWriter(d, httptest.NewRequest(http.MethodGet, "/", nil))
	if len(d.deadlines) != 1 || !d.deadlines[0].IsZero() {
		t.Fatalf("at the start: %v", d.deadlines)
	}
	body := bytes.Repeat([]byte("x"), 2*writePiece+1)
	if n, err := w.Write(body); n != len(body) || err != nil {
		t.Fatal(n, err)
	}
	if len(d.writes) != 3 || len(d.deadlines) != 4 || !bytes.Equal(d.Body.Bytes(), body) {
		t.Errorf("writes %v, deadlines %v", d.writes, d.deadlines)
	}
	for _, at := range d.deadlines[1:] {
		if left := time.Until(at); left <= 0 || left > writeTimeout {
			t.Errorf("deadline in %v", left)
		}
	}
	if n, err := w.Write(nil); n != 0 || err != nil {
		t.Error(n, err)
	}
}
