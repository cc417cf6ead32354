package hostile

import (
	"strings"

	"poller/order"
)

func redirectGroup() []Behaviour {
	blocked, lost, ok := is(order.Blocked), is(order.HTTPError), is(order.Processing)
	to := func(name string, want []order.Outcome, detail string, target func(c *Conn) string) Behaviour {
		return Behaviour{Name: "to-" + name, Want: want, Detail: detail, Keeps: true, Serve: func(c *Conn) {
			if strings.HasPrefix(c.Head, "GET /end") {
				c.Say(framed("", processing))
				return
			}
			c.Say("HTTP/1.1 302 Found\r\nLocation: " + target(c) + "\r\nContent-Length: 0\r\n\r\n")
		}}
	}
	fixed := func(name string, want []order.Outcome, detail, target string) Behaviour {
		return to(name, want, detail, func(*Conn) string { return target })
	}
	port := func(c *Conn) string { return ":" + itoa(int(c.At.Addr.Port())) }
	at := func(name, host string) Behaviour {
		return to(name, blocked, "", func(c *Conn) string { return "https://" + host + port(c) + "/" })
	}
	return []Behaviour{
		fixed("itself", ok, "", "/end"),
		fixed("relative", ok, "", "../end"),
		to("absolute", ok, "", func(c *Conn) string { return "https://" + c.At.authority() + "/end#fragment" }),
		to("protocol-relative", ok, "", func(c *Conn) string { return "//" + c.At.authority() + "/end" }),
		to("upper-case", ok, "", func(c *Conn) string { return "HTTPS://" + strings.ToUpper(c.At.authority()) + "/end" }),
		to("loop", blocked, "more than 3", func(c *Conn) string { return "/status/" + c.orderID() }),
		{Name: "to-a-fourth", Want: blocked, Detail: "more than 3", Keeps: true, Serve: func(c *Conn) {
			c.Say("HTTP/1.1 307 x\r\nLocation: /x" + strings.Repeat("x", len(c.Head)%100) + "\r\nContent-Length: 0\r\n\r\n")
		}},
		to("other-host", ok, "", func(c *Conn) string { return "https://" + c.World.Other.authority() + "/from" }),
		to("http", blocked, "not to https", func(c *Conn) string { return "http://" + c.At.authority() + "/end" }),
		fixed("ftp", blocked, "not to https", "ftp://example.com/"),
		fixed("javascript", is(order.Blocked, order.HTTPError), "", "javascript:alert(1)"),
		fixed("data", is(order.Blocked, order.HTTPError), "", "data:application/json,{}"),
		fixed("file", is(order.Blocked, order.HTTPError), "", "file:///etc/passwd"),
		fixed("ssh-port", blocked, "port 22", "https://other.sellers.test:22/"),
		fixed("port-zero", is(order.Blocked, order.HTTPError), "", "https://other.sellers.test:0/"),
		fixed("port-huge", is(order.Blocked, order.HTTPError), "", "https://other.sellers.test:65979/"),
		fixed("no-host", lost, "Location", "https:///end"),
		fixed("opaque", lost, "Location", "https:end"),
		fixed("empty", lost, "Location", ""),
		fixed("nonsense", lost, "Location", "https://[::1/%zz"),
		fixed("bad-escape", lost, "Location", "/%zz"),
		fixed("unicode", is(order.Blocked, order.HTTPError, order.Unreachable), "", "https://\u2460\u2461\u2466.0.0.1/"),
		fixed("ideographic-dot", is(order.Blocked, order.HTTPError, order.Unreachable), "", "https://127\u30020\u30020\u30021/"),
		fixed("long", is(order.Processing, order.HTTPError, order.Blocked), "", "/end?"+strings.Repeat("x", 10<<10)),
		to("user-info", blocked, "user info", func(c *Conn) string { return "https://u:p@" + c.At.authority() + "/end" }),
		to("inner-address", blocked, "not public", func(c *Conn) string { return "https://" + c.World.Inner.String() + "/" }),
		at("loopback", "[::1]"), at("metadata", "169.254.169.254"), at("private", "192.168.0.1"), at("unspecified", "0.0.0.0"),
		at("mapped", "[::ffff:10.0.0.1]"), at("nat64", "[64:ff9b::a00:1]"), at("6to4", "[2002:a00:1::]"), at("ula", "[fd00::1]"),
		at("link-local", "[fe80::1]"), at("zone", "[fe80::1%25lo]"), at("multicast", "224.0.0.1"), at("broadcast", "255.255.255.255"),
		at("decimal", "2130706433"), at("octal", "0177.0.0.1"), at("hexadecimal", "0x7f.1"), at("short", "127.1"),
		at("dotted-end", "10.0.0.1."), at("shared", "100.64.0.1"), at("host-agent", "168.63.129.16"), at("documentation", "[2001:db8::1]"),
		{Name: "to-two-places", Want: lost, Detail: "Location", Keeps: true, Serve: sends("HTTP/1.1 302 x\r\nLocation: /end\r\nLocation: https://10.0.0.1/\r\nContent-Length: 0\r\n\r\n")},
		{Name: "to-nowhere", Want: lost, Detail: "Location", Keeps: true, Serve: sends("HTTP/1.1 301 x\r\nContent-Length: 0\r\n\r\n")},
		{Name: "to-300", Want: lost, Detail: "300", Keeps: true, Serve: sends("HTTP/1.1 300 x\r\nLocation: /end\r\nContent-Length: 0\r\n\r\n")},
		{Name: "to-305-proxy", Want: lost, Detail: "305", Keeps: true, Serve: sends("HTTP/1.1 305 x\r\nLocation: https://10.0.0.1/\r\nContent-Length: 0\r\n\r\n")},
		{Name: "to-name-of-inner", Want: is(order.Blocked), Detail: "not public", Keeps: true, Serve: func(c *Conn) {
			name := "dns-inner.sellers.test"
			c.Say("HTTP/1.1 308 x\r\nLocation: https://" + name + port(c) + "/\r\nContent-Length: 0\r\n\r\n")
		}},
		{Name: "to-other-and-back", Want: ok, Keeps: true, Serve: func(c *Conn) {
			// The other's answer leads nowhere else: back and forth is done by way of another name of this seller.
			if strings.HasPrefix(c.Head, "GET /end") {
				c.Say(framed("", processing))
				return
			}
			alias := strings.Replace(c.At.authority(), c.At.Host, c.At.Host+".", 1)
			if strings.HasPrefix(c.Head, "GET /back") {
				c.Say("HTTP/1.1 302 x\r\nLocation: https://" + c.At.authority() + "/end\r\nContent-Length: 0\r\n\r\n")
				return
			}
			c.Say("HTTP/1.1 302 x\r\nLocation: https://" + alias + "/back\r\nContent-Length: 0\r\n\r\n")
		}},
	}
}
