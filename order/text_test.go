package order_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"poller/order"
)

func TestStrangersTextIsClipped(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		max            int
	}{
		{"as it is", "rendering page 3", "rendering page 3", 500},
		{"exactly the bound", "12345", "12345", 5},
		{"one over the bound", "123456", "12345", 5},
		{"characters, not bytes, are counted", "ääää", "äää", 3},
		{"line breaks and tabs become spaces", "a\nb\tc\u2028d", "a b c d", 500},
		{"escape sequences lose their escape", "\x1b[31mred\x1b[0m", "[31mred[0m", 500},
		{"C1 controls go", "a\u009bb\u0085c", "abc", 500},
		{"bidirectional overrides go", "a\u202egnp.exe", "agnp.exe", 500},
		{"zero-width marks go", "a\u200bb\ufeffc\u200d", "abc", 500},
		{"soft hyphens and tag characters go", "a\u00adb\U000E0041c", "abc", 500},
		{"what goes does not count", "\x00\x00\x00abc", "abc", 3},
		{"invalid UTF-8 is replaced", "a\xff\xfeb", "a\uFFFDb", 500},
		{"surrounding space goes", " \u00a0\u3000 a b \n", "a b", 500},
		{"space behind a mark goes too", "\u200b  a", "a", 3},
		{"leading space does not count", strings.Repeat(" ", 20) + "abc", "abc", 3},
		{"no space at the cut", "ab cd", "ab", 3},
		{"a long text of marks leaves no broken character", strings.Repeat("\u200b", 1000), "", 5},
		{"nothing", "", "", 500},
		{"no room", "abc", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := order.Clip(c.in, c.max); got != c.want {
				t.Errorf("Clip(%q, %d) = %q, want %q", c.in, c.max, got, c.want)
			}
		})
	}
}

func FuzzClip(f *testing.F) {
	for _, s := range []string{"", "plain", " \x1b[2J\u202e\u200b\xff ", strings.Repeat("\u200b", 999) + "a", strings.Repeat("€", 600)} {
		f.Add(s, uint16(5))
		f.Add(s, uint16(order.MaxMessage))
	}
	f.Fuzz(func(t *testing.T, s string, m uint16) {
		limit := int(m)
		got := order.Clip(s, limit)
		if n := utf8.RuneCountInString(got); n > limit {
			t.Errorf("%d characters, at most %d may stay", n, limit)
		}
		if !utf8.ValidString(got) {
			t.Errorf("%q is not UTF-8", got)
		}
		if i := strings.IndexFunc(got, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf) }); i >= 0 {
			t.Errorf("%q has a control or formatting character at %d", got, i)
		}
		if strings.TrimSpace(got) != got {
			t.Errorf("%q has space around it", got)
		}
		if again := order.Clip(got, limit); again != got {
			t.Errorf("clipped again, %q becomes %q", got, again)
		}
		if utf8.ValidString(s) && !strings.ContainsRune(s, utf8.RuneError) && strings.ContainsRune(got, utf8.RuneError) {
			t.Errorf("a broken character that %q did not have", s)
		}
	})
}
