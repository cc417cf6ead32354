package hostile

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"strings"

	"poller/order"
)

// zipped is text in gzip.
func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text)) // to memory
	_ = z.Close()
	return b.String()
}

func deflated(text string) string {
	var b bytes.Buffer
	z, err := flate.NewWriter(&b, 6)
	if err != nil {
		return ""
	}
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.String()
}

func codingGroup() []Behaviour {
	bad := is(order.InvalidResponse)
	coded := func(name, coding string, want []order.Outcome, detail, body string) Behaviour {
		return Behaviour{Name: name, Want: want, Detail: detail, Keeps: true, Serve: sends(framed("Content-Encoding: "+coding+"\r\n", body))}
	}
	z := zipped(processing)
	bomb := zipped(`{"status":"processing","x":"` + strings.Repeat("0", 80<<20) + `"}`)
	flip := []byte(z)
	flip[len(flip)-6] ^= 1 // in the CRC
	size := []byte(z)
	size[len(size)-1] ^= 1
	return []Behaviour{
		coded("gzip-good", "gzip", is(order.Processing), "", z),
		coded("gzip-upper-case", "GZIP", is(order.Processing), "", z),
		coded("gzip-two-members", "gzip", is(order.Processing, order.InvalidResponse), "", zipped(`{"status":`)+zipped(`"processing"}`)),
		coded("gzip-many-empty-members", "gzip", is(order.Processing, order.InvalidResponse), "", strings.Repeat(zipped(""), 3000)+z),
		long(coded("gzip-bomb", "gzip", is(order.InvalidResponse, order.Timeout), "", bomb)),
		coded("gzip-bomb-nested", "gzip", bad, "", zipped(bomb)),
		coded("gzip-twice", "gzip, gzip", bad, "content coding", zipped(z)),
		coded("gzip-twice-unsaid", "gzip", bad, "", zipped(z)),
		coded("gzip-cut", "gzip", bad, "", z[:len(z)-12]),
		coded("gzip-no-crc", "gzip", bad, "gzip", z[:len(z)-8]),
		coded("gzip-wrong-crc", "gzip", bad, "gzip", string(flip)),
		coded("gzip-wrong-size", "gzip", bad, "gzip", string(size)),
		coded("gzip-trailing-garbage", "gzip", bad, "gzip", z+"garbage after the end"),
		coded("gzip-header-only", "gzip", bad, "", z[:10]),
		coded("gzip-empty", "gzip", bad, "", ""),
		coded("gzip-said-only", "gzip", bad, "gzip", processing),
		coded("gzip-unsaid", "identity", bad, "", z),
		coded("gzip-long-name", "gzip", is(order.Processing, order.InvalidResponse), "", z[:3]+"\x08"+z[4:10]+strings.Repeat("n", 5000)+"\x00"+z[10:]),
		{Name: "gzip-name-endless", Want: is(order.InvalidResponse, order.Timeout), Serve: forever(okHead+"Content-Encoding: gzip\r\n\r\n"+z[:3]+"\x08"+z[4:10], "n")},
		{Name: "gzip-empty-members-endless", Want: is(order.InvalidResponse, order.Timeout), Serve: forever(okHead+"Content-Encoding: gzip\r\n\r\n", zipped(""))},
		{Name: "gzip-dripping", Want: is(order.Timeout), Serve: drips(okHead+"Content-Encoding: gzip\r\n\r\n"+z[:12], "")},
		coded("coded-br", "br", bad, "content coding", "\x0b\x0b\x80"+processing),
		coded("coded-zstd", "zstd", bad, "content coding", "\x28\xb5\x2f\xfd"),
		coded("coded-deflate", "deflate", bad, "content coding", deflated(processing)),
		coded("coded-compress", "compress", bad, "content coding", "\x1f\x9d"),
		coded("coded-nonsense", "\t,;q=\"", bad, "content coding", processing),
		coded("coded-nothing", ",, ,", is(order.Processing), "", processing),
		coded("coded-thousandfold", strings.Repeat("gzip,", 1000), bad, "content coding", z),
	}
}

// long lets a behaviour take until body_timeout.
func long(b Behaviour) Behaviour {
	b.Long = true
	return b
}
