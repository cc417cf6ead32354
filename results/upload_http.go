package results

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"poller/order"
)

// uploaded is the answer to a PUT that was taken.
type uploaded struct {
	ObjectKey string `json:"object_key"`
	Size      int64  `json:"size"`
	SHA256    string `json:"sha256"`
}

// refusal is why a PUT was not taken, in words for the seller.
type refusal struct {
	status int
	detail string
}

// ServeHTTP takes a PUT at a URL of Sign: 201 with {object_key, size, sha256},
// or an RFC 9457 problem. The signature is all that it asks for.
func (u *Uploads) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer u.rescue()
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Time{}) // that of the answer before on this connection
	kept, no := u.put(control, r)
	_ = control.SetWriteDeadline(time.Now().Add(uploadAnswerTime))
	if no == nil {
		writeJSON(w, "application/json", http.StatusCreated, kept)
		return
	}
	_ = control.EnableFullDuplex() // the answer doesn't wait for the rest of the body
	writeRefusal(w, no)
	_ = control.Flush()
	linger(control, r.Body)
}

// linger reads what still comes of a body that was refused. To close at once
// would reset the connection, and a proxy that is still sending then makes a 502 of our answer.
func linger(control *http.ResponseController, body io.Reader) {
	end := time.Now().Add(uploadLinger)
	for {
		if !setReadDeadline(control, uploadLingerIdle, end) {
			return
		}
		if _, err := io.CopyN(io.Discard, body, uploadBuffer); err != nil {
			return
		}
	}
}

// setReadDeadline gives the client so much time for the next piece, but not beyond the end; false: that is past.
func setReadDeadline(control *http.ResponseController, idle time.Duration, end time.Time) bool {
	now := time.Now()
	next := now.Add(idle)
	if next.After(end) {
		next = end
	}
	_ = control.SetReadDeadline(next)
	return next.After(now)
}

// rescue logs a panic, without the URL that it came by, and cuts the connection.
func (u *Uploads) rescue() {
	v := recover()
	if v == nil {
		return
	}
	const maxStack = 6000 // a record stays one line of at most 8 KiB
	u.opt.Log.Error("panic in an upload", zap.String("panic", order.Clip(fmt.Sprint(v), order.MaxDetail)),
		zap.String("stack", order.Clip(string(debug.Stack()), maxStack)))
	panic(http.ErrAbortHandler)
}

// put does what a PUT asks for, or says why not.
func (u *Uploads) put(control *http.ResponseController, r *http.Request) (*uploaded, *refusal) {
	s, no := u.admit(r)
	if no != nil {
		return nil, no
	}
	o, no := u.slot(r.Context(), s)
	if no != nil {
		return nil, no
	}
	leave, no := u.enter(o.SellerID)
	if no != nil {
		return nil, no
	}
	defer leave()
	if no := u.room(s.key); no != nil {
		return nil, no
	}
	sum, no := u.take(control, r, s)
	if no != nil {
		u.opt.Log.Debug("upload refused", zap.String("order_id", o.ID), zap.Int("status", no.status), zap.String("detail", no.detail))
		return nil, no
	}
	u.opt.Log.Info("upload kept", zap.String("order_id", o.ID), zap.String("seller_id", o.SellerID), zap.Int64("size", s.size))
	return &uploaded{s.key, s.size, sum}, nil
}

// admit judges all of a request that stands before its body.
func (u *Uploads) admit(r *http.Request) (*uploadURL, *refusal) {
	if r.Method != http.MethodPut {
		return nil, &refusal{http.StatusMethodNotAllowed, "files are uploaded with PUT"}
	}
	s, signature, ok := parseUploadURL(r.URL.Path, r.URL.RawQuery)
	if !ok || !s.signed(u.opt.Key, signature) {
		return nil, &refusal{http.StatusForbidden, "this is no signed upload URL, or it was changed"}
	}
	if u.opt.Now().Unix() >= s.expires {
		return nil, &refusal{http.StatusForbidden, "the upload URL has expired; prepare another one"}
	}
	return &s, s.judge(r)
}

// judge compares the headers with what was signed.
func (s *uploadURL) judge(r *http.Request) *refusal {
	switch {
	case r.ContentLength < 0 || r.ContentLength == 0 && r.Header.Get("Content-Length") == "":
		return &refusal{http.StatusLengthRequired, fmt.Sprintf("a Content-Length of %d is needed, without Transfer-Encoding", s.size)}
	case r.ContentLength > s.size:
		return &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("%d bytes were prepared, not %d", s.size, r.ContentLength)}
	case r.ContentLength < s.size:
		return &refusal{http.StatusBadRequest, fmt.Sprintf("%d bytes were prepared, not %d", s.size, r.ContentLength)}
	case !slices.Equal(r.Header.Values("Content-Type"), []string{s.mimeType}):
		return &refusal{http.StatusUnsupportedMediaType, "the Content-Type must be the one that was prepared: " + s.mimeType}
	case r.Header.Get("Content-Encoding") != "":
		return &refusal{http.StatusUnsupportedMediaType, "the file must be sent as it is, without Content-Encoding"}
	case r.Header.Get("Content-Range") != "":
		return &refusal{http.StatusBadRequest, "the file must be sent whole, without Content-Range"}
	}
	return nil
}

// room says whether a file can be kept under the key, before its bytes are read.
func (u *Uploads) room(key string) *refusal {
	if !u.opt.Enough() {
		return u.refusalOf("", order.ErrNoSpace)
	}
	f, _, err := u.opt.Dir.open(key)
	switch {
	case err == nil:
		_ = f.Close() // it was not even read
		return u.refusalOf("", order.ErrConflict)
	case !errors.Is(err, order.ErrNotFound):
		return u.refusalOf("looking for a file under an upload's key", err)
	}
	return nil
}

// take reads the body and keeps it, all or nothing, and returns its SHA-256 in hex.
func (u *Uploads) take(control *http.ResponseController, r *http.Request, s *uploadURL) (sum string, no *refusal) {
	p, err := u.opt.Dir.newPart()
	if err != nil {
		return "", u.refusalOf("beginning an upload", err)
	}
	defer func() {
		if err := p.discard(); err != nil {
			u.opt.Log.Warn("part of an upload left behind: it is removed at the next start", zap.Error(err))
		}
	}()
	if no := u.receive(control, r.Body, p, s.size); no != nil {
		return "", no
	}
	if _, no := u.slot(r.Context(), s); no != nil {
		return "", no
	}
	if sum, err = p.publish(r.Context(), s.key); err != nil {
		return "", u.refusalOf("publishing an upload", err)
	}
	return sum, u.confirm(context.WithoutCancel(r.Context()), s)
}

// confirm looks once more for the slot: if the order ended just before the file
// appeared, and without naming it, nobody else would remove the file for a day.
func (u *Uploads) confirm(ctx context.Context, s *uploadURL) *refusal {
	if _, _, err := u.opt.Slots.Upload(ctx, s.key); !errors.Is(err, order.ErrNotFound) {
		return nil
	}
	if err := u.opt.Dir.Remove(ctx, s.key); err != nil {
		u.opt.Log.Warn("an upload left behind: it is swept in a day", zap.Error(err))
	}
	return &refusal{http.StatusGone, "the order ended before the file was there"}
}

// receive writes exactly size bytes of the body.
func (u *Uploads) receive(control *http.ResponseController, body io.Reader, p *part, size int64) *refusal {
	buf := make([]byte, min(size, uploadBuffer))
	end := time.Now().Add(uploadTime)
	for got, looked := int64(0), int64(0); got < size; {
		setReadDeadline(control, uploadIdle, end)
		n, err := body.Read(buf[:min(size-got, int64(len(buf)))])
		if err := p.write(buf[:n]); err != nil {
			return u.refusalOf("writing an upload", err)
		}
		got += int64(n)
		if got-looked >= uploadSpaceStep {
			if looked = got; !u.opt.Enough() {
				return u.refusalOf("", order.ErrNoSpace)
			}
		}
		switch {
		case got == size:
		case errors.Is(err, os.ErrDeadlineExceeded):
			return &refusal{http.StatusRequestTimeout, fmt.Sprintf("the upload stalled, or took more than %s", uploadTime)}
		case err != nil:
			return &refusal{http.StatusBadRequest, "the body ended before its Content-Length"}
		}
	}
	_ = control.SetReadDeadline(time.Time{}) // the time that our disk takes is not the seller's
	return nil
}

// refusalOf words an error for the seller, and logs it if an operator should look at it.
func (u *Uploads) refusalOf(doing string, err error) *refusal {
	switch {
	case errors.Is(err, order.ErrNoSpace):
		return &refusal{http.StatusInsufficientStorage, "not enough free disk space; try again later"}
	case errors.Is(err, order.ErrConflict):
		return &refusal{http.StatusConflict, "the file was uploaded already, and stays as it is"}
	case errors.Is(err, order.ErrStopping), errors.Is(err, order.ErrBroken):
		return &refusal{http.StatusServiceUnavailable, "poller is shutting down; try again later"}
	case errors.Is(err, context.Canceled):
		return &refusal{http.StatusBadRequest, "the request was given up"}
	}
	u.opt.Log.Error("upload failed", zap.String("doing", doing), zap.Error(err))
	return &refusal{http.StatusInternalServerError, "an error of poller's own; try again later"}
}

// problemBody is an RFC 9457 problem, of the same shape as the API's.
type problemBody struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// uploadRetryAfter is when to try again if too many upload at once, in seconds.
const uploadRetryAfter = 30

// writeRefusal answers with a problem. The connection ends: nobody knows what of the body is still to come.
func writeRefusal(w http.ResponseWriter, no *refusal) {
	h := w.Header()
	h.Set("Connection", "close")
	switch no.status {
	case http.StatusMethodNotAllowed:
		h.Set("Allow", http.MethodPut)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(uploadRetryAfter))
	}
	writeJSON(w, "application/problem+json", no.status, problemBody{http.StatusText(no.status), no.status, no.detail})
}

func writeJSON(w http.ResponseWriter, mimeType string, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers: it can't
	}
	h := w.Header()
	h.Set("Content-Type", mimeType)
	h.Set("Content-Length", strconv.Itoa(len(b)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // who is gone needs no answer
}
