package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"mime"
	"net/http"
	"strings"
	"testing"

	"poller/order"
)

func (g *rig) completed(id string, files ...order.File) {
	g.store.orders[id] = order.Order{
		ID: id, State: order.StateCompleted,
		Result: &order.Result{OutputType: order.OutputFile, Files: files},
	}
}

func (g *rig) file(key, name, mimeType string, content []byte) order.File {
	g.files[key] = content
	sum := sha256.Sum256(content)
	return order.File{Filename: name, MIMEType: mimeType, ObjectKey: key, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
}

// SPEC §6: the n-th file, from 0: its bytes, as an attachment, nosniff.
func TestFile(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	big := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	g.completed("o1",
		g.file("orders/o1/a", "page.html", "text/html; charset=utf-8", []byte("<script>")),
		g.file("orders/o1/b", "big.bin", "nonsense\r\nX-Evil: 1", big),
		order.File{Filename: "c", URL: "https://a.example/c"},
		g.file("orders/o1/d", "", "", nil),
	)
	a := g.do("GET", "/v1/orders/o1/files/0", "").want(t, 200)
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff",
		"Content-Disposition": `attachment; filename="page.html"`, "Content-Length": "8", "Accept-Ranges": "none",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if string(a.body) != "<script>" || !strings.HasPrefix(a.header.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("%s %v", a.body, a.header)
	}
	a = g.do("GET", "/v1/orders/o1/files/1", "", "Range: bytes=5-9").want(t, 200)
	if !bytes.Equal(a.body, big) || a.header.Get("Content-Type") != "application/octet-stream" || a.header.Get("X-Evil") != "" {
		t.Errorf("%d bytes, %v", len(a.body), a.header)
	}
	if a := g.do("GET", "/v1/orders/o1/files/3", "").want(t, 200); len(a.body) != 0 || a.header.Get("Content-Disposition") != "attachment" {
		t.Errorf("empty file: %v", a.header)
	}
	if a := g.do("HEAD", "/v1/orders/o1/files/1", "").want(t, 200); a.header.Get("Content-Length") != "320000" {
		t.Errorf("HEAD: %v", a.header)
	}
	for path, status := range map[string]int{
		"o1/files/2": 404, "o1/files/4": 404, "o1/files/99": 404, "nobody/files/0": 404,
		"o1/files/-1": 422, "o1/files/100": 422, "o1/files/x": 422,
	} {
		g.do("GET", "/v1/orders/"+path, "").want(t, status).problem(t)
	}
}

// GUARANTEES G3: a damaged file is never handed out whole: 500 before any byte, or an answer cut short.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	small := g.file("k1", "a", "", []byte("hello"))
	big := g.file("k2", "b", "", bytes.Repeat([]byte("x"), 300_000))
	short := g.file("k3", "c", "", []byte("hello"))
	missing := g.file("k4", "d", "", []byte("hello"))
	g.completed("o1", small, big, short, missing)
	g.files["k1"] = []byte("hellx")
	g.files["k2"] = bytes.Repeat([]byte("y"), 300_000)
	g.files["k3"] = []byte("hell")
	delete(g.files, "k4")
	for _, n := range []string{"0", "2", "3"} {
		g.do("GET", "/v1/orders/o1/files/"+n, "").want(t, 500).problem(t)
	}
	res, err := http.DefaultTransport.RoundTrip(g.request("GET", "/v1/orders/o1/files/1", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err == nil || len(b) >= 300_000 {
		t.Errorf("%d bytes of a damaged file, %v", len(b), err)
	}
	if g.logs.FilterMessage("a result file is damaged").Len() != 1 || g.logs.FilterMessage("request failed").Len() != 3 {
		t.Errorf("logged: %v", g.logs.All())
	}
}

// RFC 6266, RFC 8187: nothing in a name gets out of its quotes.
func TestDisposition(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"a b.txt":          `attachment; filename="a b.txt"`,
		"é\".pdf":          `attachment; filename="__.pdf"; filename*=UTF-8''%C3%A9%22.pdf`,
		"50%.csv":          `attachment; filename="50_.csv"; filename*=UTF-8''50%25.csv`,
		"a\r\nX: y":        `attachment; filename="a  X: y"`,
		"..\\..\\x":        `attachment; filename=".._.._x"; filename*=UTF-8''..%5C..%5Cx`,
		"\u202egpj.exe":    `attachment; filename="gpj.exe"`,
		"":                 `attachment`,
		"日本.txt":           `attachment; filename="__.txt"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.txt`,
		"a;filename=b.exe": `attachment; filename="a;filename=b.exe"`,
	} {
		if got := disposition(name); got != want {
			t.Errorf("%q: %s", name, got)
		}
	}
}

func FuzzDisposition(f *testing.F) {
	f.Add("a\"b.txt")
	f.Add("é%\x00")
	f.Fuzz(func(t *testing.T, name string) {
		d := disposition(name)
		kind, params, err := mime.ParseMediaType(d)
		if err != nil || kind != "attachment" {
			t.Fatalf("%q: %s: %v", name, d, err)
		}
		if want := order.Clip(name, order.MaxFilenameBytes); params["filename"] != want {
			t.Fatalf("%q: %q, not %q", name, params["filename"], want)
		}
	})
}
