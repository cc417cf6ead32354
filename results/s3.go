package results

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// S3 keeps the files in a bucket, under the names that Dir would give them:
//
//	poller-store-id                  which database the bucket belongs to
//	orders/<remote_id>/<random>      the files, each written once and never changed
//
// The bucket must be poller's alone and must not keep versions: what is deleted
// there would stay (GUARANTEES, G29). The server must know conditional writes
// (If-None-Match), and one PUT must take a whole file: 5 GiB with AWS.
//
// A request is tried three times in half a minute, and four seconds more for
// each MiB that it carries; a connection on which nothing moves for 15 seconds
// is given up. Its methods may be called concurrently.
type S3 struct {
	client    *s3.Client
	transport *http.Transport
	bucket    *string
	spool     string
	limits    *s3Limits
	created   bool
}

// OpenS3 opens the bucket, which must belong to the database with that store
// id. One that is empty becomes this database's, and of two databases that want
// it only one gets it; anything else is ErrForeign. Another error says what to do: wrong
// keys, no such bucket, another region, an endpoint that can't be reached. None names keys.
func OpenS3(ctx context.Context, o S3Options, storeID string) (*S3, error) {
	if err := checkStoreID(storeID); err != nil {
		return nil, fmt.Errorf("results bucket: %w", err)
	}
	if o.limits == nil {
		o.limits = &defaultS3Limits
	}
	if err := clearSpool(o.SpoolDir); err != nil {
		return nil, fmt.Errorf("folder for files on their way to the bucket: %w", err)
	}
	s := &S3{transport: newS3Transport(&o), bucket: &o.Bucket, spool: o.SpoolDir, limits: o.limits}
	s.client = newS3Client(&o, s.transport)
	if err := s.claim(ctx, storeID); err != nil {
		s.transport.CloseIdleConnections()
		return nil, fmt.Errorf("results bucket %s: %w", o.Bucket, err)
	}
	return s, nil
}

// Close releases the connections. Files that are open stay usable.
func (s *S3) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

// Created reports whether OpenS3 found the bucket empty. If the database is
// not new, its files are in another one.
func (s *S3) Created() bool { return s.created }

// Mark gives the bucket to the database with that store id: from now on OpenS3
// wants that one. It is how a restored database takes over the files of the one it
// was copied from: open the bucket as that one, then mark it (SPEC §6).
func (s *S3) Mark(ctx context.Context, storeID string) error {
	if err := checkStoreID(storeID); err != nil {
		return fmt.Errorf("results bucket: %w", err)
	}
	if err := s.mark(ctx, storeID, nil); err != nil {
		return fmt.Errorf("results bucket %s: %w", *s.bucket, err)
	}
	return nil
}

// onlyNew is the condition that there is no object of that name.
func onlyNew() *string { return aws.String("*") }

// claim makes sure that the bucket is this database's, and that the server can do what is asked of it.
func (s *S3) claim(ctx context.Context, storeID string) error {
	owner, err := s.owner(ctx)
	if errors.Is(err, errNoObject) {
		if err := s.checkEmpty(ctx); err != nil {
			return err
		}
		err = s.mark(ctx, storeID, onlyNew())
		if err != nil && !errors.Is(err, errTaken) {
			return err
		}
		s.created = err == nil
		owner, err = s.owner(ctx) // another database's, if it was quicker
	}
	if err != nil {
		return err
	}
	if owner != storeID {
		return foreignOwner(owner, storeID)
	}
	// The mark is there, so that a server that keeps to the condition refuses this.
	switch err := s.mark(ctx, storeID, onlyNew()); {
	case errors.Is(err, errTaken):
		return nil
	case err != nil:
		return err
	}
	return errors.New("the S3 server does not know conditional writes (If-None-Match): an upload could replace a file")
}

// checkEmpty refuses a bucket that holds anything.
func (s *S3) checkEmpty(ctx context.Context) error {
	ctx, cancel := s.limit(ctx, 0)
	defer cancel()
	list, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: s.bucket, MaxKeys: aws.Int32(1)})
	if err != nil {
		return fmt.Errorf("listing: %w", s3Reason(ctx, err))
	}
	if len(list.Contents) > 0 {
		return foreignContent(aws.ToString(list.Contents[0].Key))
	}
	return nil
}

// owner returns the store id in the mark; errNoObject: there is none.
func (s *S3) owner(ctx context.Context) (string, error) {
	mark, err := s.get(ctx, markFile, false)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", markFile, err)
	}
	defer mark.Close()
	if mark.size > maxMark {
		return "", foreignMark()
	}
	content, err := io.ReadAll(mark)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", markFile, err)
	}
	return strings.TrimSpace(string(content)), nil
}

// mark writes the mark.
func (s *S3) mark(ctx context.Context, storeID string, condition *string) error {
	content := []byte(storeID + "\n")
	if err := s.put(ctx, markFile, bytes.NewReader(content), int64(len(content)), sha256.Sum256(content), condition); err != nil {
		return fmt.Errorf("writing %s: %w", markFile, err)
	}
	return nil
}

// limit returns a context for a request that carries so many bytes.
func (s *S3) limit(ctx context.Context, size int64) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, s.limits.whole(size), errSlow)
}

// spoolPattern names files for the moment between their making and their being made nameless.
const spoolPattern = "poller-spool-*"

// newSpool opens a nameless file that only this process can read.
func newSpool(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, spoolPattern) // 0600
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// clearSpool removes what a crash within newSpool left: empty files.
func clearSpool(dir string) error {
	if info, err := os.Stat(dir); err != nil {
		return err
	} else if !info.IsDir() {
		return errors.New("it is no folder")
	}
	left, err := filepath.Glob(filepath.Join(dir, spoolPattern))
	if err != nil {
		return err
	}
	for _, name := range left {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
