package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// plainReceiver takes every webhook and hands on what it was told.
type plainReceiver struct {
	*httptest.Server
	bodies chan string
}

func newPlainReceiver(t *testing.T) *plainReceiver {
	r := &plainReceiver{bodies: make(chan string, 100)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.bodies <- string(body)
	}))
	t.Cleanup(r.Close)
	return r
}
