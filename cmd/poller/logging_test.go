package main

import (
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"go.uber.org/zap"
)

// GUARANTEES, G20: whatever is logged is one line of at most 8 KiB without
// control bytes, and what a library says is never the message.
func TestLinesAreBounded(t *testing.T) {
	long := strings.Repeat("\x01\"\xff\u009b\u202e\U000e0041\nä", 8_000)
	crowd := make([]zap.Field, 1000)
	for i := range crowd {
		crowd[i] = zap.String("field-"+strconv.Itoa(i), "value")
	}
	for _, format := range []string{"json", "console"} {
		var out strings.Builder
		l := newLogger(&out)
		c := defaultConfig()
		c.Log.Level, c.Log.Format = "debug", format
		l.set(&c)
		said := map[string]func(){
			"short":   func() { l.Info("short", zap.String("a", "b")) },
			"string":  func() { l.Info("string", zap.String("a", long), zap.Int("number", 7), zap.Time("at", time.Now())) },
			"error":   func() { l.Error("error", zap.Error(errors.New(long))) },
			"context": func() { l.With(zap.Error(errors.New(long))).Named("part").Info("context", zap.Int("number", 7)) },
			"many": func() {
				l.With(zap.String("of", "all")).Error("many", zap.Error(errors.New(long)), zap.ByteString("bytes", []byte(long)), zap.Strings("list", []string{long, long}),
					zap.Any("any", http.Header{"A": {long}}), zap.Binary("binary", []byte(long)), zap.Any("broken", map[string]any{"f": func() {}, "s": long}))
			},
			"crowd":   func() { l.Info("crowd", crowd...) },
			"message": func() { l.Info("message " + long) },
			"library": func() { libraryLog(l.Logger).Print(long) },
			"standard": func() {
				defer redirectLibraries(l.Logger)()
				log.Printf("Unsolicited response %q", long)
			},
		}
		for name, say := range said {
			out.Reset()
			say()
			line, ended := strings.CutSuffix(out.String(), "\n")
			if !ended || len(line)+1 > 8<<10 {
				t.Errorf("%s as %s: %d bytes: %.200q", name, format, len(line), line)
			}
			if i := strings.IndexFunc(line, func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("%s as %s: a control character at %d: %.200q", name, format, i, line)
			}
			if strings.Contains(line, "field") == (name != "crowd") {
				t.Errorf("%s as %s: %.200q", name, format, line)
			}
			if format == "json" {
				checkEntry(t, name, line)
			}
		}
	}
}

// checkEntry checks what is left of an entry of TestLinesAreBounded.
func checkEntry(t *testing.T, name, line string) {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Errorf("%s: %v: %.200s", name, err, line)
	}
	if (name == "string" || name == "context") && (fields["number"] != 7.0 || fields["msg"] != name) {
		t.Errorf("%s: the message or a number went: %.300s", name, line)
	}
	if name != "short" && name != "crowd" && (len(line) < maxLine/8 || !strings.Contains(line, " bytes)")) {
		t.Errorf("%s: cut too short, or without a mark: %.200s", name, line)
	}
	if (name == "library" || name == "standard") && (fields["msg"] != "said by a library" || fields["level"] != "debug") {
		t.Errorf("%s: %.200s", name, line)
	}
}

// What is escaped says the same to those who read JSON.
func TestInertLinesSayTheSame(t *testing.T) {
	const text = "a\u009bb\u202ec\U000e0041d\u2028\x7fä 世界\u00a0😀\ufffd"
	var out strings.Builder
	l := newLogger(&out)
	l.Info("m", zap.String("text", text))
	var fields map[string]any
	if err := json.Unmarshal([]byte(out.String()), &fields); err != nil || fields["text"] != text || !strings.Contains(out.String(), "ä 世界") {
		t.Errorf("%v: %q", err, out.String())
	}
}

// The standard log package is as it was afterwards.
func TestRedirectLibrariesIsUndone(t *testing.T) {
	flags, prefix, out := log.Flags(), log.Prefix(), log.Writer()
	redirectLibraries(zap.NewNop())()
	if log.Flags() != flags || log.Prefix() != prefix || log.Writer() != out {
		t.Error("it is not")
	}
}
