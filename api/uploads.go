package api

import (
	"context"
	"net/http"
	"strings"
	"unicode"

	"poller/order"
)

// MaxUpload is the largest file that may be uploaded, in bytes (SPEC §6).
const MaxUpload = 150 << 20

func (a *API) routeUploads() {
	handle(a, operation{
		method: http.MethodPost, path: "/v1/orders/{order_id}/uploads", id: "prepare-upload", tag: "orders",
		summary: "Prepare the upload of a result file: one PUT to a signed URL, which needs no token; the seller's answer then names object_key",
		errors: []int{
			http.StatusNotFound, http.StatusConflict, http.StatusGone,
			http.StatusNotImplemented, http.StatusServiceUnavailable, http.StatusInsufficientStorage,
		},
		body: UploadBody{},
	}, a.prepareUpload)
}

func (a *API) prepareUpload(ctx context.Context, in *orderWrite) (*out[Upload], error) {
	var b UploadBody
	if _, p := decode(in.RawBody, b.members()); p != nil {
		return nil, p
	}
	if faults := b.faults(); len(faults) > 0 {
		return nil, invalid(faults...)
	}
	if a.opt.Uploads == nil {
		return nil, problem(http.StatusNotImplemented,
			"uploads are off: results are kept in a folder, for which uploads.listen and uploads.public_url must be set in the configuration")
	}
	if !a.opt.Enough() {
		return nil, problemOf(order.ErrNoSpace)
	}
	o, err := a.opt.Store.Order(ctx, in.OrderID)
	if err == nil {
		err = refuseEnded(&o)
	}
	var u Upload
	if err == nil {
		u, err = a.opt.Uploads.Prepare(ctx, o, b.Filename, b.MIMEType, int64(*b.Size))
	}
	if err != nil {
		return nil, a.fail("prepare upload", err)
	}
	if u.Headers == nil {
		u.Headers = map[string]string{}
	}
	return &out[Upload]{u}, nil
}

// faults says what is wrong with the values.
func (b *UploadBody) faults() (faults []FieldError) {
	if !plainName(b.Filename) {
		faults = append(faults, FieldError{"filename", "must be a file's name of 1 to 255 bytes, without / and \\ and control characters"})
	}
	if !order.ValidMIMEType(b.MIMEType) {
		faults = append(faults, FieldError{"mime_type", "must be a media type such as application/pdf, at most 127 characters"})
	}
	if b.Size == nil || *b.Size < 1 || *b.Size > MaxUpload {
		faults = append(faults, FieldError{"size", "must be the file's exact size in bytes, 1 to 157286400"})
	}
	return faults
}

// plainName reports whether s is a name for a file, and nothing more.
func plainName(s string) bool {
	odd := func(r rune) bool { return r == '/' || r == '\\' || unicode.In(r, unicode.Cc, unicode.Cf) }
	return len(s) <= order.MaxFilenameBytes && strings.Trim(s, " .") != "" && !strings.ContainsFunc(s, odd)
}

func (b *UploadBody) members() members {
	return members{"filename": &b.Filename, "mime_type": &b.MIMEType, "size": &b.Size}
}
