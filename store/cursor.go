package store

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"poller/order"
)

// A cursor is the last key of a page, and a checksum over the store's id, the
// list with its filter and the key: one that this list did not give out is known.

// cursor makes a cursor of a list.
func (s *Store) cursor(list string, key []byte) string {
	b := binary.BigEndian.AppendUint32(append([]byte(nil), key...), s.cursorSum(list, key))
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor returns the key; nil for "", the beginning. Error: order.ErrCursor.
func (s *Store) parseCursor(list, after string) ([]byte, error) {
	if after == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(after)
	n := len(b) - checksumSize
	if err != nil || n < 1 || s.cursor(list, b[:n]) != after { // the decoder passes over line breaks
		return nil, fmt.Errorf("%w", order.ErrCursor)
	}
	return b[:n], nil
}

func (s *Store) cursorSum(list string, key []byte) uint32 {
	return checksum(checksum(0, []byte(s.id), []byte(list+"\x00")), key, nil)
}
