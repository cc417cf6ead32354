package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"poller/order"
)

func TestDisk(t *testing.T) {
	now, free, asked := time.Unix(1000, 0), int64(100), 0
	var statErr error
	d := newDisk("/x", func() time.Time { return now }, zap.NewNop())
	d.stat = func(string) (int64, error) { asked++; return free, statErr }
	look := func(want int64, wantAsked int) {
		t.Helper()
		if got := d.Free(); got != want || asked != wantAsked {
			t.Errorf("free %d, asked %d times; want %d, %d", got, asked, want, wantAsked)
		}
	}
	look(100, 1)
	free = 50
	look(100, 1) // at most a second old
	now = now.Add(diskTTL)
	look(50, 2)
	now = now.Add(-time.Hour) // the clock went back
	look(50, 3)
	now = now.Add(time.Hour)
	statErr = errors.New("gone")
	look(0, 4) // not known is none

	if n, err := freeBytes(t.TempDir()); err != nil || n <= 0 {
		t.Errorf("freeBytes: %d, %v", n, err)
	}
}

func TestLoadTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sub", "api.token")
	first, made, err := loadTokens(file)
	if err != nil || !made || len(first) != 1 {
		t.Fatalf("%d tokens, made %v, %v", len(first), made, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	again, made, err := loadTokens(file)
	if err != nil || made || len(again) != 1 || again[0] != first[0] {
		t.Errorf("the second time: %d tokens, made %v, %v", len(again), made, err)
	}
	if token, err := readToken(file); err != nil || len(token) < 40 {
		t.Errorf("a token of %d characters, %v", len(token), err)
	}
	write(t, file, "\n# nothing\n")
	if _, _, err := loadTokens(file); err == nil {
		t.Error("a file without tokens was taken")
	}
}

// The level and format of the log change while it runs, for loggers derived before too.
func TestLogger(t *testing.T) {
	var b bytes.Buffer
	l := newLogger(&b)
	named := l.Named("part").With(zap.String("a", "b"))
	c := defaultConfig()
	l.set(&c)
	named.Debug("not yet")
	named.Info("one\nline")
	var entry map[string]any
	if err := json.Unmarshal(b.Bytes(), &entry); err != nil || entry["msg"] != "one\nline" || entry["a"] != "b" || entry["logger"] != "part" {
		t.Errorf("%v: %s", err, b.String())
	}
	b.Reset()
	c.Log.Level, c.Log.Format = "debug", "console"
	l.set(&c)
	named.Debug("now")
	if got := b.String(); !strings.Contains(got, "now") || !strings.Contains(got, `{"a": "b"}`) {
		t.Errorf("console: %q", got)
	}
}

func TestCheckFiles(t *testing.T) {
	if err := checkFiles(1024, 512); err != nil {
		t.Error(err)
	}
	if err := checkFiles(512, 512); err == nil || !strings.Contains(err.Error(), "fetch.workers 512") {
		t.Errorf("got %v", err)
	}
}

// A stranger's text is inert in the terminal (GUARANTEES, G20).
func TestOutputInert(t *testing.T) {
	const hostile = "a\x1b[2Jb\u009b2Jc\u202ed\u200be\x7ff\n"
	var out bytes.Buffer
	p := &program{stdout: &out}
	check := func(what string) {
		t.Helper()
		for _, r := range strings.TrimSuffix(out.String(), "\n") {
			if r == '\x1b' || r == '\u009b' || r == '\u202e' || r == '\u200b' || r == '\x7f' {
				t.Errorf("%s: %q in %q", what, r, out.String())
			}
		}
		out.Reset()
	}
	if err := p.printTable([]string{"x"}, [][]string{{hostile}}); err != nil {
		t.Fatal(err)
	}
	check("table")
	if err := p.printFields("name", hostile); err != nil {
		t.Fatal(err)
	}
	check("fields")
	view := order.View{OrderID: hostile, Message: new(string)}
	*view.Message = hostile + "\U000e0041" // a tag character, beyond the BMP
	doc, err := json.Marshal(view)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.printRaw(doc); err != nil {
		t.Fatal(err)
	}
	var back order.View
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back.OrderID != hostile || *back.Message != *view.Message {
		t.Errorf("-o json is another value: %v, %q", err, back.OrderID)
	}
	check("JSON")
	if err := p.printLine(doc); err != nil {
		t.Fatal(err)
	}
	check("JSON line")
}

func TestParseWhen(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 500, time.UTC)
	for s, want := range map[string]string{"+48h": "2026-11-03T12:00:00Z", "+30d": "2026-12-01T12:00:00Z", "2026-12-24T18:00:00+01:00": "2026-12-24T18:00:00+01:00"} {
		if got, err := parseWhen(s, now); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "+", "tomorrow", "2026-12-24", "+1y"} {
		if got, err := parseWhen(s, now); err == nil {
			t.Errorf("%q was taken as %v", s, got)
		}
	}
}

func TestAPIAddress(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080", ":8080": "http://127.0.0.1:8080", "0.0.0.0:1": "http://127.0.0.1:1",
		"[::]:1": "http://127.0.0.1:1", "[::1]:1": "http://[::1]:1", "poller.lan:80": "http://poller.lan:80", "unix:/run/a.sock": "unix:/run/a.sock",
	} {
		c := defaultConfig()
		c.API.Listen = listen
		if got := apiAddress(&c); got != want {
			t.Errorf("%s: %s, want %s", listen, got, want)
		}
	}
}
