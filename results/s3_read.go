package results

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"poller/order"
)

// Open opens a file of a result for reading from begin to end, as Dir.Open
// does: another size than the one on record is order.ErrDamaged here, another
// content order.ErrDamaged from the last Read, which keeps the end of the file
// back until the digest is known to be right. A connection that breaks is
// another error. A file that isn't there is order.ErrNotFound. Reading ends with ctx.
func (s *S3) Open(ctx context.Context, file order.File) (io.ReadCloser, error) {
	if !ValidKey(file.ObjectKey) {
		return nil, explain("opening", file.ObjectKey, errInvalidKey)
	}
	o, err := s.get(ctx, file.ObjectKey, false)
	if err != nil {
		return nil, explain("opening", file.ObjectKey, err)
	}
	if o.size != file.Size {
		_ = o.Close() // it was not even read
		return nil, damaged(file.ObjectKey, fmt.Sprintf("it has %d bytes instead of %d", o.size, file.Size))
	}
	return &reader{ctx: ctx, file: o, hash: sha256.New(), want: file, left: file.Size}, nil
}

// Verify reads a whole file and returns nil if it has the size and the SHA-256
// on record, else what Open and reading would.
func (s *S3) Verify(ctx context.Context, file order.File) error {
	r, err := s.Open(ctx, file)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // it was only read
	_, err = io.Copy(io.Discard, r)
	return err
}

// Stat returns a file's size in bytes and its SHA-256 in hex: the one that the
// server checked when the file came, or else the file is read. order.ErrNotFound:
// there is none, or there can be none under such a key.
func (s *S3) Stat(ctx context.Context, key string) (size int64, sha256Hex string, err error) {
	if !ValidKey(key) {
		return 0, "", explain("opening", key, errInvalidKey)
	}
	o, err := s.get(ctx, key, true)
	if err != nil {
		return 0, "", explain("opening", key, err)
	}
	defer o.Close()
	if o.sha256 != "" {
		return o.size, o.sha256, nil
	}
	slow := time.AfterFunc(s.limits.whole(o.size), func() { o.end(errSlow) })
	defer slow.Stop()
	h := sha256.New()
	if size, err = io.Copy(h, o); err != nil {
		return 0, "", explain("reading", key, err)
	}
	if size != o.size {
		return 0, "", damaged(key, fmt.Sprintf("%d bytes came instead of %d", size, o.size))
	}
	return size, hex.EncodeToString(h.Sum(nil)), nil
}

// object is an answer with the bytes of one object. It must be closed.
type object struct {
	io.Reader
	size   int64
	sha256 string // in hex; "": the server has none, or was not asked

	ctx  context.Context //nolint:containedctx // an io.Reader has no other way to learn of it
	end  context.CancelCauseFunc
	body io.Closer
}

// get asks for an object. There is a limit in time until the first byte, then
// only that of the connection; reading ends with ctx. errNoObject: there is none.
func (s *S3) get(ctx context.Context, key string, digest bool) (*object, error) {
	ctx, end := context.WithCancelCause(ctx)
	slow := time.AfterFunc(s.limits.whole(0), func() { end(errSlow) })
	defer slow.Stop()
	in := &s3.GetObjectInput{Bucket: s.bucket, Key: &key}
	if digest {
		in.ChecksumMode = types.ChecksumModeEnabled
	}
	out, err := s.client.GetObject(ctx, in)
	if err != nil {
		err = s3Reason(ctx, err)
		end(nil)
		return nil, err
	}
	o := &object{Reader: out.Body, size: -1, ctx: ctx, end: end, body: out.Body}
	if out.ContentLength != nil {
		o.size = *out.ContentLength
	}
	if sum, err := base64.StdEncoding.DecodeString(aws.ToString(out.ChecksumSHA256)); err == nil &&
		len(sum) == sha256.Size && out.ChecksumType != types.ChecksumTypeComposite {
		o.sha256 = hex.EncodeToString(sum)
	}
	if o.size < 0 {
		_ = o.Close() // of no use
		return nil, &s3Error{text: "the S3 server does not say how long the file is"}
	}
	return o, nil
}

// Read implements io.Reader.
func (o *object) Read(p []byte) (int, error) {
	n, err := o.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = s3Reason(o.ctx, err)
	}
	return n, err
}

// Close implements io.Closer.
func (o *object) Close() error {
	o.end(context.Canceled)
	_ = o.body.Close() // what is left of it is not wanted
	return nil
}
