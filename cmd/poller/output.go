package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"golang.org/x/term"

	"poller/order"
)

// maxCell is the most characters of a stranger's text that a table shows.
const maxCell = 200

// printable makes text fit for a terminal: sellers and buyers choose some of
// it, and an escape sequence must stay inert (GUARANTEES, G20).
func printable(s string) string { return order.Clip(s, 4096) }

// cell is printable for a table.
func cell(s string) string { return order.Clip(s, maxCell) }

// jsonOutput reports whether -o json was given.
func (p *program) jsonOutput() bool { return p.output == "json" }

// printJSON writes v, indented.
func (p *program) printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeInert(p.stdout, append(b, '\n'))
}

// printRaw writes a JSON document of the API, indented.
func (p *program) printRaw(doc []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(doc), "", "  "); err != nil {
		return fmt.Errorf("the answer is not JSON: %w", err)
	}
	b.WriteByte('\n')
	return writeInert(p.stdout, b.Bytes())
}

// printLine writes a JSON document on one line.
func (p *program) printLine(doc []byte) error {
	var b bytes.Buffer
	if err := json.Compact(&b, doc); err != nil {
		return fmt.Errorf("the answer is not JSON: %w", err)
	}
	b.WriteByte('\n')
	return writeInert(p.stdout, b.Bytes())
}

// writeInert writes JSON with control and formatting characters escaped. JSON
// itself escapes those below U+0020 only, but a terminal obeys U+009B too.
func writeInert(w io.Writer, doc []byte) error {
	var b bytes.Buffer
	for len(doc) > 0 {
		r, n := utf8.DecodeRune(doc)
		switch {
		case r < 0x7f || !unicode.In(r, unicode.Cc, unicode.Cf):
			b.Write(doc[:n])
		case r > 0xffff:
			for _, half := range []rune{0xd800 + (r-0x10000)>>10, 0xdc00 + (r-0x10000)&0x3ff} {
				fmt.Fprintf(&b, `\u%04x`, half)
			}
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		doc = doc[n:]
	}
	_, err := w.Write(b.Bytes())
	return err
}

// printTable writes rows under headings, without borders. Cells are made printable.
func (p *program) printTable(head []string, rows [][]string) error {
	_, err := fmt.Fprintln(p.stdout, renderTable(head, rows))
	return err
}

func renderTable(head []string, rows [][]string) string {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	if head != nil {
		t.AppendHeader(tableRow(head))
	}
	for _, r := range rows {
		t.AppendRow(tableRow(r))
	}
	return t.Render()
}

func tableRow(cells []string) table.Row {
	row := make(table.Row, len(cells))
	for i, c := range cells {
		row[i] = cell(c)
	}
	return row
}

// printFields writes names and values, one pair a line; pairs without a value are left out.
func (p *program) printFields(pairs ...string) error {
	var rows [][]string
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			rows = append(rows, []string{pairs[i], pairs[i+1]})
		}
	}
	return p.printTable(nil, rows)
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// showTime shows a time, "" for none.
func showTime(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func deref0[T any](v *T) T {
	var zero T
	if v == nil {
		return zero
	}
	return *v
}

// yesNo shows a truth that is worth a word only when it holds.
func yesNo(b bool, yes string) string {
	if b {
		return yes
	}
	return ""
}

// joined joins the parts that are not empty.
func joined(sep string, parts ...string) string {
	var all []string
	for _, s := range parts {
		if s != "" {
			all = append(all, s)
		}
	}
	return strings.Join(all, sep)
}
