package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// maxLine is how many bytes a line of the log has at most, its end included (GUARANTEES, G20).
const maxLine = 8 << 10

// What each text of a line that is too long is cut to, in bytes: the first that is short enough.
const (
	mostOfText  = maxLine / 2
	leastOfText = 32
)

// lineCore is a core that writes each entry as one line of at most maxLine bytes
// without control or formatting characters, in one of two formats.
type lineCore struct {
	zapcore.LevelEnabler
	out            zapcore.WriteSyncer
	console        *atomic.Bool
	asJSON, asText zapcore.Encoder
	context        []zapcore.Field // kept as they came, so that they can be cut too
}

// With implements zapcore.Core.
func (l *lineCore) With(fields []zapcore.Field) zapcore.Core {
	with := *l
	with.context = slices.Concat(l.context, fields)
	return &with
}

// Check implements zapcore.Core.
func (l *lineCore) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if l.Enabled(e.Level) {
		return c.AddCore(e, l)
	}
	return c
}

// Write implements zapcore.Core.
func (l *lineCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	line, err := l.line(e, slices.Concat(l.context, fields))
	if err != nil {
		return err
	}
	if _, err := l.out.Write(line); err != nil {
		return err
	}
	if e.Level > zapcore.ErrorLevel {
		return l.Sync() // the process is about to end
	}
	return nil
}

// Sync implements zapcore.Core.
func (l *lineCore) Sync() error { return l.out.Sync() }

// line returns an entry as it is written.
func (l *lineCore) line(e zapcore.Entry, fields []zapcore.Field) ([]byte, error) {
	line, err := l.encode(e, fields)
	for most := mostOfText; err == nil && len(line) > maxLine && most >= leastOfText; most /= 2 {
		short := make([]zapcore.Field, len(fields))
		for i, f := range fields {
			short[i] = cutField(f, most)
		}
		e.Message = cut(e.Message, most)
		line, err = l.encode(e, short)
	}
	if err == nil && len(line) > maxLine { // what is left of it has no bound: very many fields
		line, err = l.encode(e, []zapcore.Field{zap.Int("fields_left_out", len(fields))})
	}
	return line, err
}

func (l *lineCore) encode(e zapcore.Entry, fields []zapcore.Field) ([]byte, error) {
	encoder := l.asJSON
	if l.console.Load() {
		encoder = l.asText
	}
	b, err := encoder.EncodeEntry(e, fields)
	if err != nil {
		return nil, err
	}
	defer b.Free()
	return inert(b.Bytes()), nil
}

// inert returns a copy of a line in which everything that is not printable, but
// for the end and the tabs of the console's format, is escaped as in JSON:
// where a line is JSON it says the same as before.
func inert(line []byte) []byte {
	safe := make([]byte, 0, len(line))
	for i := 0; i < len(line); {
		r, size := utf8.DecodeRune(line[i:])
		switch ends := i == len(line)-1; {
		case r == utf8.RuneError && size == 1:
			safe = append(safe, `\ufffd`...)
		case unicode.IsPrint(r), r == '\t', r == '\n' && ends:
			safe = append(safe, line[i:i+size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			safe = fmt.Appendf(safe, `\u%04x\u%04x`, high, low)
		default:
			safe = fmt.Appendf(safe, `\u%04x`, r)
		}
		i += size
	}
	return safe
}

// cutField returns a field with at most so many bytes of text. A longer one of any type becomes a text.
func cutField(f zapcore.Field, most int) zapcore.Field {
	switch f.Type {
	case zapcore.StringType, zapcore.ErrorType, zapcore.StringerType, zapcore.ByteStringType, zapcore.BinaryType, zapcore.ReflectType,
		zapcore.ArrayMarshalerType, zapcore.ObjectMarshalerType, zapcore.InlineMarshalerType, zapcore.UnknownType:
	default:
		return f // numbers and times
	}
	said := zapcore.NewMapObjectEncoder()
	f.AddTo(said)
	text, ok := said.Fields[f.Key].(string)
	if !ok {
		b, err := json.Marshal(said.Fields[f.Key])
		if text = string(b); err != nil {
			text = fmt.Sprint(said.Fields[f.Key])
		}
	}
	if len(text) <= most {
		return f
	}
	return zap.String(f.Key, cut(text, most))
}

// cut returns the first so many bytes of a text and how many there were.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	end := most
	for end > most-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "… (cut, " + strconv.Itoa(len(s)) + " bytes)"
}
