package outbox

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"poller/order"
)

// Result says what became of an attempt.
type Result string

// The results, a closed set.
const (
	Taken       Result = "taken"       // 2xx
	Refused     Result = "refused"     // any other answer, redirects too
	TimedOut    Result = "timeout"     // no answer in time
	Unreachable Result = "unreachable" // DNS, connect, TLS, connection broken
)

// Results lists all of them.
var Results = []Result{Taken, Refused, TimedOut, Unreachable}

const (
	timeout    = 15 * time.Second // of an attempt, from dial to the end of the answer (SPEC §6)
	maxAnswer  = 64 << 10         // bytes of an answer that are read, so that the connection can be used again
	maxHeaders = 64 << 10         // bytes of its headers
	idleConn   = 90 * time.Second
)

// Bounds of a secret, in bytes, as Standard Webhooks has them.
const (
	secretPrefix = "whsec_"
	minSecret    = 24
	maxSecret    = 64
)

// CheckSecret says what is wrong with a secret of the webhook, and never shows it.
func CheckSecret(secret string) error {
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok {
		return errors.New("a secret begins with whsec_")
	}
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return errors.New("what follows whsec_ must be base64")
	}
	if len(key) < minSecret || len(key) > maxSecret {
		return fmt.Errorf("a secret has %d to %d bytes, in base64 after whsec_", minSecret, maxSecret)
	}
	return nil
}

// message is the body of a webhook (SPEC §6). The same event gives the same bytes each time, but for an erasure.
type message struct {
	Type      order.EventType `json:"type"`
	Timestamp time.Time       `json:"timestamp"`
	Store     string          `json:"store"`
	Number    uint64          `json:"number"`
	Data      any             `json:"data"`
}

// sender makes single attempts. Its methods may be called concurrently.
type sender struct {
	url, storeID, version string
	signers               []*standardwebhooks.Webhook
	client                *http.Client
	now                   func() time.Time
}

// newSender returns nil if there is no URL.
func newSender(c Config, storeID, version string, now func() time.Time) (*sender, error) {
	if c.URL == "" {
		return nil, nil
	}
	s := &sender{url: c.URL, storeID: storeID, version: version, now: now}
	if len(c.Secrets) == 0 {
		return nil, errors.New("webhook.secrets: needs one to sign with")
	}
	for _, secret := range c.Secrets {
		if err := CheckSecret(secret); err != nil {
			return nil, fmt.Errorf("webhook.secrets: %w", err)
		}
		w, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return nil, errors.New("webhook.secrets: one can't be used") // the library's words might show it
		}
		s.signers = append(s.signers, w)
	}
	s.client = &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{ // no proxy from the environment, no HTTP/2
			DialContext:            (&net.Dialer{Timeout: timeout}).DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.RootCAs},
			MaxIdleConnsPerHost:    parallel,
			IdleConnTimeout:        idleConn,
			MaxResponseHeaderBytes: maxHeaders,
			DisableCompression:     true,
		},
	}
	return s, nil
}

// close closes the connections that are not in use.
func (s *sender) close() { s.client.CloseIdleConnections() }

// answer is what came of an attempt; reason says in words why it failed, with neither URL nor secrets.
type answer struct {
	result Result
	reason string
}

// send makes one attempt.
func (s *sender) send(ctx context.Context, e *order.Event) answer {
	r, err := s.request(ctx, e)
	if err != nil {
		return answer{Unreachable, err.Error()}
	}
	res, err := s.client.Do(r)
	if err != nil {
		return failure(err)
	}
	defer func() { _ = res.Body.Close() }()                           // it was only read
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer)) // nobody cares what it says
	switch {
	case res.StatusCode/100 != 2:
		return answer{Refused, "HTTP " + strconv.Itoa(res.StatusCode)}
	case err != nil: // its end is part of the answer
		return failure(err)
	}
	return answer{result: Taken}
}

// request makes the signed request of an attempt.
func (s *sender) request(ctx context.Context, e *order.Event) (*http.Request, error) {
	body, err := json.Marshal(message{e.Type, e.At.UTC(), s.storeID, e.Number, e.View().Data}, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("the event can't be written as JSON: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("webhook.url is not a URL")
	}
	id, at := s.storeID+"-"+strconv.FormatUint(e.Number, 10), s.now()
	signatures := make([]string, len(s.signers))
	for i, w := range s.signers {
		if signatures[i], err = w.Sign(id, at, body); err != nil {
			return nil, errors.New("the event can't be signed")
		}
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "poller/"+s.version)
	r.Header.Set(standardwebhooks.HeaderWebhookID, id)
	r.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	r.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return r, nil
}

// failure is an attempt without a whole answer.
func failure(err error) answer {
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err // without the URL
	}
	if timed := net.Error(nil); errors.As(err, &timed) && timed.Timeout() {
		return answer{TimedOut, "no answer within " + timeout.String()}
	}
	return answer{Unreachable, order.Clip(err.Error(), 300)}
}
