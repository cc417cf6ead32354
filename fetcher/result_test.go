package fetcher

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"poller/order"
)

// shown is a result in one line: form|text|url|name,type,size,from;...
func shown(r *order.Result, files *memFiles) string {
	if r == nil {
		return ""
	}
	s := string(r.OutputType) + "|"
	if r.Text != nil {
		s += *r.Text
	}
	s += "|" + r.URL + "|"
	for _, f := range r.Files {
		from := f.URL
		if f.ObjectKey != "" {
			from = "kept"
			if f.Uploaded {
				from = f.ObjectKey
			} else if files.files[f.ObjectKey] == nil || f.SHA256 != files.sums[f.ObjectKey] || f.Size != int64(len(files.files[f.ObjectKey])) {
				from = "wrong"
			}
		}
		s += fmt.Sprintf("%s,%s,%d,%s;", f.Filename, f.MIMEType, f.Size, from)
	}
	return s
}

func TestResult(t *testing.T) {
	const hello = "SGVsbG8=" // Hello
	const plain = "text/plain; charset=utf-8"
	for _, c := range []struct{ name, fields, want, problem string }{
		{"text", `"output_type":"text","result_text":" a\u0000\n"`, "text| a\x00\n||", ""},
		{"html", `"output_type":"html","result_text":"<b>"`, "html|<b>||", ""},
		{"csv", `"output_type":"csv","result_text":"a,b"`, "csv|a,b||", ""},
		{"json string", `"output_type":"json","result_text":"{\"a\":1}"`, `json|{"a":1}||`, ""},
		{"json string, member twice", `"output_type":"json","result_text":"{\"a\":1,\"a\":2}"`, `json|{"a":1,"a":2}||`, ""},
		{"json object", `"output_type":"json","result_text" : {"a": [1, "x"]}`, `json|{"a": [1, "x"]}||`, ""},
		{"json array", `"output_type":"json","result_text":[ ]`, `json|[ ]||`, ""},
		{"url", `"output_type":"url","result_url":"https://example.com/a?b"`, "url||https://example.com/a?b|", ""},
		{"file", `"output_type":"file","file_base64":"` + hello + `","filename":"a.txt","mime_type":"text/x"`, "file|||a.txt,text/x,5,kept;", ""},
		{"name and type filled in", `"output_type":"file","file_base64":"` + hello + `"`, "file|||result.txt," + plain + ",5,kept;", ""},
		{"empty name and type", `"output_type":"file","file_base64":"` + hello + `","filename":"","mime_type":" "`, "file|||result.txt," + plain + ",5,kept;", ""},
		{"type of data:", `"output_type":"file","file_base64":"data:image/png;base64,` + hello + `"`, "file|||result.png,image/png,5,kept;", ""},
		{"object_key", `"output_type":"file","object_key":"orders/o-1/up.pdf"`, "file|||up.pdf,application/pdf,3,orders/o-1/up.pdf;", ""},
		{"file as url", `"output_type":"file","result_url":"https://example.com/x/r.pdf?k=1"`, "file|||r.pdf,application/pdf,0,https://example.com/x/r.pdf?k=1;", ""},
		{"files", `"output_type":"file","files":[{"filename":"a","mime_type":"a/b","file_base64":"` + hello + `"},{"filename":"b","mime_type":"a/b","object_key":"orders/o-1/up.pdf"},{"filename":"c","mime_type":"a/b","result_url":"https://example.com/"}]`,
			"file|||a,a/b,5,kept;b,a/b,3,orders/o-1/up.pdf;c,a/b,0,https://example.com/;", ""},
		{"in result", `"result":{"output_type":"text","result_text":"x"}`, "text|x||", ""},
		{"type at the top, text in result", `"output_type":"html","result":{"output_type":"csv","result_text":"x"}`, "html|x||", ""},

		{"absent: files", `"files":[{"file_base64":"` + hello + `"}],"result_text":"t"`, "file|t||result.txt," + plain + ",5,kept;", ""},
		{"absent: file_base64", `"file_base64":"` + hello + `","result_url":"https://a.b/"`, "file||https://a.b/|result.txt," + plain + ",5,kept;", ""},
		{"absent: object_key", `"object_key":"orders/o-1/up.pdf","filename":"q.pdf"`, "file|||q.pdf,application/pdf,3,orders/o-1/up.pdf;", ""},
		{"absent: result_url", `"result_url":"https://a.b/","result_text":"t"`, "url|t|https://a.b/|", ""},
		{"absent: result_text", `"result_text":"t"`, "text|t||", ""},
		{"absent: object", `"result_text":{"a":1}`, `json|{"a":1}||`, ""},
		{"unknown", `"output_type":"pdf","result_text":"t"`, "text|t||", ""},
		{"null", `"output_type":null,"files":null,"result_text":"t"`, "text|t||", ""},
		{"number", `"output_type":7,"result_text":"t"`, "text|t||", ""},

		{"beside, not acceptable", `"output_type":"text","result_text":"t","result_url":"http://a.b/","file_base64":"!!","object_key":"x","files":[]`, "text|t||", ""},
		{"beside, acceptable", `"output_type":"text","result_text":"t","result_url":"https://a.b/","file_base64":"` + hello + `"`, "text|t|https://a.b/|result.txt," + plain + ",5,kept;", ""},

		{"nothing", ``, "", "no result: none of files, file_base64, object_key, result_url, result_text"},
		{"text missing", `"output_type":"text","result_url":"https://a.b/"`, "", "result_text is missing (output_type is text)"},
		{"url missing", `"output_type":"url","result_text":"t"`, "", "result_url is missing"},
		{"file missing", `"output_type":"file","result_text":"t"`, "", "none of files, file_base64, object_key, result_url is"},
		{"blank", `"output_type":"text","result_text":" \t\n\u00a0\u2003\u0085"`, "", "result_text is blank"},
		{"zero-width is not blank", `"output_type":"text","result_text":"\u200b"`, "text|\u200b||", ""},
		{"empty text", `"result_text":""`, "", "result_text is blank"},
		{"text number", `"output_type":"text","result_text":5`, "", "result_text is neither"},
		{"text object", `"output_type":"text","result_text":{}`, "", "result_text is not a string"},
		{"json broken", `"output_type":"json","result_text":"{a:1}"`, "", "result_text is not JSON"},
		{"json trailing", `"output_type":"json","result_text":"{} x"`, "", "result_text is not JSON"},
		{"json number", `"output_type":"json","result_text":5`, "", "result_text is neither"},
		{"json text in a string", `"output_type":"json","result_text":"5"`, "json|5||", ""},
		{"http", `"output_type":"url","result_url":"http://a.b/"`, "", "result_url must be https"},
		{"base64 empty", `"file_base64":"","result_text":"t"`, "", "file_base64 is empty"},
		{"base64 number", `"file_base64":5`, "", "file_base64 is not a string"},
		{"files empty", `"files":[]`, "", "files is empty"},
		{"files no array", `"files":{}`, "", "files is not an array"},
		{"files of strings", `"files":["a"]`, "", "files[0] is not an object"},
		{"files two ways", `"files":[{"file_base64":"` + hello + `","result_url":"https://a.b/"}]`, "", "files[0] must have exactly one"},
		{"files no way", `"files":[{"file_base64":"` + hello + `"},{"filename":"x"}]`, "", "files[1] must have exactly one"},
		{"files bad url", `"files":[{"result_url":"http://a.b/"}]`, "", "files[0].result_url must be https"},
		{"files same key twice", `"files":[{"object_key":"orders/o-1/up.pdf"},{"object_key":"orders/o-1/up.pdf"}]`, "", "files[1].object_key is named twice"},
		{"101 files", `"files":[` + strings.Repeat(`{"result_url":"https://a.b/"},`, 100) + `{}]`, "", "files has more than 100"},
		{"key of another order", `"object_key":"orders/o-2/up"`, "", "object_key must begin with orders/o-1/"},
		{"key with ..", `"object_key":"orders/o-1/../o-2/up"`, "", "object_key has a segment"},
		{"key with empty segment", `"object_key":"orders/o-1//up.pdf"`, "", "object_key has a segment"},
		{"key is the folder", `"object_key":"orders/o-1/"`, "", "object_key has a segment"},
		{"key not there", `"object_key":"orders/o-1/none"`, "", "object_key names no object"},
		{"key with control", `"object_key":"orders/o-1/a\u0000"`, "", "object_key has a character"},
	} {
		for way, r := range readWays {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				files := newFiles()
				files.put("orders/o-1/up.pdf", "pdf")
				body := `{"status":"completed",` + c.fields + `}`
				if c.fields == "" {
					body = `{"status":"completed"}`
				}
				obs := judged(t, r, files, 200, body)
				if got := shown(obs.Result, files); got != c.want || !strings.Contains(obs.Detail, c.problem) || c.problem == "" && obs.Detail != "" {
					t.Errorf("%s\n got %q %q\nwant %q %q", obs.Outcome, got, obs.Detail, c.want, c.problem)
				}
			})
		}
	}
}

func TestLongResult(t *testing.T) {
	text := strings.Repeat("Größe \U0001F600 \"x\"\\\n", 9000)
	table := make([]map[string]any, 4000)
	for i := range table {
		table[i] = map[string]any{"row": i, "text": "ä\"\\" + strings.Repeat("x", i%100)}
	}
	object, err := json.MarshalIndent(table, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	// asEscapes writes every character as an escape sequence.
	asEscapes := func(s string) string {
		b, _ := json.Marshal(s)
		var out strings.Builder
		out.WriteByte('"')
		for _, u := range utf16(s) {
			fmt.Fprintf(&out, `\u%04x`, u)
		}
		_ = b
		return out.String() + `"`
	}
	quoted := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	for _, c := range []struct{ name, body, file, want, problem string }{
		{"text", `{"result_text":` + quoted(text) + `,"status":"completed","output_type":"text"}`, "result.txt text/plain; charset=utf-8", text, ""},
		{"html, escaped", `{"result_text":` + asEscapes(text) + `,"status":"completed","output_type":"html"}`, "result.html text/html; charset=utf-8", text, ""},
		{"csv", `{"status":"completed","output_type":"csv","result":{"result_text":` + quoted(text) + `}}`, "result.csv text/csv; charset=utf-8", text, ""},
		{"json string", `{"status":"completed","output_type":"json","result_text":` + quoted(string(object)) + `}`, "result.json application/json", string(object), ""},
		{"json object", `{"status":"completed","output_type":"json","result_text": ` + string(object) + ` ,"x":1}`, "result.json application/json", string(object), ""},
		{"json object within", `[{"status":"completed","result":{"x":1,"result_text":` + string(object) + `}}]`, "result.json application/json", string(object), ""},
		{"json broken", `{"status":"completed","output_type":"json","result_text":` + quoted(string(object)+"]") + `}`, "", "", "result_text is not JSON"},
		{"blank", `{"status":"completed","result_text":"` + strings.Repeat(`\u2003 `, 40000) + `"}`, "", "", "result_text is blank"},
		{"processing", `{"result_text":` + quoted(text) + `,"status":"processing"}`, "", "", ""},
		{"broken after", `{"result_text":` + quoted(text) + `,"status":"completed"`, "", "", "too early"},
		{"cut within", `{"status":"completed","result_text":` + quoted(text)[:150000], "", "", "too early"},
		{"control character", `{"status":"completed","result_text":"` + strings.Repeat("x", 100000) + "\x01\"}", "", "", "control character"},
		{"bad escape", `{"status":"completed","result_text":"` + strings.Repeat("x", 100000) + `\x"}`, "", "", "escape"},
	} {
		for way, r := range longWays {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				files := newFiles()
				obs := judged(t, r, files, 200, c.body)
				if !strings.Contains(obs.Detail, c.problem) {
					t.Fatalf("%s %q, want %q", obs.Outcome, obs.Detail, c.problem)
				}
				if c.want == "" {
					if obs.Outcome == order.Completed || len(files.keys()) != 0 {
						t.Fatalf("%s, %v", obs.Outcome, files.keys())
					}
					return
				}
				if obs.Outcome != order.Completed || len(obs.Result.Files) != 1 || obs.Result.Text != nil {
					t.Fatalf("%s %s %v", obs.Outcome, obs.Detail, shown(obs.Result, files))
				}
				f := obs.Result.Files[0]
				if f.Filename+" "+f.MIMEType != c.file || string(files.files[f.ObjectKey]) != c.want {
					t.Errorf("%s %s, %d bytes, want %d", f.Filename, f.MIMEType, len(files.files[f.ObjectKey]), len(c.want))
				}
			})
		}
	}
}

// utf16 is s in UTF-16.
func utf16(s string) (u []uint16) {
	for _, r := range s {
		if r >= 0x10000 {
			r -= 0x10000
			u = append(u, uint16(0xD800+r>>10), uint16(0xDC00+r&0x3FF))
			continue
		}
		u = append(u, uint16(r))
	}
	return u
}

func TestTextInline(t *testing.T) {
	for _, n := range []int{order.MaxInlineText - 1, order.MaxInlineText, order.MaxInlineText + 1} {
		for way, r := range readWays {
			files := newFiles()
			text := strings.Repeat("x", n)
			obs := judged(t, r, files, 200, `{"status":"completed","result_text":"`+text+`"}`)
			inline := n <= order.MaxInlineText
			if obs.Outcome != order.Completed || (obs.Result.Text != nil) != inline || (len(obs.Result.Files) == 0) != inline {
				t.Errorf("%d bytes, %s: %s %s", n, way, obs.Outcome, obs.Detail)
			}
		}
	}
}

func TestBase64Forms(t *testing.T) {
	raw := content(70000)
	std, urlSafe := base64.StdEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw)
	wrapped := func(sep string) string {
		var b strings.Builder
		for i := 0; i < len(std); i += 76 {
			b.WriteString(std[i:min(i+76, len(std))] + sep)
		}
		return b.String()
	}
	for _, c := range []struct{ name, text, problem string }{
		{"standard", std, ""},
		{"no padding", strings.TrimRight(std, "="), ""},
		{"URL-safe", urlSafe, ""},
		{"URL-safe, padded", base64.URLEncoding.EncodeToString(raw), ""},
		{"slashes escaped", strings.ReplaceAll(std, "/", `\/`), ""},
		{"plus escaped", strings.ReplaceAll(std, "+", `\u002b`), ""},
		{"CR LF", wrapped(`\r\n`), ""},
		{"LF", wrapped(`\n`), ""},
		{"data:", "data:application/x-y;charset=utf-8;base64," + std, ""},
		{"DATA:", "DATA:;BASE64," + std, ""},
		{"data: escaped", `\u0064ata:;base64,` + std, ""},
		{"mixed", "-_-_+/+/" + std, "mixes"},
		{"space", " " + std, "not base64"},
		{"data: without base64", "data:text/plain," + std, "data:"},
		{"data: without comma", "data:" + std, "data:"},
		{"padding within", "SGVsbG8=" + std, "goes on after"},
		{"too much padding", strings.TrimRight(std, "=") + "===", "padding"},
		{"one character left", strings.TrimRight(std, "=")[:len(std)-7], "middle of a byte"},
	} {
		for way, r := range longWays {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				for _, body := range []string{
					`{"file_base64":"` + c.text + `","status":"completed"}`,
					`{"status":"completed","files":[{"file_base64":"SGk="},{"file_base64":"` + c.text + `"}]}`,
				} {
					files := newFiles()
					obs := judged(t, r, files, 200, body)
					if c.problem != "" {
						if obs.Outcome != order.RejectedResult || !strings.Contains(obs.Detail, c.problem) {
							t.Errorf("%s %q", obs.Outcome, obs.Detail)
						}
						continue
					}
					if obs.Outcome != order.Completed {
						t.Fatalf("%s %q", obs.Outcome, obs.Detail)
					}
					got := obs.Result.Files[len(obs.Result.Files)-1]
					if !bytes.Equal(files.files[got.ObjectKey], raw) {
						t.Errorf("other bytes: %d, want %d", got.Size, len(raw))
					}
				}
			})
		}
	}
}

func TestBase64Small(t *testing.T) {
	for text, want := range map[string]string{
		"SGk": "Hi", "SGk=": "Hi", "SGl=": "Hi", "SGk\r\n=\n": "Hi", "QQ": "A", "QQ==": "A", "QR==": "A", "-_8": "\xfb\xff", "+/8": "\xfb\xff",
		"QQ=": "!", "Q": "!", "Q===": "!", "QQ===": "!", "====": "!", "=": "!", "\n": "!", "": "!", "data:;base64,": "!", "data": "u\xabZ", "dat": "u\xab", "data:": "!",
	} {
		s := &base64Sink{k: testKeeper(newFiles())}
		if err := s.write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := s.finish(); err != nil {
			t.Fatal(err)
		}
		got := "!"
		if s.bad == "" {
			got = string(s.head)
		}
		if got != want {
			t.Errorf("%q: %q %s, want %q", text, got, s.bad, want)
		}
	}
}

func testKeeper(files *memFiles) *keeper {
	d := new(deadline)
	d.begin(1<<40, 1<<40, func() bool { return false })
	return &keeper{ctx: ctxBackground, files: files, remoteID: "o-1", max: 1 << 40, limit: d}
}

func TestBase64Longest(t *testing.T) {
	for extra, want := range map[int]string{0: "", 1: "longer than 52428800"} {
		files := newFiles()
		files.discard = true
		s := &base64Sink{k: testKeeper(files)}
		part := bytes.Repeat([]byte("A"), 1<<20)
		for range 50 {
			if err := s.write(append(part, '\n')); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.write(part[:extra]); err != nil {
			t.Fatal(err)
		}
		if err := s.finish(); err != nil {
			t.Fatal(err)
		}
		if (s.bad == "") != (want == "") || !strings.Contains(s.bad, want) {
			t.Errorf("%d more: %q", extra, s.bad)
		}
	}
}

// FuzzBase64: what the library decodes we decode too, to the same bytes; in pieces as at once.
func FuzzBase64(f *testing.F) {
	for _, s := range []string{"SGVsbG8=", "-_-_", "data:;base64,QQ==", "Q\nQ", "QR=="} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, text string, cut int) {
		decode := func(parts ...string) (string, string) {
			files := newFiles()
			s := &base64Sink{k: testKeeper(files)}
			for _, p := range parts {
				if err := s.write([]byte(p)); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.finish(); err != nil {
				t.Fatal(err)
			}
			if files.open != 0 {
				t.Fatal("left open")
			}
			for _, k := range files.keys() {
				return s.bad, string(files.files[k])
			}
			return s.bad, ""
		}
		cut = max(0, min(cut, len(text)))
		bad, got := decode(text)
		if bad2, got2 := decode(text[:cut], text[cut:]); bad2 != bad || got2 != got {
			t.Fatalf("%q cut at %d: %q %q, whole %q %q", text, cut, bad2, got2, bad, got)
		}
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			want, err := e.DecodeString(text)
			if err == nil && len(want) > 0 && (bad != "" || got != string(want)) {
				t.Fatalf("%q: %q %q, the library says %q", text, bad, got, want)
			}
		}
	})
}

func TestSafeName(t *testing.T) {
	for in, want := range map[string]string{
		"a.txt": "a.txt", "../../etc/passwd": "passwd", `C:\x\y.doc`: "y.doc", "a/b/": "", "..": "", ".": "", " . ": "", ".bashrc": "bashrc",
		"a\x00b\u202ecod.exe": "abcod.exe", `a<b>:"|?*.x`: "a_b______.x", "ä ö.pdf": "ä ö.pdf", "a\xffb": "a\uFFFDb", "a\nb": "ab",
		strings.Repeat("ä", 200) + ".pdf": strings.Repeat("ä", 125) + ".pdf",
		strings.Repeat("x", 300):          strings.Repeat("x", 255),
	} {
		if got := safeName(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzSafeName(f *testing.F) {
	f.Add("../a\x00.txt")
	f.Fuzz(func(t *testing.T, s string) {
		n := safeName(s)
		if len(n) > order.MaxFilenameBytes || strings.ContainsAny(n, "/\\\x00") || n == "." || n == ".." || safeName(n) != n {
			t.Fatalf("%q: %q, again %q", s, n, safeName(n))
		}
	})
}

func TestResultURL(t *testing.T) {
	for _, ok := range []string{
		"https://example.com", "https://example.com/a b.pdf", "https://example.com:8080/?q=ä#f", "HTTPS://Example.com/", "https://8.8.8.8/x", "https://[2606:4700::1111]/",
		"https://xn--bcher-kva.example/", "https://" + "a.b/" + strings.Repeat("x", 2036),
	} {
		if p := checkResultURL(&value{kind: '"', text: ok}); p != "" {
			t.Errorf("%s: %s", ok, p)
		}
	}
	for bad, why := range map[string]string{
		"": "empty", "http://example.com": "must be https", "ftp://example.com": "absolute https", "//example.com/": "absolute https", "/x": "absolute https", "example.com": "absolute https",
		"https:///x": "no host", "https:x": "no host", "https://u@example.com": "user info", "https://u:p@example.com": "user info", "https://localhost/": "localhost", "https://LOCALHOST.:1/": "localhost", "https://a.localhost": "localhost",
		"https://127.0.0.1/": "not public", "https://10.0.0.1": "not public", "https://[::1]/": "not public", "https://[::ffff:127.0.0.1]/": "not public", "https://168.63.129.16/": "not public", "https://192.168.1.1.": "not public",
		"https://127.1/": "ends in a number", "https://2130706433/": "ends in a number", "https://0x7f000001/": "ends in a number", "https://0177.0.0.1/": "ends in a number",
		"https://１２７.0.0.1/": "character", "https://[fe80::1%25lo]/": "IPv6", "https://a.b/\x00": "control", "https://a.b/\u202e": "control", " https://a.b/": "space", "https://a.b:99999/": "port",
		"https://a.b/" + strings.Repeat("x", 2037): "longer", "javascript:alert(1)": "absolute https", "https://a b/": "not a URL",
	} {
		if p := checkResultURL(&value{kind: '"', text: bad}); !strings.Contains(p, why) {
			t.Errorf("%.60s: %q, want %q", bad, p, why)
		}
	}
}
