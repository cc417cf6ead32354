package fetcher

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"poller/order"
)

// errNoLocation: a redirect that does not say where to.
var errNoLocation = errors.New("without a usable Location")

func redirects(code int) bool {
	switch code {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// location is where a redirect leads. errNoLocation: nowhere; a *blockedError: to a place that no poll goes.
func location(from *url.URL, resp *http.Response) (*url.URL, uint16, error) {
	values := resp.Header["Location"]
	if len(values) != 1 || values[0] == "" {
		return nil, 0, errNoLocation
	}
	ref, err := url.Parse(values[0])
	if err != nil {
		return nil, 0, errNoLocation
	}
	u := from.ResolveReference(ref)
	u.Fragment, u.RawFragment = "", ""
	switch {
	case u.Scheme != "https":
		return nil, 0, &blockedError{"not to https"}
	case u.User != nil:
		return nil, 0, &blockedError{"with user info"}
	case u.Opaque != "" || u.Hostname() == "":
		return nil, 0, errNoLocation
	}
	port, err := portOf(u)
	return u, port, err
}

func portOf(u *url.URL) (uint16, error) {
	_, port, problem := splitAuthority(u.Host)
	if problem != "" {
		return 0, errNoLocation
	}
	return port, nil
}

// dialled is the name:port that a URL leads to, always written alike.
func dialled(u *url.URL) (string, error) {
	port, err := portOf(u)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), itoa(int(port))), nil
}

// hop judges host and port of a redirect's target.
func (g *guard) hop(host string, port uint16) error {
	if err := g.port(port); err != nil {
		return err
	}
	addr, problem := hostAddr(host)
	if problem != "" {
		return &blockedError{"the target " + problem}
	}
	if !addr.IsValid() {
		return nil
	}
	return g.addr(addr)
}

// sameOrigin compares scheme, host and port; both are https.
func sameOrigin(a, b *url.URL) bool {
	pa, errA := portOf(a)
	pb, errB := portOf(b)
	return errA == nil && errB == nil && pa == pb && strings.EqualFold(a.Hostname(), b.Hostname())
}

// shownHost is a host as a detail may show it: names only.
func shownHost(host string) string {
	if _, err := netip.ParseAddr(strings.TrimSuffix(host, ".")); err == nil || strings.Contains(host, ":") {
		return "an address"
	}
	return order.Clip(host, 100)
}
