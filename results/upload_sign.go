package results

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"poller/order"
)

// Parameters of a signed URL.
const (
	paramExpires   = "expires" // seconds since 1970
	paramSize      = "size"    // bytes
	paramType      = "type"
	paramSignature = "signature" // HMAC-SHA-256, hex
)

// uploadURL is what a signed URL permits: one file, under one key (and so for
// one order), of this size and type, until then.
type uploadURL struct {
	key      string
	size     int64 // bytes
	mimeType string
	expires  int64 // seconds since 1970
}

// Sign returns a URL for one PUT of a file of that size (1 to MaxUpload bytes)
// and type under a key of NewUploadKey, good for UploadExpiry from now, and the
// headers to send with it. Who holds the URL needs no token: it must not be
// logged. An error means that an argument can't be, or that uploads are off.
func (u *Uploads) Sign(key string, size int64, mimeType string, now time.Time) (signedURL string, headers map[string]string, err error) {
	base := strings.TrimRight(u.opt.PublicURL(), "/")
	switch {
	case base == "":
		err = errors.New("uploads.public_url is not set")
	case len(u.opt.Key) != uploadSigningKey:
		err = fmt.Errorf("the signing key must have %d bytes", uploadSigningKey)
	case !validUploadKey(key):
		err = errors.New("no key for uploads")
	case size < 1 || size > MaxUpload:
		err = fmt.Errorf("the size must be 1 to %d bytes", MaxUpload)
	case !order.ValidMIMEType(mimeType):
		err = errors.New("no media type")
	}
	if err != nil {
		return "", nil, fmt.Errorf("signing an upload: %w", err)
	}
	s := uploadURL{key, size, mimeType, now.Add(UploadExpiry).Unix()}
	q := url.Values{
		paramExpires: {strconv.FormatInt(s.expires, 10)}, paramSize: {strconv.FormatInt(size, 10)},
		paramType: {mimeType}, paramSignature: {s.signature(u.opt.Key)},
	}
	// %20 is a space for every reader, + for some.
	return base + "/" + key + "?" + strings.ReplaceAll(q.Encode(), "+", "%20"), map[string]string{"Content-Type": mimeType}, nil
}

// signature is the HMAC over all that is bound, in hex. The first line is the
// version; the type comes last, since it alone has no alphabet of its own.
func (s *uploadURL) signature(key []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "poller upload 1\nPUT\n%s\n%d\n%d\n%s", s.key, s.size, s.expires, s.mimeType)
	return hex.EncodeToString(mac.Sum(nil))
}

// signed reports whether this signature is ours, in time that tells nothing of ours.
func (s *uploadURL) signed(key []byte, signature string) bool {
	return len(key) == uploadSigningKey && hmac.Equal([]byte(signature), []byte(s.signature(key)))
}

// parseUploadURL reads a signed URL. The key is the end of the path: before it
// stands the path of uploads.public_url, or nothing if the proxy takes it off.
func parseUploadURL(path, rawQuery string) (s uploadURL, signature string, ok bool) {
	segments := strings.Split(path, "/")
	if len(segments) < 5 || segments[0] != "" {
		return s, "", false
	}
	s.key = strings.Join(segments[len(segments)-4:], "/")
	q, err := url.ParseQuery(rawQuery)
	if err != nil || len(q) != 4 {
		return s, "", false
	}
	for _, values := range q {
		if len(values) != 1 {
			return s, "", false
		}
	}
	var expiresOK, sizeOK bool
	s.expires, expiresOK = decimal(q.Get(paramExpires))
	s.size, sizeOK = decimal(q.Get(paramSize))
	s.mimeType = q.Get(paramType)
	signature = q.Get(paramSignature)
	ok = expiresOK && sizeOK && signature != "" && validUploadKey(s.key) && s.size >= 1 && s.size <= MaxUpload && order.ValidMIMEType(s.mimeType)
	return s, signature, ok
}

// decimal reads a number as Sign writes it.
func decimal(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && strconv.FormatInt(n, 10) == s
}
