package results

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// maxDelete is how many objects one request can delete, and how many names one page of a list has.
const maxDelete = 1000

// Remove deletes files. A file that isn't there is no error, so that a
// deletion can be repeated. It goes on after an error about one file and
// returns all of them.
func (s *S3) Remove(ctx context.Context, keys ...string) error {
	var (
		failed []error
		valid  []string
	)
	for _, key := range keys {
		if ValidKey(key) {
			valid = append(valid, key)
		} else {
			failed = append(failed, explain("removing", key, errInvalidKey))
		}
	}
	for len(valid) > 0 {
		n := min(len(valid), maxDelete)
		if _, err := s.remove(ctx, valid[:n]); err != nil {
			failed = append(failed, err)
		}
		if ctx.Err() != nil {
			break
		}
		valid = valid[n:]
	}
	return errors.Join(failed...)
}

// remove deletes at most maxDelete files and returns how many are gone.
func (s *S3) remove(ctx context.Context, keys []string) (int, error) {
	if len(keys) == 1 {
		return s.removeEach(ctx, keys)
	}
	all := make([]types.ObjectIdentifier, len(keys))
	for i := range keys {
		all[i].Key = &keys[i]
	}
	whole, cancel := s.limit(ctx, 0)
	defer cancel()
	out, err := s.client.DeleteObjects(whole, &s3.DeleteObjectsInput{
		Bucket: s.bucket,
		Delete: &types.Delete{Objects: all, Quiet: aws.Bool(true)},
	})
	if lacksDeleteObjects(err) {
		return s.removeEach(ctx, keys)
	}
	if err != nil {
		return 0, fmt.Errorf("removing %d result files: %w", len(keys), s3Reason(whole, err))
	}
	var failed []error
	for _, e := range out.Errors {
		if code := aws.ToString(e.Code); code != "NoSuchKey" {
			failed = append(failed, explain("removing", aws.ToString(e.Key), &s3Error{text: "the S3 server fails (" + cleanCode(code) + ")"}))
		}
	}
	return len(keys) - len(failed), errors.Join(failed...)
}

// lacksDeleteObjects: not every server has this request.
func lacksDeleteObjects(err error) bool {
	answer := answerOf(err)
	return answer != nil && (answer.HTTPStatusCode() == http.StatusNotImplemented || answer.HTTPStatusCode() == http.StatusMethodNotAllowed)
}

// removeEach deletes one by one.
func (s *S3) removeEach(ctx context.Context, keys []string) (gone int, err error) {
	var failed []error
	for _, key := range keys {
		if err := s.removeOne(ctx, key); err != nil {
			failed = append(failed, explain("removing", key, err))
		} else {
			gone++
		}
		if ctx.Err() != nil {
			break
		}
	}
	return gone, errors.Join(failed...)
}

func (s *S3) removeOne(ctx context.Context, key string) error {
	ctx, cancel := s.limit(ctx, 0)
	defer cancel()
	if _, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: s.bucket, Key: &key}); err != nil {
		if err = s3Reason(ctx, err); !errors.Is(err, errNoObject) {
			return err
		}
	}
	return nil
}

// SweepOrphans removes the files last written before olderThan, by the
// server's clock, that no order names, and returns their number (GUARANTEES, G3).
// It goes on when some can't be removed and returns the first such error at
// the end; an error of named ends it. Names are asked about one by one: a file
// is kept if named says so. What is not named as poller names files stays.
//
// The file of a poll in flight has no owner yet, so olderThan must lie further
// back than any poll can last, and the wall clock must not be in doubt (G12).
func (s *S3) SweepOrphans(ctx context.Context, olderThan time.Time, named func(ctx context.Context, key string) (bool, error)) (removed int, err error) {
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{
		Bucket: s.bucket, Prefix: aws.String(top + "/"), MaxKeys: aws.Int32(maxDelete),
	})
	var failed error
	for pages.HasMorePages() {
		orphans, err := s.orphans(ctx, pages, olderThan, named)
		if err != nil {
			return removed, err
		}
		if len(orphans) == 0 {
			continue
		}
		n, err := s.remove(ctx, orphans)
		removed += n
		switch {
		case ctx.Err() != nil:
			return removed, err
		case failed == nil:
			failed = err
		}
	}
	return removed, failed
}

// orphans are the files of the next page that nobody owns.
func (s *S3) orphans(ctx context.Context, pages *s3.ListObjectsV2Paginator, olderThan time.Time, named func(ctx context.Context, key string) (bool, error)) ([]string, error) {
	whole, cancel := s.limit(ctx, 0)
	defer cancel()
	page, err := pages.NextPage(whole)
	if err != nil {
		return nil, fmt.Errorf("listing result files: %w", s3Reason(whole, err))
	}
	var keys []string
	for _, o := range page.Contents {
		key := aws.ToString(o.Key)
		if o.LastModified == nil || !o.LastModified.Before(olderThan) || !ValidKey(key) {
			continue
		}
		owned, err := named(ctx, key)
		if err != nil {
			return nil, err
		}
		if !owned {
			keys = append(keys, key)
		}
	}
	return keys, nil
}
