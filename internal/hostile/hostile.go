// Package hostile is a library of strangers: sellers that misbehave in TLS,
// TCP, HTTP, content codings, redirects, DNS and JSON, each with the outcome
// (SPEC §5) that a poll of it must have. They write their answers byte by byte.
package hostile

import (
	"strings"

	"poller/order"
)

// A Behaviour is one way to misbehave.
type Behaviour struct {
	Name   string          // unique, of a-z 0-9 -
	Want   []order.Outcome // any of these
	Detail string          // what the detail must contain
	Long   bool            // the poll may go on until body_timeout, else until timeout
	Keeps  bool            // the answer is well framed: its connection may be kept

	// Before, if not nil, has the connection before TLS. It returns false if that was all.
	Before func(c *Conn) bool
	// TLS, if not nil, says how to shake hands; else a good certificate is shown.
	TLS func(w *World, s *Seller) *TLS
	// Serve answers one request, which was read and recorded. When it returns the connection is
	// closed, unless it was Keeps: then the next request is awaited.
	Serve func(c *Conn)
	// DNS, if not nil, answers lookups of the name; n counts the earlier ones of this type.
	DNS func(w *World, s *Seller, n int) DNSAnswer
	// NoListener: nobody listens at the seller's address.
	NoListener bool
}

// All returns every behaviour.
func All() []Behaviour {
	var all []Behaviour
	for _, group := range []func() []Behaviour{tlsGroup, tcpGroup, headGroup, framingGroup, keptGroup, codingGroup, redirectGroup, dnsGroup, jsonGroup, resultGroup} {
		all = append(all, group()...)
	}
	return all
}

func is(o ...order.Outcome) []order.Outcome { return o }

// Well-formed answers for those who misbehave elsewhere.
const (
	processing = `{"status":"processing"}`
	okHead     = "HTTP/1.1 200 OK\r\n"
)

// sends writes fixed bytes and hangs up.
func sends(text string) func(*Conn) {
	return func(c *Conn) { c.Say(text) }
}

// says is sends of a well-framed 200 with this body.
func says(body string) func(*Conn) { return sends(framed("", body)) }

// framed is a 200 with a right Content-Length and further header lines (each ending in CR LF).
func framed(lines, body string) string {
	return okHead + lines + "Content-Length: " + itoa(len(body)) + "\r\n\r\n" + body
}

// forever writes text until the other side is gone.
func forever(head, text string) func(*Conn) {
	text = many(text)
	return func(c *Conn) {
		for ok := c.Say(head); ok; {
			ok = c.Say(text)
		}
	}
}

// many repeats a short text to about 16 KiB.
func many(text string) string { return strings.Repeat(text, 1+16<<10/len(text)) }

// drips writes head, and then text every few milliseconds.
func drips(head, text string) func(*Conn) {
	return func(c *Conn) {
		c.Say(head)
		for c.Tick() {
			c.Say(text)
		}
	}
}
