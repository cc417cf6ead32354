package results

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// s3Limits are the limits in time of talking to the server. A request that
// failed without anybody's fault (no connection, a cut, 5xx, throttling) is made again.
type s3Limits struct {
	attempts int           // of one request
	backoff  time.Duration // between them, at most; the SDK picks at random
	dial     time.Duration // to connect, and again for TLS
	stall    time.Duration // for the next byte, in either direction
	request  time.Duration // for one request with all its attempts ...
	perMiB   time.Duration // ... and so much more for what it carries
}

// defaultS3Limits: a large file at 256 KiB/s just gets through; a server that
// hangs holds up whoever waits for it for half a minute.
var defaultS3Limits = s3Limits{
	attempts: 3, backoff: 5 * time.Second,
	dial: 5 * time.Second, stall: 15 * time.Second,
	request: 30 * time.Second, perMiB: 4 * time.Second,
}

// whole is how long a request may take that carries so many bytes.
func (l *s3Limits) whole(size int64) time.Duration {
	return l.request + time.Duration(size>>20)*l.perMiB
}

// kept connections: one for each worker that is keeping a file, within reason.
const s3IdleConns = 64

func newS3Transport(o *S3Options) *http.Transport {
	dialer := net.Dialer{Timeout: o.limits.dial}
	return &http.Transport{
		// No proxy from the environment, as with sellers (SPEC §2).
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &stallConn{Conn: c, limit: o.limits.stall}, nil
		},
		TLSClientConfig:       &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   o.limits.dial,
		ExpectContinueTimeout: time.Second, // a file that is refused is not sent
		DisableCompression:    true,
		MaxIdleConns:          s3IdleConns,
		MaxIdleConnsPerHost:   s3IdleConns,
		IdleConnTimeout:       o.limits.stall / 2, // a read that waits on an idle connection stalls too
	}
}

func newS3Client(o *S3Options, transport *http.Transport) *s3.Client {
	so := s3.Options{
		Region:       o.Region,
		UsePathStyle: o.Endpoint != "",
		HTTPClient: &http.Client{
			Transport: transport,
			// A signature holds for one host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: o.Keys.id, SecretAccessKey: o.Keys.secret, SessionToken: o.Keys.token}, nil
		}),
		Retryer: retry.AddWithErrorCodes(retry.NewStandard(func(so *retry.StandardOptions) {
			so.MaxAttempts = o.limits.attempts
			so.MaxBackoff = o.limits.backoff
		}), "ConditionalRequestConflict"), // an attempt before is not over yet
		// The digests that count are our own.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	}
	if o.Endpoint != "" {
		so.BaseEndpoint = aws.String(o.Endpoint)
	}
	return s3.New(so)
}

// stallConn ends a connection on which nothing moves. Writing puts off the end
// of a read too, since an answer comes only after the whole request.
type stallConn struct {
	net.Conn
	limit time.Duration
}

func (c *stallConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *stallConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
