package hostile

import (
	"time"

	"poller/order"
)

func tcpGroup() []Behaviour {
	gone := is(order.Unreachable)
	return []Behaviour{
		{Name: "tcp-refused", Want: gone, Detail: "connect: connection refused", NoListener: true},
		before("tcp-closed-at-once", order.Unreachable, "TLS: ", func(*Conn) {}),
		before("tcp-reset-at-once", order.Unreachable, "", func(c *Conn) { c.Reset() }),
		before("tcp-reset-after-hello", order.Unreachable, "TLS: ", func(c *Conn) { c.hello(); c.Reset() }),
		before("tcp-closed-after-hello", order.Unreachable, "TLS: ", func(c *Conn) { c.hello() }),
		before("tcp-half-closed", order.Unreachable, "TLS: ", func(c *Conn) { _ = c.Plain.CloseWrite(); c.Stall() }),
		{Name: "tcp-hang-up", Want: gone, Detail: "closed before an answer", Serve: func(*Conn) {}},
		{Name: "tcp-reset-after-request", Want: gone, Detail: "before an answer", Serve: func(c *Conn) { c.Reset() }},
		{Name: "tcp-reset-in-head", Want: gone, Serve: func(c *Conn) { c.Say("HTTP/1.1 200 O"); c.Reset() }},
		{Name: "tcp-reset-in-body", Want: gone, Serve: func(c *Conn) { c.Say(okHead + "Content-Length: 100\r\n\r\n{"); c.Wait(dripEvery); c.Reset() }},
		{Name: "tcp-closed-in-status", Want: gone, Serve: sends("HTTP/1.1 200 O")},
		{Name: "tcp-closed-in-head", Want: gone, Serve: sends(okHead + "X: y\r\nContent-")},
		{Name: "tcp-closed-in-body", Want: gone, Detail: "closed after 23 bytes", Serve: sends(okHead + "Content-Length: 1000\r\n\r\n" + processing)},
		{Name: "tcp-silence", Want: is(order.Timeout), Detail: "no first byte", Serve: func(c *Conn) { c.Stall() }},
		{Name: "tcp-silence-in-status", Want: is(order.Timeout), Detail: "head of the answer", Serve: func(c *Conn) { c.Say("HTTP/1."); c.Stall() }},
		{Name: "tcp-silence-in-head", Want: is(order.Timeout), Detail: "head of the answer", Serve: func(c *Conn) { c.Say(okHead + "A: b\r\n"); c.Stall() }},
		{Name: "tcp-silence-in-body", Want: is(order.Timeout), Detail: "not complete within", Serve: func(c *Conn) { c.Say(okHead + "Content-Length: 23\r\n\r\n{\"status\":"); c.Stall() }},
		{Name: "tcp-silence-after-body", Want: is(order.Timeout), Detail: "not complete within", Serve: func(c *Conn) { c.Say(okHead + "\r\n" + processing); c.Stall() }},
		{Name: "tcp-never-reads", Want: is(order.Timeout), Detail: "handshake not finished", Before: func(c *Conn) bool {
			_ = c.Plain.SetReadBuffer(1)
			<-time.After(c.World.Timeout * 3 / 2)
			return false
		}},
		{Name: "tcp-slow-but-in-time", Want: is(order.Processing), Serve: func(c *Conn) { c.Wait(c.World.Timeout / 4); c.Say(framed("", processing)); c.Wait(time.Second / 2) }},
		{Name: "tcp-just-too-late", Want: is(order.Timeout), Detail: "no first byte", Serve: func(c *Conn) {
			if c.Wait(c.World.Timeout + 300*time.Millisecond) {
				c.Say(framed("", processing))
			}
		}},
		{Name: "tcp-late-handshake", Want: is(order.Timeout), Detail: "handshake not finished", Before: func(c *Conn) bool {
			<-time.After(c.World.Timeout + 300*time.Millisecond)
			return true
		}, Serve: says(processing)},
		{Name: "tcp-each-phase-a-little-slow", Want: is(order.Timeout), Before: func(c *Conn) bool {
			<-time.After(c.World.Timeout * 4 / 10)
			return true
		}, Serve: func(c *Conn) {
			if c.Wait(c.World.Timeout*4/10) && c.Say(okHead+"Content-Length: 23\r\n\r\n") && c.Wait(c.World.Timeout*4/10) {
				c.Say(processing)
			}
		}},
	}
}
