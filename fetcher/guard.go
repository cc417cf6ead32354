package fetcher

import (
	"context"
	"net/netip"
	"slices"
	"syscall"

	"code.dny.dev/ssrf"
)

// azureWire is the virtual address of Azure's host agent: in a public block,
// but it answers every virtual machine there with the secrets of that machine.
var azureWire = netip.MustParsePrefix("168.63.129.16/32")

// special knows IANA's special-purpose blocks; ports are judged by guard.
var special = ssrf.New(ssrf.WithAnyPort(), ssrf.WithAnyNetwork(), ssrf.WithDeniedV4Prefixes(azureWire))

// public reports whether addr is global unicast by IANA's registries (SPEC §2,
// "Public"). A zone or an IPv4 address in IPv6 clothes other than ::ffff:0:0/96 is not.
func public(addr netip.Addr) bool {
	addr = addr.Unmap()
	return addr.IsValid() && addr.Zone() == "" && special.SafeAddr(addr) == nil
}

// blockedError says why something may not be dialled. Its text names no
// address: the one at fault may be an inner one.
type blockedError struct{ reason string }

func (e *blockedError) Error() string { return e.reason }

// guard judges what may be dialled (GUARANTEES, G16).
type guard struct {
	ports    []uint16
	networks []netip.Prefix
}

// port returns a *blockedError if the port is not an allowed one.
func (g *guard) port(p uint16) error {
	if !slices.Contains(g.ports, p) {
		return &blockedError{"port " + itoa(int(p)) + " is not an allowed port"}
	}
	return nil
}

// addr returns a *blockedError if the address is neither public nor in an allowed network.
func (g *guard) addr(a netip.Addr) error {
	plain := a.Unmap().WithZone("")
	for _, n := range g.networks {
		if n.Contains(plain) {
			return nil
		}
	}
	if !public(a) {
		return &blockedError{"the address is not public"}
	}
	return nil
}

// control is a net.Dialer's ControlContext: it sees the very address that is
// dialled next, whatever name, resolver or redirect led there.
func (g *guard) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || network != "tcp4" && network != "tcp6" {
		return &blockedError{"not a TCP address"}
	}
	if err := g.port(ap.Port()); err != nil {
		return err
	}
	return g.addr(ap.Addr())
}
