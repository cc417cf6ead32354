package results

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"poller/order"
)

// S3Writer takes the bytes of one new file. It is used by one goroutine, which
// ends it with exactly one of Close and Abort; Abort after Close does nothing.
//
// The bytes wait in a nameless local file until all are there: then their
// number and their digest are known, the request can be repeated, and no part
// of a file is ever in the bucket.
type S3Writer struct {
	s3   *S3
	ctx  context.Context //nolint:containedctx // a writer lives within one poll, whose end ends it
	key  string
	file *os.File // nil: ended
	hash hash.Hash
	size int64
	err  error // the first one; nothing is written after it
}

// Create begins a file of the order that the seller knows as remoteID, under a
// new key: orders/<remoteID>/<random>. When ctx ends, writing and closing fail. An
// error wraps order.ErrNoSpace if the local disk has no room for it.
func (s *S3) Create(ctx context.Context, remoteID string) (*S3Writer, error) {
	if !order.ValidID(remoteID) {
		return nil, fmt.Errorf("creating a result file: %q can't be a remote_id", remoteID)
	}
	key := newKey(remoteID)
	if err := ctx.Err(); err != nil {
		return nil, explain("creating", key, err)
	}
	f, err := newSpool(s.spool)
	if err != nil {
		return nil, explain("creating", key, err)
	}
	return &S3Writer{s3: s, ctx: ctx, key: key, file: f, hash: sha256.New()}, nil
}

// Write implements io.Writer. An error wraps order.ErrNoSpace if the local disk is full.
func (w *S3Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.file == nil {
		return 0, explain("writing", w.key, fs.ErrClosed)
	}
	if err := w.ctx.Err(); err != nil {
		w.err = explain("writing", w.key, err)
		return 0, w.err
	}
	n, err := w.file.Write(p)
	w.hash.Write(p[:n])
	w.size += int64(n)
	if err != nil {
		w.err = explain("writing", w.key, err)
	}
	return n, w.err
}

// Close puts the file into the bucket, where it is durable, and returns its
// key, its size in bytes and its SHA-256 in hex. If that fails, or a write has
// failed, nothing stays; order.ErrNoSpace then says that a disk is full.
func (w *S3Writer) Close() (key string, size int64, sha256Hex string, err error) {
	if w.file == nil {
		return "", 0, "", explain("closing", w.key, fs.ErrClosed)
	}
	defer w.Abort() // the local file
	if w.err != nil {
		return "", 0, "", w.err
	}
	sum := [sha256.Size]byte(w.hash.Sum(nil))
	sha256Hex = hex.EncodeToString(sum[:])
	// A section has no Close that the SDK could call.
	err = w.s3.put(w.ctx, w.key, io.NewSectionReader(w.file, 0, w.size), w.size, sum, onlyNew())
	if errors.Is(err, errTaken) {
		err = w.arrived(sha256Hex)
	}
	if err != nil {
		if !errors.Is(err, errTaken) { // what is there is not ours
			w.discard()
		}
		return "", 0, "", explain("storing", w.key, err)
	}
	return w.key, w.size, sha256Hex, nil
}

// arrived returns nil if the file is in the bucket after all: an attempt got
// through, its answer did not, and the next one found the name taken.
func (w *S3Writer) arrived(sha256Hex string) error {
	size, sum, err := w.s3.Stat(w.ctx, w.key)
	if err != nil {
		return err
	}
	if size != w.size || sum != sha256Hex {
		return errTaken
	}
	return nil
}

// discardTime is how long a file that may have arrived is sought to be removed.
const discardTime = 3 * time.Second

// discard removes what may have arrived although nobody could say so. If it
// can't, no order will name it, and SweepOrphans finds it.
func (w *S3Writer) discard() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), discardTime)
	defer cancel()
	_ = w.s3.Remove(ctx, w.key)
}

// Abort drops the file.
func (w *S3Writer) Abort() {
	if w.file != nil {
		_ = w.file.Close() // it has no name: that was all of it
		w.file = nil
	}
}

// put writes an object. Server and signature hold the digest against what
// arrives. errTaken: there is one already, and the condition was onlyNew.
func (s *S3) put(ctx context.Context, key string, body io.ReadSeeker, size int64, sum [sha256.Size]byte, condition *string) error {
	ctx, cancel := s.limit(ctx, size)
	defer cancel()
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket:         s.bucket,
		Key:            &key,
		Body:           body,
		ContentLength:  &size,
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum[:])),
		IfNoneMatch:    condition,
	}, signPayload(sum))
	if err != nil {
		return s3Reason(ctx, err)
	}
	return nil
}

// signPayload signs the body's digest, so that the SDK need not read it once
// more over HTTP, nor leave it out of the signature over HTTPS.
func signPayload(sum [sha256.Size]byte) func(*s3.Options) {
	known := middleware.FinalizeMiddlewareFunc("PayloadDigest",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			return next.HandleFinalize(v4.SetPayloadHash(ctx, hex.EncodeToString(sum[:])), in)
		})
	return func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Finalize.Add(known, middleware.Before)
		})
	}
}
