package fetcher

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"poller/order"
)

// FieldError is one thing wrong with a seller's registration.
type FieldError struct {
	Field  string // status_url, headers or headers.<name>
	Detail string
}

// Error shows both; a header's value is in neither.
func (e FieldError) Error() string { return e.Field + ": " + e.Detail }

// CheckSeller judges a seller's status_url and headers by SPEC §2: when it is
// registered, and again before each use, since ports and networks may have
// changed meanwhile. Everything wrong is told at once; nil means fine.
func (c *Client) CheckSeller(s *order.Seller) []FieldError {
	set := c.settings.Load()
	_, errs := set.guard.parseTemplate(s.StatusURL)
	return append(errs, checkHeaders(s)...)
}

const (
	maxURL      = 2048
	placeholder = "{order_id}"
	httpsPort   = 443
)

// template is a status_url taken apart; path and query are as registered.
type template struct {
	authority string
	path      string
	query     string
	hasQuery  bool // a "?" is there, be it with nothing after it
}

// parseTemplate judges a status_url and takes it apart. It is done by hand:
// net/url would rewrite what it reads, and the seller must see the very bytes (GUARANTEES, G18).
func (g *guard) parseTemplate(raw string) (template, []FieldError) {
	var t template
	fail := func(format string, args ...any) (template, []FieldError) {
		return template{}, []FieldError{{"status_url", fmt.Sprintf(format, args...)}}
	}
	switch {
	case raw == "":
		return fail("is missing")
	case len(raw) > maxURL:
		return fail("%d bytes, at most %d", len(raw), maxURL)
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return fail("must be an absolute URL: https://host/path/%s", placeholder)
	}
	if !strings.EqualFold(scheme, "https") {
		return fail("must begin with https://")
	}
	if strings.Contains(rest, "#") {
		return fail("must not have a fragment (#)")
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	t.authority, rest = rest[:end], rest[end:]
	if e := g.checkAuthority(t.authority); e != "" {
		return fail("%s", e)
	}
	t.path, t.query, t.hasQuery = strings.Cut(rest, "?")
	if e := checkTarget(rest); e != "" {
		return fail("%s", e)
	}
	if !strings.Contains(rest, placeholder) {
		return fail("must contain %s in its path or query", placeholder)
	}
	return t, nil
}

// checkTarget judges path and query, the placeholder in them.
func checkTarget(target string) string {
	for i := 0; i < len(target); i++ {
		c := target[i]
		switch {
		case alnum(c) || strings.IndexByte("-._~!$&'()*+,;=:@/?[]", c) >= 0:
		case c == '%':
			if i+2 >= len(target) || !isHex(target[i+1]) || !isHex(target[i+2]) {
				return "% must be followed by two hexadecimal digits"
			}
		case c == '{':
			if !strings.HasPrefix(target[i:], placeholder) {
				return "may have no other {…} than " + placeholder
			}
			i += len(placeholder) - 1
		case c == '}':
			return "may have no other {…} than " + placeholder
		case c <= ' ' || c == 0x7f:
			return "must not have spaces or control characters; write them as %20 and the like"
		default:
			return "has a character that must be percent-encoded in a URL"
		}
	}
	return ""
}

// checkAuthority judges host and port of a status_url.
func (g *guard) checkAuthority(a string) string {
	switch {
	case a == "":
		return "has no host"
	case strings.ContainsAny(a, "{}"):
		return "may have " + placeholder + " in its path or query only, not in host or port"
	case strings.Contains(a, "@"):
		return "must not have user info (user:password@)"
	}
	host, port, err := splitAuthority(a)
	if err != "" {
		return err
	}
	if e := g.port(port); e != nil {
		return e.Error()
	}
	addr, err := hostAddr(host)
	if err != "" {
		return err
	}
	if addr.IsValid() {
		if e := g.addr(addr); e != nil {
			return e.Error()
		}
	}
	return ""
}

// splitAuthority takes host (without brackets) and port apart.
func splitAuthority(a string) (host string, port uint16, problem string) {
	host, portText := a, ""
	if strings.HasPrefix(a, "[") {
		end := strings.IndexByte(a, ']')
		if end < 0 {
			return "", 0, "has a [ without its ] in the host"
		}
		host, portText = a[1:end], a[end+1:]
		if !strings.Contains(host, ":") {
			return "", 0, "has a host in brackets that is not an IPv6 address"
		}
	} else if i := strings.IndexByte(a, ':'); i >= 0 {
		host, portText = a[:i], a[i:]
	}
	if host == "" {
		return "", 0, "has no host"
	}
	if portText == "" {
		return host, httpsPort, ""
	}
	n, err := strconv.ParseUint(portText[1:], 10, 16)
	if portText[0] != ':' || !digits(portText[1:]) || err != nil || n == 0 {
		return "", 0, "has a port that is not a number from 1 to 65535"
	}
	return host, uint16(n), ""
}

// hostAddr is the address that a host is, or the zero address for a name. Forms
// that some programs take for an address (127.1, 0x7f000001, 2130706433) are a problem: no name ends in a number.
func hostAddr(host string) (netip.Addr, string) {
	if strings.Contains(host, ":") {
		addr, err := netip.ParseAddr(host)
		if err != nil || addr.Zone() != "" {
			return netip.Addr{}, "has a host that is not an IPv6 address"
		}
		return addr, ""
	}
	if len(host) > 254 {
		return netip.Addr{}, "has a host name of more than 253 characters"
	}
	for i := range len(host) {
		if c := host[i]; !alnum(c) && c != '.' && c != '-' && c != '_' {
			return netip.Addr{}, "has a host name with a character other than letters, digits, dots and hyphens (write an international name in its xn-- form)"
		}
	}
	name := strings.TrimSuffix(host, ".")
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return netip.Addr{}, "has a host name with a part that is empty or longer than 63 characters"
		}
	}
	if last := name[strings.LastIndexByte(name, '.')+1:]; !digits(last) && !hexNumber(last) {
		return netip.Addr{}, ""
	}
	addr, err := netip.ParseAddr(name)
	if err != nil {
		return netip.Addr{}, "has a host that ends in a number but is not an IPv4 address (a.b.c.d)"
	}
	return addr, ""
}

// url is the URL to ask, with the id in its place. RawPath is set so that
// net/http sends the path as it was registered; checkTarget admits nothing that it would escape.
func (t template) url(remoteID string) (*url.URL, error) {
	raw := strings.ReplaceAll(t.path, placeholder, remoteID)
	path, err := url.PathUnescape(raw)
	if err != nil {
		return nil, fmt.Errorf("status_url: %w", err)
	}
	return &url.URL{
		Scheme: "https", Host: t.authority, Path: path, RawPath: raw,
		RawQuery: strings.ReplaceAll(t.query, placeholder, remoteID), ForceQuery: t.hasQuery && t.query == "",
	}, nil
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func hexNumber(s string) bool {
	if len(s) < 2 || s[0] != '0' || s[1]|0x20 != 'x' {
		return false
	}
	for i := 2; i < len(s); i++ {
		if !isHex(s[i]) {
			return false
		}
	}
	return true
}
