package api

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"poller/order"
)

type fileParams struct {
	OrderID string `path:"order_id" maxLength:"128" pattern:"^[A-Za-z0-9._~-]+$"`
	N       int    `path:"n" minimum:"0" maximum:"99" doc:"Which file of the result, from 0"`
}

func (a *API) routeFiles() {
	const path = "/v1/orders/{order_id}/files/{n}"
	handleRaw(a, operation{
		method: http.MethodGet, path: path, id: "get-file", tag: "orders",
		summary: "The bytes of a file of the result, always as a download",
		errors:  []int{http.StatusNotFound, http.StatusGone},
	}, func(w http.ResponseWriter, r *http.Request, in *fileParams) {
		f, err := a.resultFile(r.Context(), in)
		if err == nil {
			err = a.sendFile(w, r, f)
		}
		if err != nil {
			writeProblem(w, a.fail("send file", err))
		}
	})
	a.answers(http.MethodGet, path, "application/octet-stream", &huma.Schema{Type: "string", Format: "binary"})
}

// resultFile finds the n-th file of an order's result, if poller keeps it.
func (a *API) resultFile(ctx context.Context, in *fileParams) (*order.File, error) {
	o, err := a.order(ctx, in.OrderID)
	if err != nil {
		return nil, err
	}
	if o.Result == nil || in.N >= len(o.Result.Files) {
		return nil, problem(http.StatusNotFound, "the order has no such file")
	}
	f := &o.Result.Files[in.N]
	if f.ObjectKey == "" {
		return nil, problem(http.StatusNotFound, "this file is kept by the seller; the order names its url")
	}
	return f, nil
}

// sendFile sends a file whole: there are no ranges, so that the digest is
// checked each time. An error means that nothing was sent; of a file found damaged later the answer stays short.
func (a *API) sendFile(w http.ResponseWriter, r *http.Request, f *order.File) error {
	body, err := a.opt.Files.Open(r.Context(), *f)
	if errors.Is(err, order.ErrNotFound) {
		err = fmt.Errorf("%w: %w", order.ErrDamaged, err) // the order names it: that it is not there is no 404
	}
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // it was only read
	// A short file is checked before the first byte.
	br := bufio.NewReaderSize(body, writePiece)
	if _, err := br.Peek(int(min(f.Size, writePiece))); err != nil {
		return err
	}
	if f.Size == 0 {
		if _, err := br.Peek(1); !errors.Is(err, io.EOF) {
			return err
		}
	}
	h := w.Header()
	h.Set("Content-Type", contentType(f.MIMEType))
	h.Set("Content-Disposition", disposition(f.Filename))
	h.Set("Content-Length", strconv.FormatInt(f.Size, 10))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Accept-Ranges", "none")
	if sum, err := hex.DecodeString(f.SHA256); err == nil {
		h.Set("Repr-Digest", reprDigest(sum))
	}
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := io.Copy(w, br); err != nil {
		if errors.Is(err, order.ErrDamaged) {
			a.log.Error("a result file is damaged", zap.String("key", f.ObjectKey), zap.Error(err))
		}
		panic(http.ErrAbortHandler) // or the client left
	}
	return nil
}

// contentType is the recorded type, if it is one. What a browser would run is
// harmless: attachment, nosniff and a sandbox go with it.
func contentType(recorded string) string {
	if t, params, err := mime.ParseMediaType(recorded); err == nil && strings.Contains(t, "/") {
		if s := mime.FormatMediaType(t, params); s != "" {
			return s
		}
	}
	return "application/octet-stream"
}

// disposition names the file to be saved (RFC 6266): in ASCII for old clients,
// and in UTF-8 (RFC 8187) if that says more.
func disposition(filename string) string {
	var ascii, encoded strings.Builder
	plain := true
	for _, r := range order.Clip(filename, order.MaxFilenameBytes) {
		switch {
		case r > '~' || r == '"' || r == '\\' || r == '/' || r == '%':
			// Each of these is read differently by somebody inside quotes.
			plain = false
			ascii.WriteByte('_')
		default:
			ascii.WriteRune(r)
		}
		for _, b := range []byte(string(r)) {
			if isAttrChar(b) {
				encoded.WriteByte(b)
			} else {
				fmt.Fprintf(&encoded, "%%%02X", b)
			}
		}
	}
	if ascii.Len() == 0 {
		return "attachment"
	}
	d := `attachment; filename="` + ascii.String() + `"`
	if !plain {
		d += "; filename*=UTF-8''" + encoded.String()
	}
	return d
}

// isAttrChar reports whether RFC 8187 lets a byte stand for itself.
func isAttrChar(b byte) bool {
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		return true
	}
	return strings.IndexByte("!#$&+-.^_`|~", b) >= 0
}
