package hostile

import (
	"strings"

	"poller/order"
)

func headGroup() []Behaviour {
	bad, late := is(order.InvalidResponse), is(order.Timeout)
	status := func(name, line string, want order.Outcome, detail string) Behaviour {
		return Behaviour{Name: name, Want: is(want), Detail: detail, Serve: sends(line + "\r\nContent-Length: 23\r\n\r\n" + processing)}
	}
	line := func(name, text string, want order.Outcome) Behaviour {
		return Behaviour{Name: name, Want: is(want), Serve: sends(framed(text, processing))}
	}
	flood := is(order.Timeout, order.InvalidResponse, order.Unreachable)
	return []Behaviour{
		status("head-not-http", "hello there", order.InvalidResponse, "not HTTP/1.1"),
		status("head-no-code", "HTTP/1.1 ", order.InvalidResponse, "not HTTP/1.1"),
		status("head-code-of-two-digits", "HTTP/1.1 20 OK", order.InvalidResponse, ""),
		status("head-code-of-four-digits", "HTTP/1.1 2000 OK", order.InvalidResponse, ""),
		status("head-code-negative", "HTTP/1.1 -20 OK", order.InvalidResponse, ""),
		status("head-code-000", "HTTP/1.1 000 OK", order.InvalidResponse, ""),
		status("head-code-999", "HTTP/1.1 999 OK", order.HTTPError, "999"),
		status("head-code-600", "HTTP/1.1 600 \x1b[2J", order.HTTPError, "600"),
		status("head-http-99", "HTTP/99.9 200 OK", order.InvalidResponse, ""),
		status("head-icy", "ICY 200 OK", order.InvalidResponse, ""),
		status("head-201", "HTTP/1.1 201 Created", order.HTTPError, "201"),
		status("head-206", "HTTP/1.1 206 Partial Content", order.HTTPError, "206"),
		status("head-202-processing", "HTTP/1.1 202 Accepted", order.Processing, ""),
		status("head-400", "HTTP/1.1 400 Bad Request", order.HTTPError, "400"),
		status("head-401", "HTTP/1.1 401 Unauthorized", order.Unauthorized, "401"),
		status("head-404", "HTTP/1.1 404 Not Found", order.NotFound, "404"),
		status("head-410", "HTTP/1.1 410 Gone", order.NotFound, "410"),
		status("head-407", "HTTP/1.1 407 Proxy", order.Unauthorized, "407"),
		status("head-500", "HTTP/1.1 500 x", order.HTTPError, "500"),
		status("head-503", "HTTP/1.1 503 x", order.HTTPError, "503"),
		status("head-429-far-future", "HTTP/1.1 429 x\r\nRetry-After: 99999999999999999999", order.Throttled, "429"),
		status("head-429-negative", "HTTP/1.1 429 x\r\nRetry-After: -1", order.Throttled, "429"),
		status("head-429-nonsense", "HTTP/1.1 429 x\r\nRetry-After: \t\x80", order.Throttled, "429"),
		{Name: "head-http-09", Want: bad, Serve: sends(processing + "\n")},
		{Name: "head-http-10", Want: is(order.Processing), Serve: sends("HTTP/1.0 200 OK\r\n\r\n" + processing)},
		{Name: "head-lf-only", Want: is(order.Processing, order.InvalidResponse), Serve: sends("HTTP/1.1 200 OK\nContent-Length: 23\n\n" + processing)},
		{Name: "head-304-with-body", Want: is(order.HTTPError), Detail: "304", Serve: sends("HTTP/1.1 304 x\r\nContent-Length: 23\r\n\r\n" + processing)},
		{Name: "head-204-with-body", Want: is(order.HTTPError), Detail: "204", Serve: sends("HTTP/1.1 204 x\r\nContent-Length: 23\r\n\r\n" + processing)},
		{Name: "head-205-with-body", Want: is(order.HTTPError), Detail: "205", Serve: sends("HTTP/1.1 205 x\r\nContent-Length: 23\r\n\r\n" + processing)},
		{Name: "head-101", Want: is(order.HTTPError), Detail: "101", Serve: drips("HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "x")},
		{Name: "head-100-then-200", Want: is(order.Processing), Serve: sends("HTTP/1.1 100 Continue\r\n\r\n" + framed("", processing))},
		{Name: "head-103-then-200", Want: is(order.Processing), Serve: sends("HTTP/1.1 103 x\r\nLink: </x>\r\n\r\n" + framed("", processing))},
		{Name: "head-1xx-dripping", Want: flood, Serve: drips("", "HTTP/1.1 103 Early Hints\r\n\r\n")},
		{Name: "head-1xx-flood", Want: flood, Serve: forever("", "HTTP/1.1 102 Processing\r\nX: y\r\n\r\n")},
		{Name: "head-100-flood", Want: flood, Serve: forever("", "HTTP/1.1 100 Continue\r\n\r\n")},
		{Name: "head-dripping", Want: late, Detail: "head of the answer", Serve: drips(okHead+"X: ", "x")},
		{Name: "head-flood", Want: bad, Detail: "over 64 KiB", Serve: forever(okHead, "X: "+strings.Repeat("x", 1000)+"\r\n")},
		{Name: "head-flood-of-empty", Want: bad, Serve: forever(okHead, "a:\r\n")},
		{Name: "head-one-long-line", Want: bad, Detail: "over 64 KiB", Serve: forever(okHead+"X: ", "x")},
		{Name: "head-long-reason", Want: bad, Detail: "over 64 KiB", Serve: forever("HTTP/1.1 200 ", "x")},
		{Name: "head-long-name", Want: bad, Serve: forever(okHead, "x")},
		{Name: "head-folded-forever", Want: bad, Detail: "over 64 KiB", Serve: forever(okHead+"X: y\r\n", " z\r\n")},
		{Name: "head-of-a-mebibyte", Want: bad, Detail: "over 64 KiB", Serve: sends(framed("X: "+strings.Repeat("x", 1<<20)+"\r\n", processing))},
		line("head-nul", "X: a\x00b\r\n", order.InvalidResponse),
		line("head-cr", "X: a\rb\r\n", order.InvalidResponse),
		line("head-no-colon", "nonsense\r\n", order.InvalidResponse),
		line("head-space-before-colon", "X : y\r\n", order.Processing),
		line("head-empty-name", ": y\r\n", order.InvalidResponse),
		line("head-8-bit", "X: \xff\xfe\r\n", order.Processing),
		line("head-escapes", "X: \x1b]0;title\x07\r\n", order.InvalidResponse),
		line("head-html-type", "Content-Type: text/html; charset=utf-16\r\n", order.Processing),
		line("head-set-cookie", "Set-Cookie: a=b; Domain=.test\r\nClear-Site-Data: *\r\n", order.Processing),
		line("head-refresh", "Refresh: 0; url=https://10.0.0.1/\r\nAlt-Svc: h3=\"10.0.0.1:443\"\r\nLink: <https://10.0.0.1/>; rel=preload\r\n", order.Processing),
	}
}
