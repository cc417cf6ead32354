package hostile

import (
	"strings"

	"poller/order"
)

// jsonGroup are answers that are not the JSON of SPEC §2, or that it only just admits.
func jsonGroup() []Behaviour {
	body := func(name string, want order.Outcome, detail, text string) Behaviour {
		return Behaviour{Name: "json-" + name, Want: is(want), Detail: detail, Keeps: true, Serve: says(text)}
	}
	bad := func(name, detail, text string) Behaviour { return body(name, order.InvalidResponse, detail, text) }
	ok := func(name, members string) Behaviour {
		return body(name, order.Processing, "", `{"status":"processing",`+members+`}`)
	}
	manyMembers := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(`"m` + itoa(i) + `":0,`)
		}
		return b.String() + `"last":0`
	}
	members := bad("million-members", "", `{"status":"processing",`+manyMembers(1_000_000)+`}`)
	members.Want, members.Long = is(order.Processing, order.InvalidResponse, order.Timeout), true
	str := body("string-of-50-mb", order.Processing, "", `{"status":"processing","message":"`+strings.Repeat("m", 50_000_000)+`"}`)
	str.Want, str.Long = is(order.Processing, order.Timeout), true
	return []Behaviour{
		bad("empty", "empty", ""), bad("space", "empty", " \n\t "), bad("nul", "", "\x00"), bad("null", "not an object", "null"),
		bad("string", "not an object", `"processing"`), bad("number", "", "1e999"), bad("array-of-two", "exactly one", `[`+processing+`,`+processing+`]`),
		body("array-of-one", order.Processing, "", `[`+processing+`]`), bad("two-documents", "after its end", processing+"\n"+processing),
		bad("trailing", "after its end", processing+"x"), bad("trailing-nul", "after its end", processing+"\x00"),
		body("bom", order.Processing, "", "\xef\xbb\xbf"+processing), bad("two-boms", "", "\xef\xbb\xbf\xef\xbb\xbf"+processing),
		bad("utf-16", "UTF-8", "\xff\xfe{\x00}\x00"), bad("utf-16-without-mark", "", "{\x00\"\x00s\x00\"\x00"), bad("utf-32", "", "\x00\x00\xfe\xff"),
		bad("invalid-utf-8", "UTF-8", `{"status":"processing","x":"`+"\xff"+`"}`), bad("overlong", "UTF-8", `{"status":"processing","x":"`+"\xc0\xaf"+`"}`),
		bad("surrogate-bytes", "UTF-8", `{"status":"processing","x":"`+"\xed\xa0\x80"+`"}`),
		ok("lone-surrogate", `"message":"\ud800"`), ok("reversed-surrogates", `"message":"\udc00\ud800"`),
		bad("duplicate", "twice", `{"status":"processing","status":"failed"}`), bad("duplicate-escaped", "twice", `{"status":"processing","st\u0061tus":"failed"}`),
		bad("duplicate-deep", "twice", `{"status":"processing","x":[{"a":1,"a":2}]}`),
		bad("nan", "not JSON", `{"status":"processing","progress":NaN}`), bad("infinity", "not JSON", `{"status":"processing","progress":-Infinity}`),
		bad("comment", "not JSON", `{"status":"processing"/**/}`), bad("trailing-comma", "not JSON", `{"status":"processing",}`),
		bad("single-quotes", "not JSON", `{'status':'processing'}`), bad("web-page", "not JSON", "<!doctype html><script>alert(1)</script>"),
		bad("leading-zero", "not JSON", `{"status":"processing","progress":01}`), bad("raw-newline", "not JSON", "{\"status\":\"processing\",\"x\":\"a\nb\"}"),
		bad("deep", "deeper than 64", `{"status":"processing","x":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+`}`),
		bad("deep-open", "", strings.Repeat(`{"x":`, 200_000)), ok("depth-64", `"x":`+strings.Repeat("[", 63)+strings.Repeat("]", 63)),
		ok("huge-number", `"progress":1e400,"eta_seconds":1e400`), bad("number-of-a-mebibyte", "16 KiB", `{"status":"processing","progress":`+strings.Repeat("9", 1<<20)+`}`),
		ok("progress-over", `"progress":101`), ok("progress-negative", `"progress":-1`), ok("progress-nonsense", `"progress":{"a":[]}`),
		ok("progress-text", `"progress":"45%"`), ok("message-number", `"message":5`), ok("eta-negative", `"eta_seconds":-1`),
		ok("message-of-a-mebibyte", `"message":"`+strings.Repeat(`\u001b[31m\r\n`, 80_000)+`"`), ok("message-rtl", `"message":"\u202egnp.exe\u0000\u2028"`),
		ok("proto", `"__proto__":{"status":"failed"},"constructor":1`), ok("other-case", `"STATUS":"failed","Status":"completed"`),
		bad("wrong-id", "another order", `{"status":"processing","order_id":"another"}`), bad("id-object", "order_id", `{"status":"processing","order_id":{}}`),
		bad("id-number", "another order", `{"status":"processing","order_id":1}`), bad("status-unknown", "status", `{"status":"done"}`),
		bad("status-missing", "status", `{}`), bad("status-array", "status", `{"status":["processing"]}`), bad("status-number", "status", `{"status":1}`),
		bad("status-look-alike", "status", `{"status":"proce`+"\u0455"+`sing"}`), bad("status-nul", "status", `{"status":"processing\u0000"}`),
		bad("status-long", "status", `{"status":"`+strings.Repeat("x", 1<<20)+`"}`),
		body("status-in-result", order.Processing, "", `{"result":{"status":"processing"}}`), bad("result-in-result", "status", `{"result":{"result":{"status":"processing"}}}`),
		members, str,
		{Name: "json-cut", Want: is(order.Unreachable), Detail: "in the middle of its JSON", Serve: sends(okHead + "\r\n{\"status\":\"proc")},
		bad("cut-with-length", "too early", `{"status":"proc`),
	}
}

// resultGroup are completed answers that nobody may accept, and some ends.
func resultGroup() []Behaviour {
	done := func(name, detail, members string) Behaviour {
		return Behaviour{Name: "result-" + name, Want: is(order.RejectedResult), Detail: detail, Keeps: true, Serve: says(`{"status":"completed",` + members + `}`)}
	}
	file := func(name, members string) Behaviour {
		return done(name, "", `"output_type":"file",`+members)
	}
	ends := func(name string, want order.Outcome, text string) Behaviour {
		return Behaviour{Name: "end-" + name, Want: is(want), Keeps: true, Serve: says(text)}
	}
	return []Behaviour{
		{Name: "result-missing", Want: is(order.RejectedResult), Keeps: true, Serve: says(`{"status":"completed"}`)},
		done("blank", "result_text", `"result_text":" \n"`), done("text-number", "result_text", `"output_type":"text","result_text":5`),
		done("json-broken", "result_text", `"output_type":"json","result_text":"{"`),
		done("url-http", "result_url", `"result_url":"http://example.com/x"`), done("url-inner", "result_url", `"result_url":"https://10.0.0.1/x"`),
		done("url-metadata", "result_url", `"result_url":"https://169.254.169.254/latest"`), done("url-localhost", "result_url", `"result_url":"https://localhost/"`),
		done("url-javascript", "result_url", `"result_url":"javascript:alert(1)"`), done("url-user", "result_url", `"result_url":"https://u:p@example.com/"`),
		done("url-long", "result_url", `"result_url":"https://example.com/`+strings.Repeat("x", 3000)+`"`),
		file("base64-broken", `"file_base64":"AAAA!AAA"`), file("base64-empty", `"file_base64":""`), file("base64-mixed", `"file_base64":"+-AA"`),
		file("base64-padding", `"file_base64":"A==="`), file("base64-number", `"file_base64":12`),
		file("key-of-another", `"object_key":"orders/another/x"`), file("key-upward", `"object_key":"orders/../secrets.key"`),
		file("key-absolute", `"object_key":"/etc/passwd"`), file("key-nul", `"object_key":"orders/x\u0000"`), file("key-long", `"object_key":"orders/`+strings.Repeat("x/", 5000)+`"`),
		file("files-none", `"files":[]`), file("files-101", `"files":[`+strings.Repeat(`{"filename":"a","mime_type":"a/b","file_base64":"QQ=="},`, 100)+`{"filename":"a","mime_type":"a/b","file_base64":"QQ=="}]`),
		file("files-not-objects", `"files":[1,"x",null]`), file("files-two-sources", `"files":[{"filename":"a","mime_type":"a/b","file_base64":"QQ==","result_url":"https://example.com/"}]`),
		file("files-no-source", `"files":[{"filename":"a","mime_type":"a/b"}]`), file("files-object", `"files":{"a":1}`),
		ends("failed", order.SellerFailed, `{"status":"failed","error":"no"}`),
		ends("failed-with-result", order.SellerFailed, `{"status":"failed","error":{"code":"\u001b[31m","message":"`+strings.Repeat("\\r\\n", 100_000)+`"},"result_text":"x"}`),
		ends("both-forms", order.Completed, `{"status":"completed","result_text":"a","result":{"result_text":"b","status":"failed"}}`),
		ends("name-upward", order.Completed, `{"status":"completed","output_type":"file","file_base64":"QQ==","filename":"../../etc/passwd","mime_type":"text/html\r\nX: y"}`),
		ends("name-rtl", order.Completed, `{"status":"completed","output_type":"file","file_base64":"QQ==","filename":"\u202egnp.exe\u0000","mime_type":"nonsense"}`),
		ends("name-long", order.Completed, `{"status":"completed","output_type":"file","file_base64":"QQ==","filename":"`+strings.Repeat("n", 100_000)+`"}`),
		{Name: "result-of-202", Want: is(order.HTTPError), Detail: "202", Keeps: true, Serve: sends("HTTP/1.1 202 x\r\nContent-Length: 41\r\n\r\n" + `{"status":"completed","result_text":"xx"}`)},
	}
}
