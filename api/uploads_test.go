package api

import (
	"fmt"
	"strings"
	"testing"

	"poller/order"
)

const wantedFile = `{"filename":"report.pdf","mime_type":"application/pdf","size":48213}`

// SPEC §6: an upload is prepared for an order in processing.
func TestPrepareUpload(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	g.order("o1", "s")
	g.uploads.upload = Upload{ObjectKey: "orders/o1/k", UploadURL: "https://u.example/k?s=1", ExpiresIn: 3600, MaxBytes: MaxUpload}
	a := g.do("POST", "/v1/orders/o1/uploads", wantedFile).want(t, 200)
	const want = `{"object_key":"orders/o1/k","upload_url":"https://u.example/k?s=1","headers":{},"expires_in":3600,"max_bytes":157286400}`
	if got := strings.TrimSpace(string(a.body)); got != want {
		t.Errorf("%s", got)
	}
	if g.uploads.asked != "o1 report.pdf application/pdf 48213" {
		t.Errorf("asked for %s", g.uploads.asked)
	}
	for _, body := range []string{
		`{"filename":"` + strings.Repeat("é", 127) + `","mime_type":"text/csv; charset=utf-8","size":1}`,
		`{"filename":"..a","mime_type":"a/b","size":157286400}`,
	} {
		g.do("POST", "/v1/orders/o1/uploads", body).want(t, 200)
	}
	for _, e := range g.logs.All() {
		if strings.Contains(fmt.Sprint(e.ContextMap()), "u.example") {
			t.Errorf("the URL is as good as a token, and logged: %v", e)
		}
	}
}

// Values that no upload can have are refused before anything else, each by its name.
func TestPrepareUploadValues(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	with := func(member, value string) string {
		values := map[string]string{"filename": `"a"`, "mime_type": `"a/b"`, "size": "1"}
		values[member] = value
		return fmt.Sprintf(`{"filename":%s,"mime_type":%s,"size":%s}`, values["filename"], values["mime_type"], values["size"])
	}
	for member, values := range map[string][]string{
		"filename":  {`""`, `null`, `" "`, `".."`, `"a/b"`, `"a\\b"`, `"a\nb"`, `"a\u202eb"`, `7`, `"` + strings.Repeat("é", 128) + `"`},
		"mime_type": {`""`, `null`, `"pdf"`, `"a/b\r\nX: y"`, `"é/b"`, `"a/` + strings.Repeat("b", 126) + `"`},
		"size":      {`0`, `-1`, `157286401`, `null`, `1.5`, `"1"`, `99999999999999999999`},
	} {
		for _, v := range values {
			p := g.do("POST", "/v1/orders/o1/uploads", with(member, v)).want(t, 422).problem(t)
			if got := fieldOf(t, p); got != member {
				t.Errorf("%s %s: blames %s", member, v, got)
			}
		}
	}
	if p := g.do("POST", "/v1/orders/o1/uploads", `{}`).want(t, 422).problem(t); len(p.Errors) != 3 {
		t.Errorf("%+v", p)
	}
	g.do("POST", "/v1/orders/o1/uploads", `{"name":"x"}`).want(t, 422).problem(t)
	g.do("POST", "/v1/orders/o1/uploads", ``).want(t, 400).problem(t)
}

// 404, 409 after the end, 410 once erased, 507 with too little space, 409 over a quota, 501 while uploads are off.
func TestPrepareUploadRefused(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	for _, id := range []string{"active", "ended", "erased"} {
		g.order(id, "s")
	}
	g.do("POST", "/v1/orders/ended/cancel", "").want(t, 200)
	g.do("POST", "/v1/orders/erased/cancel", "").want(t, 200)
	g.do("DELETE", "/v1/orders/erased", "").want(t, 204)
	for id, status := range map[string]int{"nobody": 404, "ended": 409, "erased": 410} {
		g.do("POST", "/v1/orders/"+id+"/uploads", wantedFile).want(t, status).problem(t)
	}
	if g.uploads.asked != "" {
		t.Errorf("asked for %s", g.uploads.asked)
	}
	g.full.Store(true)
	g.do("POST", "/v1/orders/active/uploads", wantedFile).want(t, 507).problem(t)
	g.full.Store(false)
	g.uploads.err = fmt.Errorf("%w: the order has 200 uploads already", order.ErrConflict)
	if p := g.do("POST", "/v1/orders/active/uploads", wantedFile).want(t, 409).problem(t); p.Detail != "the order has 200 uploads already" {
		t.Errorf("%+v", p)
	}
	g.uploads.err = order.ErrEnded // meanwhile
	g.do("POST", "/v1/orders/active/uploads", wantedFile).want(t, 409).problem(t)
	g.api.opt.Uploads = nil
	if p := g.do("POST", "/v1/orders/active/uploads", wantedFile).want(t, 501).problem(t); !strings.Contains(p.Detail, "uploads.listen") {
		t.Errorf("%+v", p)
	}
}
