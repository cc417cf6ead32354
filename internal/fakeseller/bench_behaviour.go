package fakeseller

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// behaviour is how a group of sellers answers in bench mode. Every answer is made beforehand.
type behaviour struct {
	delay      time.Duration
	hang       bool
	processing [][]byte // whole answers, taken in turn by the rounds
	ends       int      // one order in so many is answered with ended; 0: none
	ended      []byte
}

// answer chooses the answer to a poll of an order. Of the b.ends orders whose
// numbers begin at a multiple of that, one ends in every round, and another one in the next. They
// are shifted from multiple to multiple, lest they are always the same sellers'.
func (b *behaviour) answer(order, round int) []byte {
	if b.ends > 0 && order >= 0 {
		shift := uint64(order/b.ends) * 0x9e3779b97f4a7c15 >> 32
		if (order+round+int(shift))%b.ends == 0 {
			return b.ended
		}
	}
	return b.processing[round%len(b.processing)]
}

// movingProgress differs by 10 at least from round to round, and by 15 from
// the 50 that orders are at when they have not moved before.
var movingProgress = []int{5, 15, 25, 35, 65, 75, 85, 95}

// BenchFile is what the behaviour "file" sends for every order.
func BenchFile(size int64) File {
	return File{Name: "file.bin", MIME: "application/octet-stream", Size: size, Seed: 1}
}

// newBehaviour reads a behaviour as Behave has it.
func newBehaviour(text string, body []byte) (*behaviour, error) {
	kind, value, _ := strings.Cut(text, " ")
	b := &behaviour{processing: [][]byte{whole(body)}}
	var err error
	switch kind {
	case "processing":
	case "hang":
		b.hang = true
	case "delay":
		b.delay, err = time.ParseDuration(value)
	case "progress":
		b.processing = nil
		for _, n := range movingProgress {
			b.processing = append(b.processing, whole(fmt.Appendf(nil, `{"status":"processing","progress":%d}`, n)))
		}
	case "ends":
		if b.ends, err = strconv.Atoi(value); err == nil && b.ends < 1 {
			err = errors.New("want at least 1")
		}
		b.ended = whole([]byte(`{"status":"completed","output_type":"text","result_text":"` + strings.Repeat("a text of some length ", 10) + `"}`))
	case "file":
		var size int64
		if size, err = strconv.ParseInt(value, 10, 64); err == nil {
			file := BenchFile(size)
			text := bytes.NewBufferString(`{"status":"completed","output_type":"file",` + file.members() + `"file_base64":"`)
			err = file.encode(text)
			text.WriteString(`"}`)
			b.ends, b.ended = 1, whole(text.Bytes())
		}
	default:
		err = errors.New("unknown")
	}
	if err != nil {
		return nil, fmt.Errorf("behaviour %q: %w", text, err)
	}
	return b, nil
}

// whole is an HTTP answer with this body.
func whole(body []byte) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}
