package hostile

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"time"

	"poller/order"
)

func tlsGroup() []Behaviour {
	bad := is(order.Unreachable)
	ours := func(change func(*leaf)) func(*World, *Seller) *TLS {
		return shows(func(w *World, _ *Seller, l *leaf) *CA { change(l); return w.CA })
	}
	ok := says(processing)
	return []Behaviour{
		{Name: "tls-expired", Want: bad, Detail: "certificate expired on", TLS: ours(func(l *leaf) {
			l.from, l.to = time.Now().Add(-72*time.Hour), time.Now().Add(-48*time.Hour)
		}), Serve: ok},
		{Name: "tls-not-yet", Want: bad, Detail: "not valid before", TLS: ours(func(l *leaf) {
			l.from, l.to = time.Now().Add(48*time.Hour), time.Now().Add(72*time.Hour)
		}), Serve: ok},
		{Name: "tls-other-name", Want: bad, Detail: "another host name", TLS: ours(func(l *leaf) { l.name = "bank.example" }), Serve: ok},
		{Name: "tls-only-address", Want: bad, Detail: "TLS: ", TLS: ours(func(l *leaf) { l.name, l.addr = "x.example", net.IPv4(5, 0, 0, 1) }), Serve: ok},
		{Name: "tls-wildcard-too-high", Want: bad, Detail: "another host name", TLS: ours(func(l *leaf) { l.name = "*.test" }), Serve: ok},
		{Name: "tls-for-clients", Want: bad, Detail: "not valid for this use", TLS: ours(func(l *leaf) { l.usage = x509.ExtKeyUsageClientAuth }), Serve: ok},
		{Name: "tls-unknown-authority", Want: bad, Detail: "unknown authority", TLS: shows(func(*World, *Seller, *leaf) *CA {
			ca, err := newCA()
			if err != nil {
				return nil
			}
			return ca
		}), Serve: ok},
		{Name: "tls-large-certificate", Want: is(order.Processing), Keeps: true, TLS: ours(func(l *leaf) { l.extra = 30_000 }), Serve: ok},
		{Name: "tls-huge-certificate", Want: bad, Detail: "TLS: ", TLS: ours(func(l *leaf) { l.extra = 400_000 }), Serve: ok},
		{Name: "tls-long-chain", Want: is(order.Processing, order.Unreachable), Keeps: true, TLS: with(func(c *tls.Config) {
			own := c.Certificates[0]
			chain := [][]byte{own.Certificate[0]}
			for range 60 {
				chain = append(chain, own.Certificate[0])
			}
			c.Certificates = []tls.Certificate{{Certificate: chain, PrivateKey: own.PrivateKey}}
		}), Serve: ok},
		{Name: "tls-10-only", Want: bad, Detail: "TLS: ", TLS: with(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 }), Serve: ok},
		{Name: "tls-11-only", Want: bad, Detail: "TLS: ", TLS: with(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), Serve: ok},
		{Name: "tls-12-only", Want: is(order.Processing), Keeps: true, TLS: with(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), Serve: ok},
		{Name: "tls-client-certificate", Want: bad, Detail: "certificate required", TLS: with(func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }), Serve: ok},
		{Name: "tls-client-certificate-12", Want: bad, Detail: "TLS: ", TLS: with(func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 }), Serve: ok},
		{Name: "tls-no-certificate", Want: bad, Detail: "TLS: ", TLS: func(*World, *Seller) *TLS { return &TLS{&tls.Config{}} }, Serve: ok},
		{Name: "tls-h2-only", Want: is(order.Processing, order.Unreachable), Keeps: true, TLS: with(func(c *tls.Config) { c.NextProtos = []string{"h2"} }), Serve: ok},
		{Name: "tls-odd-protocol", Want: is(order.Processing, order.Unreachable), Keeps: true, TLS: with(func(c *tls.Config) { c.NextProtos = []string{"spdy/3"} }), Serve: ok},
		before("tls-silent", order.Timeout, "handshake not finished", func(c *Conn) { c.Stall() }),
		before("tls-is-ssh", order.Unreachable, "does not speak TLS", func(c *Conn) { c.Say("SSH-2.0-x\r\n"); c.Stall() }),
		before("tls-is-http", order.Unreachable, "does not speak TLS", func(c *Conn) { c.Say("HTTP/1.1 400 Bad Request\r\n\r\n"); c.Stall() }),
		before("tls-garbage", order.Unreachable, "TLS: ", func(c *Conn) { c.Say(strings.Repeat("\xff\x00", 4000)); c.Stall() }),
		before("tls-alert", order.Unreachable, "refuses: handshake failure", func(c *Conn) { c.hello(); c.Say("\x15\x03\x03\x00\x02\x02\x28"); c.Stall() }),
		before("tls-warnings", order.Unreachable, "TLS: ", func(c *Conn) {
			c.hello()
			for c.Say(many("\x15\x03\x03\x00\x02\x01\x5a")) {
			}
		}),
		before("tls-empty-records", order.Unreachable, "TLS: ", func(c *Conn) {
			for c.Say(many("\x16\x03\x03\x00\x00")) {
			}
		}),
		before("tls-huge-record", order.Unreachable, "TLS: ", func(c *Conn) { c.hello(); c.Say("\x16\x03\x03\xff\xff" + strings.Repeat("x", 65535)); c.Stall() }),
		before("tls-huge-message", order.Unreachable, "TLS: ", func(c *Conn) { c.hello(); c.Say("\x16\x03\x03\x00\x04\x02\xff\xff\xff"); c.Stall() }),
		before("tls-half-record", order.Timeout, "handshake not finished", func(c *Conn) { c.hello(); c.Say("\x16\x03\x03\x10\x00\x02"); c.Stall() }),
		before("tls-dripping", order.Timeout, "handshake not finished", func(c *Conn) {
			c.watch()
			c.Say("\x16\x03\x03\x10\x00\x02\x00\x0f\xfc")
			for c.Tick() {
				c.Say("\x03")
			}
		}),
		before("tls-data-first", order.Unreachable, "TLS: ", func(c *Conn) { c.hello(); c.Say("\x17\x03\x03\x00\x05hello"); c.Stall() }),
		before("tls-echo", order.Unreachable, "TLS: ", func(c *Conn) {
			b := make([]byte, 4096)
			for {
				n, err := c.in.Read(b)
				if err != nil || !c.Say(string(b[:n])) {
					return
				}
			}
		}),
		{Name: "tls-broken-after", Want: bad, Detail: "", Serve: func(c *Conn) {
			_, _ = c.Plain.Write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32)))
			c.Stall()
		}},
		{Name: "tls-plain-after", Want: is(order.Unreachable), Detail: "TLS: ", Serve: func(c *Conn) { _, _ = c.Plain.Write([]byte(framed("", processing))); c.Stall() }},
		{Name: "tls-cut-record", Want: is(order.Unreachable), Detail: "closed", Serve: func(c *Conn) {
			_, _ = c.Plain.Write([]byte("\x17\x03\x03\x01\x00xxxx"))
		}},
	}
}

// before is a behaviour that never gets as far as TLS.
func before(name string, want order.Outcome, detail string, f func(*Conn)) Behaviour {
	return Behaviour{Name: name, Want: is(want), Detail: detail, Before: func(c *Conn) bool { f(c); return false }}
}

// hello reads the client's.
func (c *Conn) hello() {
	_, _ = c.in.Read(make([]byte, 8192))
}
