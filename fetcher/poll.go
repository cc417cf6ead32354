package fetcher

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"poller/order"
)

// poll is one Fetch under way.
type poll struct {
	client *Client
	set    *settings
	ask    order.Ask
	parent context.Context // the caller's
	limit  deadline
	hop    hop     // the present one
	conn   *conn   // ... and what it goes over; nil: none
	hops   int     // redirects followed
	raw    rawBody // the answer's body
	host   string
	obs    order.Observation
	isLong bool // it is its seller's one long body
}

// hop is how far one request of a poll came.
type hop struct {
	begun     time.Time
	dialled   bool        // a dial was begun
	lookedUp  atomic.Bool // ... and the name resolved: addresses may be dialled at the same time
	isConn    bool        // TCP is connected
	connectIn time.Duration
	got       bool // the request has a connection
	reused    bool // ... a kept one
	firstByte bool
}

// reset makes it that of a request that is still to be sent.
func (h *hop) reset() {
	h.lookedUp.Store(false)
	h.begun, h.dialled, h.isConn, h.connectIn, h.got, h.reused, h.firstByte = time.Now(), false, false, 0, false, false, false
}

// run does the poll: it is the only way out of Fetch.
func (p *poll) run() order.Observation {
	target, headers, err := p.target()
	if err != nil {
		return p.end(order.Blocked, err.Error())
	}
	p.limit.begin(p.set.Timeout, p.set.BodyTimeout, p.takeLong)
	stop := context.AfterFunc(p.parent, p.limit.cutOff)
	p.follow(target, headers)
	stop()
	p.hangUp()
	if p.isLong {
		p.client.long.release(p.ask.Seller.ID)
	}
	p.obs.Duration = p.limit.elapsed()
	mask(&p.obs, p.ask.Seller.Headers)
	return p.obs
}

// takeLong is called by the deadline when the poll needs more than the usual time.
func (p *poll) takeLong() bool {
	p.isLong = p.client.long.take(p.ask.Seller.ID)
	return p.isLong
}

// target is the URL to ask and the head of the request, if the seller stands the check of SPEC §2 now, too.
func (p *poll) target() (*url.URL, http.Header, error) {
	e := p.set.endpoints.of(p.ask.Seller, p.set.newEndpoint)
	if e.problem != nil {
		return nil, nil, e.problem
	}
	if !order.ValidID(p.ask.RemoteID) {
		return nil, nil, errors.New("remote_id: not an id")
	}
	u, err := e.template.url(p.ask.RemoteID)
	return u, e.headers, err
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
func (p *poll) follow(u *url.URL, headers http.Header) {
	for {
		resp, err := p.request(u, headers) //nolint:bodyclose // keep and hangUp say what becomes of the connection; to close the body would read all of it
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
			headers = p.set.ownHeaders
		}
		u = next
		p.hops++
		p.host = shownHost(next.Hostname())
	}
}

// request does one hop. It is sent on a kept connection, if there is one, and if that turns out to be closed on a new
// one: a seller that hangs up on every request sees at most two for a poll, and uses up none of its neighbours' connections.
func (p *poll) request(u *url.URL, headers http.Header) (*http.Response, error) {
	p.hop.reset()
	p.obs.HTTPStatus = 0
	req := &http.Request{
		Method: http.MethodGet, URL: u, Host: u.Host, Header: headers,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	host, err := dialled(u)
	if err != nil {
		return nil, err
	}
	if c := p.set.pool.get(host); c != nil {
		p.hold(c)
		if err = errClosed; c.alive() {
			var resp *http.Response
			if resp, err = c.ask(req, &p.hop); err == nil {
				return p.head(resp), nil
			}
		}
		if _, cut := p.cutOff(); cut || p.hop.firstByte {
			return nil, err
		}
		p.hangUp()
		p.hop.reset()
	}
	c, err := p.dial(host)
	if err != nil {
		return nil, err
	}
	p.hold(c)
	resp, err := c.ask(req, &p.hop)
	if err != nil {
		return nil, err
	}
	return p.head(resp), nil
}

// errClosed: a kept connection was closed meanwhile.
var errClosed = errors.New("closed meanwhile")

// hold makes c the connection of the present hop.
func (p *poll) hold(c *conn) {
	p.conn, p.hop.got, p.hop.reused = c, true, c.kept
	c.limit = &p.limit
	p.limit.watch(c.NetConn())
}

// head notes that there is an answer.
func (p *poll) head(resp *http.Response) *http.Response {
	p.obs.Answered, p.obs.HTTPStatus = true, resp.StatusCode
	p.raw = rawBody{r: resp.Body}
	return resp
}

// keep keeps the connection if the answer was read to its end and it may be used again.
func (p *poll) keep(resp *http.Response) {
	c := p.conn
	if !p.raw.ended || resp.Close || resp.StatusCode < 200 || !c.reusable() {
		p.hangUp()
		return
	}
	p.limit.watch(nil)
	p.conn = nil
	p.set.pool.put(c)
}

// hangUp closes the connection, if there is one.
func (p *poll) hangUp() {
	if p.conn != nil {
		p.limit.watch(nil)
		p.conn.close()
		p.conn = nil
	}
}

// failed judges a request that brought no head of an answer.
func (p *poll) failed(err error) {
	v := p.classify(err)
	p.obs.NoConnection = p.hops == 0 && !p.hop.got && (v.outcome == order.Unreachable || v.outcome == order.Timeout)
	p.end(v.outcome, v.detail)
}

// answered judges the head of the last answer and reads its body if it is worth it.
func (p *poll) answered(resp *http.Response) {
	code := resp.StatusCode
	if wait := resp.Header["Retry-After"]; len(wait) > 0 {
		p.obs.RetryAfter = retryAfter(wait[0], p.set.Now())
	}
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
	defer p.keep(resp)
	p.conn.hush(discardTime)
	buf := smallBuffers.Get().(*[smallSize]byte)
	defer smallBuffers.Put(buf)
	var n int64
	for n <= bufferSize {
		k, err := p.raw.Read(buf[:])
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
