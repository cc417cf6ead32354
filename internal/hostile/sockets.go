package hostile

import (
	"fmt"
	"net/netip"
	"strings"

	"poller/order"
)

// MayKeep is how many connections to the seller may stand a second after a poll
// with this outcome: one, if its answer was read to its end.
func (s *Seller) MayKeep(o order.Outcome) int {
	switch {
	case o == order.Timeout, o == order.Unreachable, o == order.LocalFault, strings.HasPrefix(s.Name, "body-"):
		return 0
	case strings.HasPrefix(s.Name, "to-"):
		return 2 // one for each of its names
	}
	return 1
}

// SocketsTo counts in the text of /proc/net/tcp the sockets that some process
// has and that are connected to this IPv4 address.
func SocketsTo(table string, to netip.AddrPort) int {
	a := to.Addr().As4()
	remote := fmt.Sprintf("%02X%02X%02X%02X:%04X", a[3], a[2], a[1], a[0], to.Port())
	n := 0
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) > 9 && f[2] == remote && f[9] != "0" {
			n++
		}
	}
	return n
}
