package api

import (
	"net/http"
	"time"
)

// Bounds on slow clients.
const (
	writeTimeout = 30 * time.Second // for each piece of an answer
	writePiece   = 64 << 10         // bytes
)

// writer bounds how long a client may take to read: each piece of an answer has its own deadline.
type writer struct {
	http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

func newWriter(rw http.ResponseWriter, r *http.Request) *writer {
	w := &writer{ResponseWriter: rw, control: http.NewResponseController(rw)}
	// A deadline of the request before on this connection must not end this one.
	_ = w.control.SetWriteDeadline(time.Time{})
	if r.Body != nil && r.Body != http.NoBody {
		_ = w.control.SetReadDeadline(time.Now().Add(bodyReadTimeout))
	}
	return w
}

func (w *writer) WriteHeader(status int) {
	w.begun = true
	_ = w.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(b []byte) (int, error) {
	w.begun = true
	written := 0
	for {
		piece := b[written:min(len(b), written+writePiece)]
		_ = w.control.SetWriteDeadline(time.Now().Add(writeTimeout))
		n, err := w.ResponseWriter.Write(piece)
		written += n
		if err != nil || written == len(b) {
			return written, err
		}
	}
}

// Unwrap lets http.ResponseController through.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
