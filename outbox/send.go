package outbox

import (
	"bytes"
	"context"
	"crypto/tls"
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

// Limits of one attempt (SPEC §6).
const (
	attemptTimeout = 15 * time.Second // from dial to the end of the answer's head
	readTimeout    = time.Second      // for its body, which nobody needs; within the 15 s
	maxAnswerBytes = 64 << 10         // ... and how much of it is read
	maxHeaderBytes = 64 << 10
	idleTimeout    = 90 * time.Second // a kept connection is closed
)

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// sender makes attempts under one configuration.
type sender struct {
	url, storeID, version string
	signers               []*standardwebhooks.Webhook
	transport             *http.Transport
}

// newSender returns nil if there is no URL. dial: nil for the network.
func newSender(c *Config, storeID, version string, dial dialFunc) (*sender, error) {
	if c.URL == "" {
		return nil, nil
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, errors.New("webhook.url: want an absolute http or https URL") // url.Parse's error shows it
	}
	if len(c.Secrets) == 0 {
		return nil, errors.New("webhook.secrets: a webhook needs one to sign with")
	}
	s := &sender{url: c.URL, storeID: storeID, version: version}
	for i, secret := range c.Secrets {
		w, err := signer(secret)
		if err != nil {
			return nil, fmt.Errorf("webhook.secrets: number %d %w", i+1, err)
		}
		s.signers = append(s.signers, w)
	}
	if dial == nil {
		dial = (&net.Dialer{Timeout: attemptTimeout}).DialContext
	}
	// No proxy from the environment. HTTP/1.1, where a dead connection is found out by the request that it costs.
	s.transport = &http.Transport{
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.RootCAs},
		TLSHandshakeTimeout:    attemptTimeout,
		MaxIdleConns:           maxInFlight,
		MaxIdleConnsPerHost:    maxInFlight,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression:     true,
	}
	return s, nil
}

// close closes the connections that are kept.
func (s *sender) close() { s.transport.CloseIdleConnections() }

// send makes one attempt at an event. It goes through the transport alone, since a client would follow redirects.
func (s *sender) send(ctx context.Context, e *order.Event, now time.Time) (a answer) {
	begun := time.Now()
	defer func() { a.took = time.Since(begun) }()
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	req, err := s.request(ctx, e, now)
	if err != nil {
		return answer{result: Unreachable, reason: order.Clip(err.Error(), maxReason)}
	}
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return failure(err)
	}
	defer resp.Body.Close()
	// The status says it all. The rest is read for the connection to be of use again, if it comes soon and is short; but
	// not after a 101, which hands the connection over: no deadline would end that.
	if resp.StatusCode != http.StatusSwitchingProtocols {
		late := time.AfterFunc(readTimeout, cancel)
		defer late.Stop()
		_, _ = io.CopyN(io.Discard, resp.Body, maxAnswerBytes)
	}
	if resp.StatusCode/100 != 2 {
		return answer{result: Refused, reason: "HTTP " + strconv.Itoa(resp.StatusCode)}
	}
	return answer{result: Taken}
}

// request makes the signed request of an attempt.
func (s *sender) request(ctx context.Context, e *order.Event, now time.Time) (*http.Request, error) {
	b, err := body(s.storeID, e)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(b))
	if err != nil {
		return nil, errors.New("no request can be made for webhook.url") // the error shows it
	}
	if u := req.URL.User; u != nil {
		password, _ := u.Password()
		req.SetBasicAuth(u.Username(), password)
	}
	id := s.storeID + "-" + strconv.FormatUint(e.Number, 10)
	signatures := make([]string, len(s.signers))
	for i, w := range s.signers {
		if signatures[i], err = w.Sign(id, now, b); err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "poller/"+s.version)
	req.Header.Set(standardwebhooks.HeaderWebhookID, id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	// Not sent. It tells the transport that the request may be made once more, at once, if a kept connection turns out to be dead.
	req.Header["Idempotency-Key"] = []string{}
	return req, nil
}

// message is the body of a webhook.
type message struct {
	Type      order.EventType `json:"type"`
	Timestamp time.Time       `json:"timestamp"` // of the event
	Store     string          `json:"store"`
	Number    uint64          `json:"number"`
	Data      any             `json:"data"` // order.View or order.ErasedData
}

// body is the same bytes for the same event, at every attempt.
func body(storeID string, e *order.Event) ([]byte, error) {
	v := e.View()
	b, err := json.Marshal(message{Type: v.Type, Timestamp: v.At, Store: storeID, Number: v.Number, Data: v.Data}, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	return b, nil
}
