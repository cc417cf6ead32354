package store

import (
	"encoding/hex"
	"fmt"
	"sync"

	"go.uber.org/zap"

	"poller/order"
)

// damage remembers the damaged records that were met, so that each is counted and logged once.
type damage struct {
	mu   sync.Mutex
	seen map[string]struct{}
	more int64 // beyond maxDamage; these may be counted more than once
}

// maxDamage bounds how many damaged records are remembered, and maxDamageLogged how many get a line of their own.
const (
	maxDamage       = 100_000
	maxDamageLogged = 1_000
)

// Damaged returns how many records were met whose checksum or shape is wrong.
// They are left in place and never acted on (GUARANTEES, G9).
func (s *Store) Damaged() int64 {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	return int64(len(s.damage.seen)) + s.damage.more
}

// damaged notes a damaged record.
func (s *Store) damaged(b *bucket, key []byte) {
	k := string(b.name) + "\x00" + string(key)
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	if _, ok := s.damage.seen[k]; ok {
		return
	}
	if len(s.damage.seen) >= maxDamage {
		s.damage.more++
		return
	}
	if s.damage.seen == nil {
		s.damage.seen = make(map[string]struct{})
	}
	s.damage.seen[k] = struct{}{}
	if len(s.damage.seen) <= maxDamageLogged {
		s.log.Error("damaged record; it is left in place and not acted on",
			zap.ByteString("bucket", b.name), zap.String("key", hex.EncodeToString(key)))
	}
}

// open checks a record and returns a decoder of its payload. A damaged one is noted.
func (s *Store) open(b *bucket, key, record []byte) (decoder, bool) {
	d, ok := open(b.seed, key, record)
	if !ok {
		s.damaged(b, key)
	}
	return d, ok
}

// whole passes on whether a record made sense when decoded. One that did not is noted.
func (s *Store) whole(ok bool, b *bucket, key []byte) bool {
	if !ok {
		s.damaged(b, key)
	}
	return ok
}

func errCounters(path string) error {
	return fmt.Errorf("%w: %s: both copies of the counters are damaged; restore it from a backup", order.ErrDamaged, path)
}
