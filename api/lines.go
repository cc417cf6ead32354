package api

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"poller/order"
)

// patientReader gives a client lineTimeout for every read, and ends with order.ErrStopping once stopped.
type patientReader struct {
	r       io.Reader
	control *http.ResponseController
	stopped <-chan struct{}
}

func (p *patientReader) Read(b []byte) (int, error) {
	_ = p.control.SetReadDeadline(time.Now().Add(lineTimeout))
	select {
	case <-p.stopped: // looked at after the deadline is set: whoever stops us sets another
		return 0, order.ErrStopping
	default:
	}
	n, err := p.r.Read(b)
	if err != nil {
		select {
		case <-p.stopped:
			return n, order.ErrStopping
		default:
		}
	}
	if errors.Is(err, io.EOF) {
		// Else the deadline would end a request that takes long after its body. After another error
		// it stays: net/http waits for the rest of the body.
		_ = p.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// readLines reads NDJSON and hands on its lines in portions, until the end, an
// error, or emit says false. Blank lines are passed over, a line that is broken or too
// long is handed on with its problem. An error is handed on as one more line with a problem.
func readLines(r io.Reader, now func() time.Time, emit func([]line) bool) {
	br := bufio.NewReaderSize(r, maxLine+1)
	var portion []line
	size := 0
	for n := int64(1); ; n++ {
		text, err := br.ReadSlice('\n')
		l := line{number: n, bytes: len(text)}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			l.problem = problem(http.StatusRequestEntityTooLarge, "the line is over 64 KiB")
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = br.ReadSlice('\n')
			}
		case err != nil && !errors.Is(err, io.EOF):
			// What there is of the line may be cut anywhere.
		case len(bytes.TrimSpace(text)) > 0:
			l.order, l.problem = submission(text, now())
		}
		if err != nil && !errors.Is(err, io.EOF) {
			l.problem = cutShort(err)
		}
		if l.problem != nil || l.order.OrderID != "" {
			portion, size = append(portion, l), size+l.bytes
		}
		if err != nil {
			if len(portion) > 0 {
				emit(portion)
			}
			return
		}
		if len(portion) >= portionLines || size >= portionBytes || len(portion) > 0 && !lineBuffered(br) {
			if !emit(portion) {
				return
			}
			portion, size = nil, 0
		}
	}
}

// lineBuffered reports whether a whole line can be read without waiting.
func lineBuffered(br *bufio.Reader) bool {
	b, _ := br.Peek(br.Buffered())
	return bytes.IndexByte(b, '\n') >= 0
}

// cutShort words why reading ended before the end; nothing from this line on was read.
func cutShort(err error) *Problem {
	if errors.Is(err, order.ErrStopping) {
		return problemOf(err)
	}
	p := unreadable(err)
	p.Detail += "; from this line on nothing was read"
	return p
}
