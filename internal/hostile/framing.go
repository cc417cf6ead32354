package hostile

import (
	"strings"

	"poller/order"
)

func framingGroup() []Behaviour {
	bad, gone, late := is(order.InvalidResponse), is(order.Unreachable), is(order.Timeout)
	const chunked = okHead + "Transfer-Encoding: chunked\r\n\r\n"
	const one = "17\r\n" + processing + "\r\n"
	raw := func(name string, want []order.Outcome, detail, text string) Behaviour {
		return Behaviour{Name: name, Want: want, Detail: detail, Serve: sends(text)}
	}
	return []Behaviour{
		raw("length-twice-alike", is(order.Processing), "", okHead+"Content-Length: 23\r\nContent-Length: 23\r\n\r\n"+processing),
		raw("length-twice-different", bad, "not HTTP/1.1", okHead+"Content-Length: 5\r\nContent-Length: 23\r\n\r\n"+processing),
		raw("length-list", bad, "", okHead+"Content-Length: 23, 23\r\n\r\n"+processing),
		raw("length-negative", bad, "", okHead+"Content-Length: -1\r\n\r\n"+processing),
		raw("length-plus", bad, "", okHead+"Content-Length: +23\r\n\r\n"+processing),
		raw("length-hexadecimal", bad, "", okHead+"Content-Length: 0x17\r\n\r\n"+processing),
		raw("length-empty", bad, "", okHead+"Content-Length:\r\n\r\n"+processing),
		raw("length-overflow", bad, "", okHead+"Content-Length: 99999999999999999999999\r\n\r\n"+processing),
		raw("length-beyond-max-body", bad, "larger than", okHead+"Content-Length: 99999999999\r\n\r\n{"),
		raw("length-too-short", bad, "too early", okHead+"Content-Length: 5\r\n\r\n"+processing),
		raw("length-zero", bad, "empty", okHead+"Content-Length: 0\r\n\r\n"+processing),
		raw("length-too-long", gone, "closed after", okHead+"Content-Length: 24\r\n\r\n"+processing),
		raw("length-and-chunked", is(order.Processing, order.InvalidResponse), "", okHead+"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"+one+"0\r\n\r\n"),
		raw("coding-chunked-twice", bad, "", okHead+"Transfer-Encoding: chunked, chunked\r\n\r\n"+one+"0\r\n\r\n"),
		raw("coding-unknown", bad, "", okHead+"Transfer-Encoding: gzip\r\n\r\n"+processing),
		raw("coding-vertical-tab", bad, "", okHead+"Transfer-Encoding: \x0bchunked\r\n\r\n"+one+"0\r\n\r\n"),
		raw("chunk-good", is(order.Processing), "", chunked+one+"0\r\n\r\n"),
		raw("chunk-size-nonsense", bad, "framing", chunked+"zz\r\n{"),
		raw("chunk-size-negative", bad, "framing", chunked+"-1\r\n{"),
		raw("chunk-size-overflow", bad, "framing", chunked+"fffffffffffffffff\r\n{"),
		raw("chunk-size-huge", gone, "closed after", chunked+"7fffffffffffffff\r\n{"),
		raw("chunk-size-empty", bad, "framing", chunked+"\r\n{"),
		raw("chunk-too-long", bad, "framing", chunked+"10\r\n"+processing+"\r\n0\r\n\r\n"),
		raw("chunk-cut", gone, "closed after", chunked+"100\r\n"+processing),
		raw("chunk-none-last", gone, "closed after", chunked+one),
		raw("chunk-extension", is(order.Processing), "", chunked+"17;a=b\r\n"+processing+"\r\n0\r\n\r\n"),
		{Name: "chunk-extension-endless", Want: bad, Detail: "framing", Serve: forever(chunked+"17;", "x")},
		{Name: "chunk-extensions-many", Want: is(order.InvalidResponse, order.Timeout), Serve: forever(chunked, "1;"+strings.Repeat("x", 2000)+"\r\n \r\n")},
		raw("trailer", is(order.Processing), "", chunked+one+"0\r\nX: y\r\n\r\n"),
		raw("trailer-length", is(order.Processing, order.InvalidResponse), "", chunked+one+"0\r\nContent-Length: 9\r\n\r\n"),
		raw("trailer-garbage", bad, "framing", chunked+one+"0\r\nnonsense\r\n\r\n"),
		{Name: "trailer-flood", Want: bad, Detail: "framing", Serve: forever(chunked+one+"0\r\n", "X: "+strings.Repeat("x", 1000)+"\r\n")},
		{Name: "trailer-dripping", Want: late, Detail: "not complete", Serve: drips(chunked+one+"0\r\nX: ", "x")},
		{Name: "body-dripping", Want: late, Detail: "not complete", Serve: drips(chunked+"1\r\n{\r\n", "1\r\n \r\n")},
		{Name: "body-dripping-claims-long", Want: late, Long: true, Detail: "not complete", Serve: drips(okHead+"Content-Length: 2000000\r\n\r\n", " ")},
		{Name: "body-slow-and-long", Want: late, Long: true, Detail: "not complete", Serve: drips(okHead+"\r\n{\"x\":\""+strings.Repeat("x", 1<<20), "xx")},
		{Name: "body-endless", Want: is(order.InvalidResponse, order.Timeout), Long: true, Serve: forever(okHead+"\r\n{\"x\":\"", "x")},
		{Name: "body-endless-space", Want: is(order.InvalidResponse, order.Timeout), Long: true, Serve: forever(okHead+"\r\n", " ")},
		{Name: "body-endless-numbers", Want: is(order.InvalidResponse, order.Timeout), Long: true, Serve: forever(okHead+"\r\n{\"x\":[0", ",0")},
		{Name: "body-endless-after-end", Want: is(order.InvalidResponse, order.Timeout), Long: true, Serve: forever(okHead+"\r\n"+processing, "\n")},
		{Name: "body-endless-file", Want: is(order.InvalidResponse, order.Timeout, order.RejectedResult), Long: true, Serve: forever(okHead+"\r\n{\"status\":\"completed\",\"file_base64\":\"", "AAAA")},
		{Name: "body-of-404-endless", Want: is(order.NotFound), Detail: "404", Serve: forever("HTTP/1.1 404 x\r\n\r\n", "x")},
		{Name: "body-of-404-dripping", Want: is(order.NotFound), Detail: "404", Serve: drips("HTTP/1.1 404 x\r\n\r\n", "x")},
		{Name: "body-of-500-endless", Want: is(order.HTTPError), Detail: "500", Serve: forever("HTTP/1.1 500 x\r\n\r\n", "x")},
		{Name: "body-of-429-silent", Want: is(order.Throttled), Detail: "429", Serve: func(c *Conn) { c.Say("HTTP/1.1 429 x\r\nContent-Length: 9\r\n\r\n"); c.Stall() }},
		{Name: "to-itself-with-endless-body", Want: is(order.Processing), Serve: func(c *Conn) {
			if strings.HasPrefix(c.Head, "GET /end ") {
				c.Say(framed("", processing))
				return
			}
			forever("HTTP/1.1 302 x\r\nLocation: /end\r\n\r\n", "x")(c)
		}},
	}
}

// keptGroup are those who use a kept connection against the next poll.
func keptGroup() []Behaviour {
	kept := func(name string, want []order.Outcome, f func(*Conn)) Behaviour {
		return Behaviour{Name: name, Want: want, Keeps: true, Serve: f}
	}
	evil := framed("", `{"status":"failed","error":"not asked for"}`)
	return []Behaviour{
		kept("kept-two-answers", is(order.Processing), sends(framed("", processing)+evil)),
		kept("kept-second-answer-later", is(order.Processing, order.Unreachable, order.SellerFailed), func(c *Conn) {
			c.Say(framed("", processing))
			c.Wait(dripEvery)
			c.Say(evil)
		}),
		kept("kept-extra-bytes", is(order.Processing), sends(framed("", processing)+"\r\n\r\n")),
		kept("kept-answer-split", is(order.Processing), sends(okHead+"X: y\r\nContent-Length: 23\r\n\r\n"+processing+"HTTP/1.1 404 x\r\n\r\n")),
		kept("kept-404-then-answer", is(order.NotFound), sends("HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n"+evil)),
		kept("kept-close-said", is(order.Processing), sends(framed("Connection: close\r\n", processing))),
		{Name: "kept-close-unsaid", Want: is(order.Processing), Serve: sends(framed("Connection: keep-alive\r\n", processing))},
		kept("kept-204-with-answer", is(order.HTTPError), sends("HTTP/1.1 204 x\r\n\r\n"+evil)),
		kept("kept-silent-second", is(order.Processing, order.Timeout), func(c *Conn) {
			if c.N == 0 {
				c.Say(framed("", processing))
				return
			}
			c.Stall()
		}),
		kept("kept-answers-the-other", is(order.Processing), func(c *Conn) { c.Say(framed("", `{"status":"processing","order_id":"`+c.orderID()+`"}`)) }),
	}
}
