package store

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"poller/order"
)

// bucket is one of the store's buckets. name is on disk: never change one.
type bucket struct {
	index int
	name  []byte
	seed  uint32  // of its records' checksums
	fill  float64 // how full a page is left when it is split
}

// How full a split page is left: what only ever grows at its end needs no room,
// what grows within (records get longer, orders join their seller's) some.
const (
	fillAppended = 0.95
	fillWithin   = 0.7
	fillRandom   = 0.5
)

var (
	buckets []*bucket

	bMeta    = newBucket("meta", fillRandom)      // "format", "counters", "counters2", "fuse", "keycheck", "backup", "restored", "clock"
	bSellers = newBucket("sellers", fillRandom)   // id -> seller
	bNumbers = newBucket("numbers", fillAppended) // seller number -> id; stays when the seller goes
	bHealth  = newBucket("health", fillWithin)    // seller number -> health
	bNames   = newBucket("names", fillRandom)     // order_id or remote_id -> nameRecord
	bCold    = newBucket("cold", fillWithin)      // ref -> what was submitted
	bHot     = newBucket("hot", fillWithin)       // ref -> what polls change; while processing
	bEnded   = newBucket("ended", fillWithin)     // ref -> the order as it ended
	bEnds    = newBucket("ends", fillAppended)    // time, ref -> nothing: when to look whether it may go
	bHeld    = newBucket("held", fillWithin)      // ref -> nothing
	bEvents  = newBucket("events", fillAppended)  // number -> event
	bHistory = newBucket("history", fillWithin)   // ref, number -> copy of a trouble or recovered event
	bObjects = newBucket("objects", fillRandom)   // result key -> ref of its owner
	bOutbox  = newBucket("outbox", fillAppended)  // event number -> delivery that is pending and was never tried
	bSweeps  = newBucket("sweeps", fillAppended)  // id -> sweep
	bTrash   = newBucket("trash", fillRandom)     // result key -> nothing: file to be deleted
	bDead    = newBucket("dead", fillWithin)      // event number -> delivery that is set aside
	bTried   = newBucket("tried", fillWithin)     // event number -> delivery that is pending, and was tried or replayed
	bDue     = newBucket("due", fillWithin)       // kind, time, event number -> nothing: those of bTried in order of time
	bUploads = newBucket("uploads", fillWithin)   // ref, result key -> size of an upload slot; while processing
)

func newBucket(name string, fill float64) *bucket {
	b := &bucket{index: len(buckets), name: []byte(name), seed: crc32.Checksum([]byte(name), castagnoli), fill: fill}
	buckets = append(buckets, b)
	return b
}

// Keys in bMeta.
var (
	keyFormat    = []byte("format")
	keyCounters  = []byte("counters")
	keyCounters2 = []byte("counters2")
	keyFuse      = []byte("fuse")
	keyCheck     = []byte("keycheck")
	keyBackup    = []byte("backup")   // in a backup only: when it was made, and of which key
	keyRestored  = []byte("restored") // in a restored database: from what, and when
	keyClock     = []byte("clock")    // once the clock was doubted: what was last found out about it
)

const (
	refSize  = 12
	endsSize = 8 + refSize
)

// refKey sorts by seller first, then by order.
func refKey(r order.Ref) []byte {
	return appendRef(make([]byte, 0, refSize), r)
}

func appendRef(b []byte, r order.Ref) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, r.Seller), r.Order)
}

// parseRef reads a key that begins with a ref; a key too short is the zero ref, which no order has.
func parseRef(k []byte) order.Ref {
	if len(k) < refSize {
		return order.Ref{}
	}
	return order.Ref{Seller: binary.BigEndian.Uint32(k), Order: binary.BigEndian.Uint64(k[4:])}
}

func sellerKey(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func numberKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func parseNumber(k []byte) uint64 {
	if len(k) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(k)
}

func historyKey(r order.Ref, number uint64) []byte {
	return binary.BigEndian.AppendUint64(appendRef(make([]byte, 0, refSize+8), r), number)
}

// endsKey sorts by time; times before 1970 count as 1970.
func endsKey(at time.Time, r order.Ref) []byte {
	ms := max(at.UnixMilli(), 0)
	return appendRef(binary.BigEndian.AppendUint64(make([]byte, 0, endsSize), uint64(ms)), r)
}

func parseSellerKey(k []byte) uint32 {
	if len(k) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(k)
}
