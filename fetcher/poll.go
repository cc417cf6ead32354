package fetcher

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"

	"poller/order"
)

// poll is one Fetch under way.
type poll struct {
	client *Client
	set    *settings
	ask    order.Ask
	parent context.Context // the caller's
	ctx    context.Context // ends with the poll
	limit  *deadline
	hop    *hop // the present one
	hops   int  // redirects followed
	host   string
	obs    order.Observation
	isLong bool // it is its seller's one long body
}

// run does the poll: it is the only way out of Fetch.
func (p *poll) run() order.Observation {
	target, err := p.target()
	if err != nil {
		return p.end(order.Blocked, err.Error())
	}
	ctx, cancel := context.WithCancelCause(p.parent)
	p.ctx = ctx
	p.limit = startDeadline(cancel, p.set.Timeout, p.set.BodyTimeout, p.takeLong)
	defer func() {
		// Also ends a dial that is still under way for a request which got a kept connection meanwhile.
		cancel(nil)
		p.limit.stop()
		if p.isLong {
			p.client.long.release(p.ask.Seller.ID)
		}
	}()
	p.follow(target)
	p.obs.Duration = p.limit.Elapsed()
	return p.obs
}

// takeLong is called by the deadline when the poll needs more than the usual time.
func (p *poll) takeLong() bool {
	p.isLong = p.client.long.take(p.ask.Seller.ID)
	return p.isLong
}

// target checks the seller once more and makes the URL to ask.
func (p *poll) target() (*url.URL, error) {
	t, errs := p.set.guard.parseTemplate(p.ask.Seller.StatusURL)
	if errs == nil {
		errs = checkHeaders(p.ask.Seller)
	}
	if errs != nil {
		return nil, errs[0]
	}
	if !order.ValidID(p.ask.RemoteID) {
		return nil, errors.New("remote_id: not an id")
	}
	return t.url(p.ask.RemoteID)
}

// end sets outcome and detail.
func (p *poll) end(o order.Outcome, detail string) order.Observation {
	if p.hops > 0 && detail != "" && p.host != "" {
		detail = "after a redirect to " + p.host + ": " + detail
	}
	p.obs.Outcome, p.obs.Detail = o, order.Clip(detail, order.MaxDetail)
	return p.obs
}

// follow asks, follows redirects, and judges the last answer.
func (p *poll) follow(u *url.URL) {
	headers := p.set.withSeller(p.ask.Seller.Headers)
	for {
		resp, err := p.request(u, headers)
		if err != nil {
			p.failed(err)
			return
		}
		if !redirects(resp.StatusCode) {
			p.answered(resp)
			return
		}
		next, port, err := location(u, resp)
		p.discard(resp)
		switch {
		case errors.Is(err, errNoLocation):
			p.end(order.HTTPError, statusText(resp.StatusCode)+", "+err.Error())
			return
		case err != nil:
			p.end(order.Blocked, "redirect: "+err.Error())
			return
		case p.hops == p.set.Redirects:
			p.end(order.Blocked, "more than "+itoa(p.set.Redirects)+" redirects")
			return
		}
		if err := p.set.guard.hop(next.Hostname(), port); err != nil {
			p.end(order.Blocked, "redirect: "+err.Error())
			return
		}
		if !sameOrigin(u, next) {
			// For good: headers is never given the seller's again.
			headers = p.set.ownHeaders(0)
		}
		u = next
		p.hops++
		p.host = shownHost(next.Hostname())
	}
}

// request does one hop.
func (p *poll) request(u *url.URL, headers http.Header) (*http.Response, error) {
	p.hop = newHop(p.ctx)
	p.obs.HTTPStatus = 0
	req := &http.Request{
		Method: http.MethodGet, URL: u, Host: u.Host, Header: headers,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	resp, err := p.set.transport.RoundTrip(req.WithContext(httptrace.WithClientTrace(p.hop, &p.hop.trace)))
	if err != nil {
		return nil, err
	}
	p.obs.Answered, p.obs.HTTPStatus = true, resp.StatusCode
	return resp, nil
}

// failed judges a request that brought no head of an answer.
func (p *poll) failed(err error) {
	facts := p.hop.facts()
	v := p.classify(err, facts)
	p.obs.NoConnection = p.hops == 0 && !facts.got && (v.outcome == order.Unreachable || v.outcome == order.Timeout)
	p.end(v.outcome, v.detail)
}

// answered judges the head of the last answer and reads its body if it is worth it.
func (p *poll) answered(resp *http.Response) {
	code := resp.StatusCode
	wait := resp.Header.Get("Retry-After")
	p.obs.RetryAfter = retryAfter(wait, p.set.Now())
	switch {
	case code == http.StatusOK || code == http.StatusAccepted:
		p.read(resp)
		return
	case code == http.StatusNotFound || code == http.StatusGone:
		p.end(order.NotFound, statusText(code))
	case code == http.StatusUnauthorized || code == http.StatusForbidden || code == http.StatusProxyAuthRequired:
		p.end(order.Unauthorized, statusText(code))
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable && len(resp.Header["Retry-After"]) > 0:
		detail := statusText(code)
		if p.obs.RetryAfter != nil {
			detail += ", asks to wait " + shortDuration(*p.obs.RetryAfter)
		}
		p.end(order.Throttled, detail)
	default:
		p.end(order.HTTPError, statusText(code))
	}
	p.obs.Bytes = p.discard(resp)
}

// discardTime is how long a body that nobody needs may take.
const discardTime = time.Second

// discard reads a body that does not matter, so that the connection can be
// kept; one that is long or slow costs its connection. It returns its length, as far as it was read.
func (p *poll) discard(resp *http.Response) int64 {
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return 0 // its body is the connection itself
	}
	if resp.ContentLength == 0 {
		return 0
	}
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	timer := time.AfterFunc(discardTime, func() { resp.Body.Close() })
	defer timer.Stop()
	var n int64
	for n <= bufferSize {
		k, err := resp.Body.Read(buf[:])
		n += int64(k)
		if err != nil {
			break
		}
	}
	return n
}

// statusText is a status code for humans.
func statusText(code int) string {
	return strings.TrimSpace("HTTP " + itoa(code) + " " + http.StatusText(code))
}

// shortDuration rounds for humans.
func shortDuration(d time.Duration) string {
	if d < time.Second {
		return max(d.Round(time.Millisecond), time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
