package hostile

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"poller/order"
)

func dnsGroup() []Behaviour {
	says := says(processing)
	named := func(name string, want []order.Outcome, detail string, f func(w *World, s *Seller, n int) DNSAnswer) Behaviour {
		return Behaviour{Name: "dns-" + name, Want: want, Detail: detail, Keeps: true, Serve: says, DNS: f}
	}
	fixed := func(name string, want []order.Outcome, detail string, a DNSAnswer) Behaviour {
		return named(name, want, detail, func(*World, *Seller, int) DNSAnswer { return a })
	}
	to := func(name string, addrs ...string) Behaviour {
		var a DNSAnswer
		for _, s := range addrs {
			a.Addrs = append(a.Addrs, netip.MustParseAddr(s))
		}
		return fixed(name, is(order.Blocked), "not public", a)
	}
	gone, blocked, ok := is(order.Unreachable), is(order.Blocked), is(order.Processing)
	return []Behaviour{
		fixed("nxdomain", gone, "no such host", DNSAnswer{Code: 3}),
		fixed("servfail", gone, "SERVFAIL", DNSAnswer{Code: 2}),
		fixed("refused", gone, "REFUSED", DNSAnswer{Code: 5}),
		fixed("empty", gone, "no such host", DNSAnswer{}),
		fixed("silent", is(order.Timeout), "name not looked up", DNSAnswer{Silent: true}),
		fixed("garbage", is(order.Timeout, order.Unreachable), "", DNSAnswer{Raw: []byte("\x81\x80\x00\x01\xff\xff garbage")}),
		fixed("alias-loop", gone, "", DNSAnswer{Alias: "dns-alias-loop.sellers.test"}),
		fixed("alias-to-nothing", gone, "", DNSAnswer{Alias: "nobody.sellers.test"}),
		named("alias-to-inner", blocked, "not public", func(w *World, _ *Seller, _ int) DNSAnswer {
			return DNSAnswer{Alias: "innocent.example", Addrs: []netip.Addr{w.Inner.Addr()}}
		}),
		named("alias", ok, "", func(_ *World, s *Seller, _ int) DNSAnswer {
			return DNSAnswer{Alias: "cdn.example", Addrs: []netip.Addr{s.Addr.Addr()}}
		}),
		named("inner", blocked, "not public", func(w *World, _ *Seller, _ int) DNSAnswer {
			return DNSAnswer{Addrs: []netip.Addr{w.Inner.Addr()}}
		}),
		named("rebinding", is(order.Processing, order.Blocked), "", func(w *World, s *Seller, n int) DNSAnswer {
			if n%2 == 0 {
				return DNSAnswer{Addrs: []netip.Addr{s.Addr.Addr()}}
			}
			return DNSAnswer{Addrs: []netip.Addr{w.Inner.Addr()}}
		}),
		named("inner-first", is(order.Blocked, order.Processing), "", func(w *World, s *Seller, _ int) DNSAnswer {
			return DNSAnswer{Addrs: []netip.Addr{w.Inner.Addr(), s.Addr.Addr()}}
		}),
		named("inner-last", is(order.Blocked, order.Processing), "", func(w *World, s *Seller, _ int) DNSAnswer {
			return DNSAnswer{Addrs: []netip.Addr{s.Addr.Addr(), w.Inner.Addr()}}
		}),
		named("truncated", ok, "", func(_ *World, s *Seller, _ int) DNSAnswer {
			return DNSAnswer{Addrs: []netip.Addr{s.Addr.Addr()}, ByTCP: true}
		}),
		named("truncated-to-inner", blocked, "not public", func(w *World, _ *Seller, _ int) DNSAnswer {
			return DNSAnswer{Addrs: []netip.Addr{w.Inner.Addr()}, ByTCP: true}
		}),
		named("thousands", is(order.Blocked, order.Timeout), "", func(*World, *Seller, int) DNSAnswer {
			a := DNSAnswer{ByTCP: true}
			for n := range uint32(3000) {
				var b [4]byte
				binary.BigEndian.PutUint32(b[:], 10<<24|n)
				a.Addrs = append(a.Addrs, netip.AddrFrom4(b))
			}
			return a
		}),
		fixed("long-labels", is(order.Timeout, order.Unreachable), "", DNSAnswer{Raw: []byte("\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + strings.Repeat("\x3f"+strings.Repeat("x", 63), 30))}),
		fixed("pointer-loop", is(order.Timeout, order.Unreachable), "", DNSAnswer{Raw: []byte("\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01")}),
		to("private", "10.0.0.1", "172.16.0.1", "192.168.0.1"),
		to("metadata", "169.254.169.254"), to("unspecified", "0.0.0.0"), to("this-network", "0.1.2.3"),
		to("shared", "100.64.0.1"), to("benchmark", "198.18.0.1"), to("documentation", "192.0.2.1"),
		to("multicast", "224.0.0.1"), to("reserved", "240.0.0.1"), to("broadcast", "255.255.255.255"),
		to("host-agent", "168.63.129.16"), to("loopback-6", "::1"), to("unspecified-6", "::"),
		to("mapped", "::ffff:10.0.0.1"), to("nat64", "64:ff9b::a00:1"), to("nat64-local", "64:ff9b:1::a00:1"),
		to("6to4", "2002:a00:1::1"), to("teredo", "2001::1"), to("ula", "fd00:ec2::254"), to("link-local-6", "fe80::1"),
		to("multicast-6", "ff02::1"), to("documentation-6", "2001:db8::1"), to("compatible", "::10.0.0.1"), to("site-local", "fec0::1"),
		to("many-inner", "10.0.0.1", "10.0.0.2", "fd00::1", "169.254.169.254", "::1"),
	}
}
