package fetcher

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"poller/order"
)

// verdict is an outcome and why.
type verdict struct {
	outcome order.Outcome
	detail  string
}

// classify says what a request that brought no head of an answer means. Details
// are made of our own words: the text of a network error holds addresses.
func (p *poll) classify(err error) verdict {
	f := &p.hop
	if v, cut := p.cutOff(); cut {
		if v.outcome == order.Timeout {
			v.detail = "no answer within " + shortDuration(p.set.Timeout) + " (" + f.progress() + ")"
		}
		return v
	}
	var blocked *blockedError
	switch {
	case errors.As(err, &blocked):
		return verdict{order.Blocked, blocked.reason}
	case !f.got:
		return p.classifyDial(err, f)
	case errors.Is(err, errHeadTooLong):
		return verdict{order.InvalidResponse, "the head of the answer is over 64 KiB"}
	}
	return p.classifyBroken(err, "before an answer", "the answer is not HTTP/1.1")
}

// cutOff says whether the poll was ended by us, and what that means.
func (p *poll) cutOff() (verdict, bool) {
	switch {
	case p.limit.expired:
		return verdict{outcome: order.Timeout}, true
	case p.parent.Err() != nil:
		return verdict{order.LocalFault, "cut off: poller is shutting down"}, true
	}
	return verdict{}, false
}

// classifyBroken judges an error on a connection that stood: it broke, or what came over it is not HTTP.
func (p *poll) classifyBroken(err error, when, garbled string) verdict {
	if v, local := localFault(err); local {
		return v
	}
	if d := p.tlsDetail(err); d != "" {
		return verdict{order.Unreachable, d}
	}
	var errno syscall.Errno
	var netErr net.Error
	switch {
	case errors.As(err, &errno):
		return verdict{order.Unreachable, "connection broken " + when + ": " + errno.Error()}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &netErr), errors.Is(err, net.ErrClosed):
		return verdict{order.Unreachable, "connection closed " + when}
	}
	return verdict{order.InvalidResponse, garbled}
}

// classifyDial judges an error on the way to a connection.
func (p *poll) classifyDial(err error, f *hop) verdict {
	if v, local := p.localDial(err); local {
		return v
	}
	var dns *net.DNSError
	var errno syscall.Errno
	switch {
	case errors.As(err, &dns):
		return verdict{order.Unreachable, "DNS: " + dnsText(dns)}
	case f.isConn:
		if d := p.tlsDetail(err); d != "" {
			return verdict{order.Unreachable, d}
		}
		if errors.As(err, &errno) {
			return verdict{order.Unreachable, "TLS: " + errno.Error() + " during the handshake"}
		}
		return verdict{order.Unreachable, "TLS: connection closed during the handshake"}
	case errors.As(err, &errno):
		return verdict{order.Unreachable, "connect: " + errno.Error()}
	}
	return verdict{order.Unreachable, "connect: no connection"}
}

// localDial finds faults of ours in a failed dial (SPEC §5, "Ours or theirs").
func (p *poll) localDial(err error) (verdict, bool) {
	if v, local := localFault(err); local {
		return v, true
	}
	var dns *net.DNSError
	isDNS := errors.As(err, &dns)
	if isDNS {
		switch {
		case strings.Contains(dns.Err, "connection refused"):
			return verdict{order.LocalFault, "DNS: our resolver refuses connections"}, true
		case strings.Contains(dns.Err, "too many open files"):
			return verdict{order.LocalFault, "out of open files"}, true
		case dns.IsNotFound:
			return verdict{}, false
		}
	}
	if isDNS || errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.EADDRNOTAVAIL) {
		if !p.set.ifaces.anyUp() {
			return verdict{order.LocalFault, "no network interface is up"}, true
		}
	}
	return verdict{}, false
}

// localFaults are errors of the machine that poller runs on.
var localFaults = []struct {
	errno  syscall.Errno
	detail string
}{
	{syscall.EMFILE, "out of open files"},
	{syscall.ENFILE, "the system is out of open files"},
	{syscall.ENOBUFS, "the system is out of network buffers"},
	{syscall.ENOMEM, "out of memory"},
	{syscall.EADDRNOTAVAIL, "out of local ports"},
}

func localFault(err error) (verdict, bool) {
	for _, f := range localFaults {
		if !errors.Is(err, f.errno) {
			continue
		}
		var op *net.OpError
		if f.errno == syscall.EADDRNOTAVAIL && errors.As(err, &op) {
			if a, ok := op.Addr.(*net.TCPAddr); ok && a.IP.To4() == nil {
				// A machine without an IPv6 address of its own says so too: that is a missing route.
				return verdict{}, false
			}
		}
		return verdict{order.LocalFault, f.detail}, true
	}
	return verdict{}, false
}

// dnsText says in our words what a lookup brought.
func dnsText(e *net.DNSError) string {
	switch {
	case e.IsNotFound:
		return "no such host"
	case e.IsTimeout:
		return "the lookup timed out"
	case e.Err == "server misbehaving" && e.IsTemporary:
		return "the name's servers fail (SERVFAIL)"
	case e.Err == "server misbehaving":
		// Many resolvers pass on what the name's own servers say. If ours refuses every name, the polls of
		// other hosts tell (SPEC §5, "Ours or theirs"); one stranger's name must not slow all others' polls.
		return "the lookup is refused (REFUSED)"
	}
	return "the lookup failed"
}

// tlsDetail says in our words what is wrong with TLS, or "" if err is none of TLS.
func (p *poll) tlsDetail(err error) string {
	var (
		invalid *x509.CertificateInvalidError
		invalV  x509.CertificateInvalidError
		host    x509.HostnameError
		unknown x509.UnknownAuthorityError
		roots   x509.SystemRootsError
		record  tls.RecordHeaderError
		alert   tls.AlertError
		verify  *tls.CertificateVerificationError
	)
	if errors.As(err, &invalV) {
		invalid = &invalV
	}
	switch {
	case invalid != nil && invalid.Reason == x509.Expired && invalid.Cert != nil:
		if p.set.Now().Before(invalid.Cert.NotBefore) {
			return "TLS: certificate not valid before " + invalid.Cert.NotBefore.UTC().Format(time.DateOnly)
		}
		return "TLS: certificate expired on " + invalid.Cert.NotAfter.UTC().Format(time.DateOnly)
	case invalid != nil:
		return "TLS: certificate not valid for this use"
	case errors.As(err, &host):
		return "TLS: certificate is for another host name"
	case errors.As(err, &unknown):
		return "TLS: certificate signed by an unknown authority"
	case errors.As(err, &roots):
		return "TLS: no root certificates on this machine"
	case errors.As(err, &verify):
		return "TLS: certificate not valid"
	case errors.As(err, &record):
		return "TLS: the server does not speak TLS on this port"
	case errors.As(err, &alert):
		return "TLS: the server refuses: " + strings.TrimPrefix(alert.Error(), "tls: ")
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return "TLS: the server refuses: " + strings.TrimPrefix(op.Err.Error(), "tls: ")
	}
	var handshake *handshakeError
	if errors.As(err, &handshake) {
		if text := handshake.err.Error(); strings.HasPrefix(text, "tls: ") {
			return "TLS: " + strings.TrimPrefix(text, "tls: ")
		}
	}
	return ""
}

// progress says how far a request came.
func (f *hop) progress() string {
	switch {
	case f.firstByte:
		return "the head of the answer is not complete"
	case f.got && f.reused:
		return "on a kept connection, no first byte"
	case f.got:
		return "connected after " + shortDuration(f.connectIn) + ", no first byte"
	case f.isConn:
		return "connected after " + shortDuration(f.connectIn) + ", TLS handshake not finished"
	case f.lookedUp.Load():
		return "not connected"
	}
	return "name not looked up"
}

// interfaces answers whether the machine has any network, at most once a second:
// when it has none, all polls ask at once.
type interfaces struct {
	list func() ([]net.Interface, error)

	mu    sync.Mutex
	asked time.Time
	up    bool
}

// anyUp reports whether an interface other than loopback is up. If that can't be found out, one is.
func (i *interfaces) anyUp() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.asked.IsZero() && time.Since(i.asked) < time.Second {
		return i.up
	}
	list, err := i.list()
	i.asked, i.up = time.Now(), err != nil
	for _, n := range list {
		if n.Flags&net.FlagUp != 0 && n.Flags&net.FlagLoopback == 0 {
			i.up = true
		}
	}
	return i.up
}
