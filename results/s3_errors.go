package results

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"regexp"
	"syscall"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// s3Error says in our words what the server did, or the way to it, and what to
// do about it. The SDK's words are left out: they may hold keys and addresses (GUARANTEES, G19).
type s3Error struct {
	text  string
	cause error
}

func (e *s3Error) Error() string { return e.text }
func (e *s3Error) Unwrap() error { return e.cause }

var (
	// errSlow is the cause of a context that ended because a request took too long.
	errSlow = errors.New("the S3 server takes too long")
	// errTaken: there is an object of that name, and the condition was that there is none.
	errTaken = errors.New("there is an object of that name")
	// errNoObject is what isn't there, as a file that isn't.
	errNoObject = fmt.Errorf("there is no such object: %w", fs.ErrNotExist)
)

// s3Reason makes an error to be shown of what the SDK returned from a call under
// ctx, or reading an answer did. Nothing of it names the server's address.
func s3Reason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause // whatever came of it
	}
	if answer := answerOf(err); answer != nil {
		return answerReason(answer, err)
	}
	return &s3Error{"the S3 server can't be reached (" + networkReason(err) + "): check endpoint and region in results.bucket, and the network", err}
}

// answerOf returns the server's answer that err is about; nil: there was none.
func answerOf(err error) *smithyhttp.ResponseError {
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) || answer.Response == nil || answer.Response.Response == nil || answer.HTTPStatusCode() == 0 {
		return nil // the SDK makes up an answer for a connection that failed
	}
	return answer
}

// What S3 and its like call their errors.
var (
	keyCodes = map[string]bool{
		"InvalidAccessKeyId": true, "SignatureDoesNotMatch": true, "InvalidToken": true, "ExpiredToken": true,
		"TokenRefreshRequired": true, "InvalidSecurity": true, "NotSignedUp": true,
		"XAdminUserNotFound": true, // versitygw
	}
	regionCodes = map[string]bool{
		"AuthorizationHeaderMalformed": true, "PermanentRedirect": true, "TemporaryRedirect": true, "IllegalLocationConstraintException": true,
	}
	codePattern = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)
)

// cleanCode returns the code of an error; what does not look like one is not repeated.
func cleanCode(code string) string {
	if !codePattern.MatchString(code) {
		return "unknown"
	}
	return code
}

// answerReason is about an answer that is an error.
func answerReason(answer *smithyhttp.ResponseError, err error) error {
	status := answer.HTTPStatusCode()
	code := "unknown"
	if api := smithy.APIError(nil); errors.As(err, &api) {
		code = cleanCode(api.ErrorCode())
	}
	said := fmt.Sprintf("HTTP %d %s", status, code)
	var text string
	switch {
	case code == "NoSuchKey":
		return errNoObject
	case status == http.StatusPreconditionFailed:
		return errTaken
	case code == "NoSuchBucket":
		text = "there is no such bucket: create it, or correct results.bucket"
	case keyCodes[code]:
		text = fmt.Sprintf("the S3 server refuses the keys (%s): check %s, %s and %s", said, envKeyID, envSecret, envToken)
	case regionCodes[code], status/100 == 3:
		text = fmt.Sprintf("the bucket is elsewhere (%s): %s in results.bucket", said, regionHint(answer))
	case code == "RequestTimeTooSkewed":
		text = "the clocks of this machine and of the S3 server differ too much: set them right"
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		text = fmt.Sprintf("the S3 server does not allow it (%s): the keys need s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject in the bucket", said)
	case status == http.StatusInsufficientStorage:
		return &s3Error{"the S3 server has no space", errors.Join(syscall.ENOSPC, err)}
	default:
		text = fmt.Sprintf("the S3 server fails (%s)", said)
	}
	return &s3Error{text, err}
}

// regionHint says what to correct; AWS names the region that a bucket is in.
func regionHint(answer *smithyhttp.ResponseError) string {
	if region := answer.Response.Header.Get("X-Amz-Bucket-Region"); validRegion.MatchString(region) {
		return "set region=" + region
	}
	return "correct region and endpoint"
}

// networkReason is about an answer that did not come, or not whole.
func networkReason(err error) string {
	var (
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		errno       syscall.Errno
		timeout     net.Error
	)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "its name has no address"
	case errors.As(err, &dns):
		return "its name can't be looked up"
	case errors.As(err, &certificate):
		return "its certificate is not to be trusted"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was cut"
	}
	return "no usable answer"
}
