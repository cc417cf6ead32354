package order

// MaxIDLength is the longest order_id, remote_id or seller_id, in bytes (SPEC §1).
const MaxIDLength = 128

// ValidID reports whether s may be an order_id, remote_id or seller_id: 1 to
// MaxIDLength characters of A-Z a-z 0-9 . _ ~ -, and not "." or "..", which
// would be path segments with a meaning of their own (SPEC §1). Such an id
// needs no escaping in any part of a URL or in a file name.
func ValidID(s string) bool {
	if s == "" || len(s) > MaxIDLength || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '~', c == '-':
		default:
			return false
		}
	}
	return true
}

// Ref is where a store keeps an order: the number of its seller and its own
// number, both given by the store, in the order of arrival, and never used
// again. Refs sort by seller first, so that one seller's orders lie together.
type Ref struct {
	Seller uint32
	Order  uint64
}

// Compare orders refs by seller and then by order number: -1, 0 or +1.
func (r Ref) Compare(o Ref) int {
	switch {
	case r.Seller != o.Seller && r.Seller < o.Seller, r.Seller == o.Seller && r.Order < o.Order:
		return -1
	case r == o:
		return 0
	}
	return 1
}
