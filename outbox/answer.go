package outbox

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"poller/order"
)

// Result says what came of an attempt.
type Result string

// The results, a closed set (poller_webhook_attempts_total).
const (
	Taken       Result = "taken"       // 2xx
	Refused     Result = "refused"     // any other answer, redirects too
	TimedOut    Result = "timeout"     // no answer within 15 s
	Unreachable Result = "unreachable" // DNS, connect, TLS, connection broken, not HTTP
)

// Results lists all of them.
var Results = []Result{Taken, Refused, TimedOut, Unreachable}

// maxReason bounds a reason, in characters.
const maxReason = 300

// answer is what came of an attempt.
type answer struct {
	result Result
	reason string // why it was not taken, for operators: never the URL, a secret, or what the other side wrote
	took   time.Duration
}

// failure is an attempt without an answer.
func failure(err error) answer {
	if t := net.Error(nil); errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout() {
		return answer{result: TimedOut, reason: "no answer within " + attemptTimeout.String()}
	}
	return answer{result: Unreachable, reason: order.Clip(reason(err), maxReason)}
}

// reason is what an error of the transport may say in a log. Its own words may quote the other side, which could send
// back what it was sent, the URL's query included; so only errors of parts that know nothing of the request are repeated.
func reason(err error) string {
	var (
		dns    *net.DNSError
		op     *net.OpError
		cert   *tls.CertificateVerificationError
		header tls.RecordHeaderError
		errno  syscall.Errno
	)
	switch {
	case errors.As(err, &dns):
		return dns.Error()
	case errors.As(err, &cert):
		return cert.Error()
	case errors.As(err, &header):
		return "tls: the other side does not speak TLS"
	case errors.As(err, &op):
		return op.Error()
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed without an answer"
	case strings.HasPrefix(err.Error(), "tls: "):
		return err.Error()
	}
	return "connection broken, or not an answer in HTTP"
}
