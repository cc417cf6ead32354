package results

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/gabriel-vasile/mimetype"
	"go.uber.org/zap"

	"poller/order"
)

// Limits of an upload (SPEC §6), whatever the driver.
const (
	MaxUpload    = 150 << 20 // bytes of one file
	UploadExpiry = time.Hour // from signing to the begin of the PUT
)

// Bounds on clients of the upload address.
const (
	uploadHeaderTime  = 10 * time.Second
	uploadIdle        = 30 * time.Second // without a byte of the body
	uploadTime        = 10 * time.Minute // for a whole body: 256 KiB/s for the largest
	uploadAnswerTime  = 30 * time.Second // for reading our answer
	uploadLinger      = 30 * time.Second // for what is still on its way of a body that was refused
	uploadLingerIdle  = 2 * time.Second  // ... without a piece of it
	uploadsAtOnce     = 32
	uploadsPerSeller  = 8
	uploadBuffer      = 64 << 10 // bytes of memory for each
	uploadSpaceStep   = 8 << 20  // bytes after which free space is looked at again
	uploadHeaderBytes = 16 << 10
	uploadSigningKey  = 32 // bytes
)

// Slots knows which uploads were prepared.
type Slots interface {
	// Upload returns the order in processing that a key was prepared for, and
	// the size in bytes. order.ErrNotFound: there is no such slot, or it went with
	// the end of its order. order.ErrEnded: the order ended with the key in its result.
	Upload(ctx context.Context, key string) (order.Order, int64, error)
}

// UploadOptions say what an Uploads works with. All are needed.
type UploadOptions struct {
	Dir       *Dir
	Key       []byte           // signs URLs: 32 bytes, and secret; with another one the URLs given out before are void
	PublicURL func() string    // uploads.public_url: how sellers reach the server; a path in it may be kept or taken off by the proxy
	Slots     Slots            // which uploads were prepared
	Enough    func() bool      // is there min_free space?
	Now       func() time.Time // wall clock
	Log       *zap.Logger
}

// Uploads takes the files that sellers upload while results are kept in a
// directory (SPEC §6). Sign makes a URL for one PUT of one file, ServeHTTP takes
// the PUT: a file that came whole appears under its key at once, of any other
// nothing stays, and the URL can be used again. Its methods may be called concurrently.
type Uploads struct {
	opt UploadOptions

	mu      sync.Mutex
	running int            // PUTs
	sellers map[string]int // ... by seller_id
}

// NewUploads makes an Uploads.
func NewUploads(opt UploadOptions) *Uploads {
	return &Uploads{opt: opt, sellers: make(map[string]int)}
}

// Server returns a server for uploads.listen, with bounds on headers and
// connections; the caller lets it listen and shuts it down. Close, after a
// Shutdown that took too long, cuts the PUTs that are left: nothing of them stays.
// Its ErrorLog is the caller's to set: what it says quotes strangers.
func (u *Uploads) Server() *http.Server {
	return &http.Server{
		Handler:           u,
		ReadHeaderTimeout: uploadHeaderTime,
		IdleTimeout:       uploadIdle,
		MaxHeaderBytes:    uploadHeaderBytes,
		// "OPTIONS *" is a method like any other here.
		DisableGeneralOptionsHandler: true,
	}
}

// NewUploadKey returns the key for an upload for the order that the seller knows
// as remoteID: orders/<remoteID>/<random>/<name>. Nobody can guess it and it
// was never given before. The name is what ASCII leaves of the filename, with
// an extension that fits the type if it brings none: an answer that names the
// key and no filename gets its name and type from there. All characters are
// unreserved in URLs. The remoteID must be a valid one.
func NewUploadKey(remoteID, filename, mimeType string) string {
	return newKey(remoteID) + "/" + uploadName(filename, mimeType)
}

// uploadName is the last segment of an upload's key; it is a valid id (order.ValidID).
func uploadName(filename, mimeType string) string {
	const (
		longest          = 100
		longestExtension = 16
		alphabet         = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.~-"
	)
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune(alphabet, r) {
			return r
		}
		return '_'
	}, filename[strings.LastIndexAny(filename, `/\`)+1:])
	ext := path.Ext(name)
	stem := strings.Trim(strings.TrimSuffix(name, ext), "._")
	if len(ext) < 2 || len(ext) > longestExtension || strings.Contains(ext, "_") {
		ext = ""
		base, _, _ := strings.Cut(mimeType, ";")
		if t := mimetype.Lookup(strings.TrimSpace(base)); t != nil {
			ext = t.Extension()
		}
	}
	if stem == "" {
		stem = "file"
	}
	return stem[:min(len(stem), longest-len(ext))] + ext
}

// validUploadKey reports whether a key can have come from NewUploadKey.
func validUploadKey(key string) bool {
	segments := strings.Split(key, "/")
	return len(segments) == 4 && segments[0] == top &&
		order.ValidID(segments[1]) && len(segments[2]) == randomLength && order.ValidID(segments[2]) && order.ValidID(segments[3])
}

// enter takes a place for one PUT of a seller; leave gives it back. A refusal if there is none.
func (u *Uploads) enter(seller string) (leave func(), no *refusal) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.running >= uploadsAtOnce || u.sellers[seller] >= uploadsPerSeller {
		return nil, &refusal{http.StatusServiceUnavailable, "too many uploads at once; try again later"}
	}
	u.running++
	u.sellers[seller]++
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.running--
		if u.sellers[seller]--; u.sellers[seller] == 0 {
			delete(u.sellers, seller)
		}
	}, nil
}

// slot returns the order that a key was prepared for, if it still waits for its result.
func (u *Uploads) slot(ctx context.Context, s *uploadURL) (order.Order, *refusal) {
	o, size, err := u.opt.Slots.Upload(ctx, s.key)
	switch {
	case errors.Is(err, order.ErrNotFound):
		return o, &refusal{http.StatusGone, "nothing is expected under this key any more: was the order ended?"}
	case errors.Is(err, order.ErrEnded):
		return o, &refusal{http.StatusConflict, "the order has ended"}
	case err != nil:
		return o, u.refusalOf("looking for an upload's order", err)
	case size != s.size:
		return o, &refusal{http.StatusForbidden, fmt.Sprintf("%d bytes were prepared, not %d", size, s.size)}
	}
	return o, nil
}
