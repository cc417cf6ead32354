package results

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"poller/order"
)

// MaxPresign is how long a signed URL can be good for: S3 takes none for longer.
const MaxPresign = 7 * 24 * time.Hour

// PresignPut signs one PUT of a new file: whoever has the URL can put so many
// bytes of that type under that key, until it expires, and only once. The
// client must send the headers, with these values, and no other that begins
// with X-Amz. What comes in parts is not kept. It talks to nobody.
//
// An error means that the arguments are no good: an invalid key, a size that is not
// positive, no media type, an expiry outside one second…MaxPresign.
func (s *S3) PresignPut(ctx context.Context, key string, size int64, mimeType string, expires time.Duration) (url string, headers map[string]string, err error) {
	switch {
	case !ValidKey(key):
		return "", nil, explain("signing an upload of", key, errInvalidKey)
	case size <= 0, !order.ValidMIMEType(mimeType), expires < time.Second, expires > MaxPresign:
		return "", nil, fmt.Errorf("signing an upload of result file %q: %d bytes of %q for %s is not possible", key, size, mimeType, expires)
	}
	signed, err := s3.NewPresignClient(s.client).PresignPutObject(ctx, &s3.PutObjectInput{
		Bucket:        s.bucket,
		Key:           &key,
		ContentLength: &size,
		ContentType:   &mimeType,
		IfNoneMatch:   onlyNew(),
	}, s3.WithPresignExpires(expires))
	if err != nil {
		return "", nil, explain("signing an upload of", key, s3Reason(ctx, err))
	}
	headers = make(map[string]string)
	for name := range signed.SignedHeader {
		if name != "Host" { // it is in the URL
			headers[name] = signed.SignedHeader.Get(name)
		}
	}
	return signed.URL, headers, nil
}
