package order_test

import (
	"cmp"
	"net/url"
	"path"
	"strings"
	"testing"

	"poller/order"
)

func TestAnIDIs1To128UnreservedCharacters(t *testing.T) {
	for _, id := range []string{"a", "A-Z_a.z~0", "...", ".a", "a.", "-", "~", "_", strings.Repeat("x", 128)} {
		if !order.ValidID(id) {
			t.Errorf("ValidID(%q) = false", id)
		}
	}
	for _, id := range []string{"", ".", "..", strings.Repeat("x", 129), "a b", "a/b", "a%20b", "a\x00", "a\n", "é", "a\xff", "a?b", "a#b", "{order_id}", "a:b", "a+b"} {
		if order.ValidID(id) {
			t.Errorf("ValidID(%q) = true", id)
		}
	}
}

func FuzzValidID(f *testing.F) {
	for _, s := range []string{"", ".", "..", "a", "a-b_c.d~e", "%2e", "a/b", "\xff", strings.Repeat("x", 129)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !order.ValidID(s) {
			return
		}
		if len(s) == 0 || len(s) > order.MaxIDLength {
			t.Errorf("%q is %d bytes long", s, len(s))
		}
		if url.PathEscape(s) != s || url.QueryEscape(s) != s {
			t.Errorf("%q needs escaping", s)
		}
		if path.Join("/a", s) != "/a/"+s {
			t.Errorf("%q is a path segment with a meaning of its own", s)
		}
	})
}

func TestRefsSortBySellerAndThenByOrder(t *testing.T) {
	refs := []order.Ref{{}, {Seller: 1}, {Seller: 1, Order: 9}, {Seller: 2, Order: 1}, {Seller: 2, Order: 2}, {Seller: 1 << 31, Order: 1 << 63}}
	for i, a := range refs {
		for j, b := range refs {
			if got, want := a.Compare(b), cmp.Compare(i, j); got != want {
				t.Errorf("%v.Compare(%v) = %d, want %d", a, b, got, want)
			}
		}
	}
}
