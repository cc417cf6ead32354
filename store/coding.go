package store

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"poller/order"
)

// A record is: format byte, payload, CRC-32C over the bucket, the key and both
// (GUARANTEES, G9). The payload is a sequence of varints, strings and times
// without names or tags. A field is only ever appended to it: a decoder that
// finds the end early takes zero values. Any other change needs a new format byte.
const (
	recordFormat = 1
	checksumSize = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum covers where a record lies as well as what it says, so that a sound
// record in a wrong place is damage too.
func checksum(seed uint32, key, body []byte) uint32 {
	return crc32.Update(crc32.Update(seed, castagnoli, key), castagnoli, body)
}

// encoder builds one record. The zero value is ready for use.
type encoder struct{ b []byte }

// newEncoder begins a record of about size bytes.
func newEncoder(size int) encoder {
	return encoder{append(make([]byte, 0, size), recordFormat)}
}

// seal ends the record and returns it.
func (e *encoder) seal(seed uint32, key []byte) []byte {
	e.b = binary.BigEndian.AppendUint32(e.b, checksum(seed, key, e.b))
	return e.b
}

func (e *encoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)   { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) raw(p []byte)  { e.b = append(e.b, p...) }

func (e *encoder) bool(v bool) {
	if v {
		e.uint(1)
	} else {
		e.uint(0)
	}
}

func (e *encoder) string(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

// time keeps milliseconds; 0 is the zero time, which survives.
func (e *encoder) time(t time.Time) {
	if t.IsZero() {
		e.uint(0)
		return
	}
	ms := t.UnixMilli() // see kept
	e.uint(uint64(ms)<<1 ^ uint64(ms>>63) + 1)
}

// duration keeps milliseconds.
func (e *encoder) duration(d time.Duration) { e.int(d.Milliseconds()) }

// float keeps whole numbers, which most are, in a byte or two.
func (e *encoder) float(f float64) {
	if f == math.Trunc(f) && f >= 0 && f < 1<<50 && !math.Signbit(f) {
		e.uint(uint64(f)<<1 | 1)
		return
	}
	e.uint(0)
	e.b = binary.BigEndian.AppendUint64(e.b, math.Float64bits(f))
}

// enum keeps a value of a closed set as its place in the table; one that the
// table does not know is kept as it is.
func enum[T ~string](e *encoder, table []T, v T) {
	if v == "" {
		e.uint(0)
		return
	}
	if i := slices.Index(table, v); i >= 0 {
		e.uint(uint64(i) + 2)
		return
	}
	e.uint(1)
	e.string(string(v))
}

// decoder reads one record. A failed read sets bad, and every read after it
// yields zero; a read at the very end yields zero and is no failure.
type decoder struct {
	b   []byte
	bad bool
}

// open checks the record under the key and returns a decoder of its payload.
func open(seed uint32, key, record []byte) (decoder, bool) {
	n := len(record) - checksumSize
	if n < 1 || binary.BigEndian.Uint32(record[n:]) != checksum(seed, key, record[:n]) || record[0] != recordFormat {
		return decoder{bad: true}, false
	}
	return decoder{b: record[1:n]}, true
}

// ok reports whether all was well read, and nothing is left.
func (d *decoder) ok() bool { return !d.bad && len(d.b) == 0 }

func (d *decoder) fail() { d.bad, d.b = true, nil }

func (d *decoder) uint() uint64 {
	if len(d.b) == 0 {
		return 0
	}
	if c := d.b[0]; c < 0x80 { // most are small
		d.b = d.b[1:]
		return uint64(c)
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	u := d.uint()
	return int64(u>>1) ^ -int64(u&1)
}

func (d *decoder) bool() bool { return d.uint() != 0 }

// count reads how many items follow, each of at least one byte.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n)
}

// raw returns the next n bytes, uncopied.
func (d *decoder) raw(n int) []byte {
	if n > len(d.b) {
		d.fail()
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) string() string { return string(d.raw(d.count())) }

func (d *decoder) time() time.Time {
	u := d.uint()
	if u == 0 {
		return time.Time{}
	}
	u--
	return time.UnixMilli(int64(u>>1) ^ -int64(u&1)).UTC()
}

// kept is a time as it is read again: in UTC, to the millisecond.
func kept(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}

func (d *decoder) duration() time.Duration {
	ms := d.int()
	if ms > math.MaxInt64/int64(time.Millisecond) || ms < math.MinInt64/int64(time.Millisecond) {
		d.fail()
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}

func (d *decoder) float() float64 {
	u := d.uint()
	if u&1 == 1 {
		return float64(u >> 1)
	}
	p := d.raw(8)
	if u != 0 || p == nil {
		d.fail()
		return 0
	}
	return math.Float64frombits(binary.BigEndian.Uint64(p))
}

func readEnum[T ~string](d *decoder, table []T) T {
	switch n := d.uint(); {
	case n == 0:
		return ""
	case n == 1:
		return T(d.string())
	case n-2 < uint64(len(table)):
		return table[n-2]
	}
	d.fail()
	return ""
}

// The tables of the closed sets. Append only: a value's place is on disk.
var (
	outcomeTable = []order.Outcome{
		order.Processing, order.Completed, order.SellerFailed, order.NotFound, order.Unauthorized, order.Throttled, order.HTTPError,
		order.Timeout, order.Unreachable, order.Blocked, order.InvalidResponse, order.RejectedResult, order.LocalFault,
	}
	stateTable   = []order.State{order.StateProcessing, order.StateCompleted, order.StateFailed, order.StateCancelled}
	codeTable    = []string{order.CodeSellerFailed, order.CodeNotFound, order.CodeInvalidResponse, order.CodeRejectedResult, order.CodeDeadlineExceeded}
	outputTable  = []order.OutputType{order.OutputText, order.OutputHTML, order.OutputJSON, order.OutputCSV, order.OutputURL, order.OutputFile}
	eventTable   = []order.EventType{order.EventSubmitted, order.EventProgress, order.EventTrouble, order.EventRecovered, order.EventCompleted, order.EventFailed, order.EventCancelled}
	triggerTable = []order.Trigger{order.TriggerCron, order.TriggerManual, order.TriggerCatchUp}
	sweepTable   = []order.SweepState{order.SweepRunning, order.SweepDone, order.SweepOverrun, order.SweepInterrupted}
)
