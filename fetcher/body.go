package fetcher

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"

	"poller/order"
)

// body is what comes after decompression, counted and limited there.
type body struct {
	r     io.Reader // raw, or what gunzips it
	raw   *rawBody
	limit *deadline
	max   int64
	n     int64
	err   error // the first error other than io.EOF
}

func (p *poll) newBody() *body {
	return &body{r: &p.raw, raw: &p.raw, limit: &p.limit, max: p.set.MaxBody}
}

// errTooLarge: the answer has more than Options.MaxBody bytes.
var errTooLarge = errors.New("answer too large")

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.limit.elapsed() >= b.limit.limit && !b.limit.late() {
		// The connection's deadline does not end what is at hand already: a gzip bomb takes its time after its last byte.
		b.err = os.ErrDeadlineExceeded
		return 0, b.err
	}
	n, err := b.r.Read(p)
	b.n += int64(n)
	b.limit.bytes += int64(n)
	if b.n > b.max {
		b.err = errTooLarge
		return 0, b.err
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// rawBody remembers what the connection itself said: an end of file inside a
// gzip stream is broken gzip, one inside the connection's framing a broken connection.
type rawBody struct {
	r     io.Reader
	err   error
	ended bool // it was read to its end
}

func (b *rawBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	switch {
	case err == io.EOF:
		b.ended = true
	case err != nil:
		b.err = err
	}
	return n, err
}

var gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}

// read reads and judges the body of a 200 or 202.
func (p *poll) read(resp *http.Response) {
	defer p.keep(resp)
	gzipped, err := codings(resp.Header["Content-Encoding"])
	if err != nil {
		p.end(order.InvalidResponse, err.Error())
		return
	}
	if !gzipped && resp.ContentLength > p.set.MaxBody {
		p.tooLarge()
		return
	}
	if err := p.set.memory.acquire(p.parent, stageBuffer, p.limit.pause, p.limit.resume); err != nil {
		p.readFailed(err, nil, resp)
		return
	}
	defer p.set.memory.release(stageBuffer)
	if resp.ContentLength > longBody {
		p.limit.bytes = resp.ContentLength
	}
	b := p.newBody()
	if gzipped {
		z := gzipReaders.Get().(*gzip.Reader)
		defer gzipReaders.Put(z)
		b.r = &lazyGzip{z: z, src: &p.raw}
	}
	p.readBody(b, resp)
	p.obs.Bytes = b.n
}

// fill reads until buf is full or the body whole.
func (b *body) fill(buf []byte) (n int, whole bool, err error) {
	for n < len(buf) && !whole {
		var k int
		k, err = b.Read(buf[n:])
		n += k
		if whole = errors.Is(err, io.EOF); err != nil && !whole {
			return n, false, err
		}
	}
	return n, whole, nil
}

// readBody reads a small body whole and streams a larger one.
func (p *poll) readBody(b *body, resp *http.Response) {
	small := smallBuffers.Get().(*[smallSize]byte)
	defer smallBuffers.Put(small)
	n, whole, err := b.fill(small[:])
	data := small[:n]
	if err == nil && !whole {
		large := buffers.Get().(*[bufferSize]byte)
		defer buffers.Put(large)
		var more int
		more, whole, err = b.fill(large[copy(large[:], data):])
		data = large[:n+more]
	}
	if err != nil {
		p.readFailed(err, b, resp)
		return
	}
	// A byte-order mark is tolerated (SPEC §2).
	data = bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))
	// A 202 means something with processing only: nothing of it is kept.
	keep := newKeeper(p, resp.StatusCode == http.StatusOK)
	defer keep.clean()
	var a *answer
	if whole {
		a, err = readAnswer(data)
	} else {
		if err := p.set.memory.acquire(p.parent, stageStream, p.limit.pause, p.limit.resume); err != nil {
			p.readFailed(err, b, resp)
			return
		}
		defer p.set.memory.release(stageStream)
		var release func()
		a, release, err = p.stream(io.MultiReader(bytes.NewReader(data), b), keep)
		defer release()
	}
	if err != nil {
		p.readFailed(err, b, resp)
		return
	}
	p.judge(a, keep)
}

// stream reads an answer of which only a part is in memory. release gives back what it took.
func (p *poll) stream(src io.Reader, keep *keeper) (a *answer, release func(), err error) {
	many := false
	s := newSpill(src, maxDepth, keep)
	defer s.abort()
	a, err = streamAnswer(s, func() error {
		if many {
			return nil
		}
		err := p.set.memory.acquire(p.parent, stageNames, p.limit.pause, p.limit.resume)
		many = err == nil
		return err
	})
	return a, func() {
		if many {
			p.set.memory.release(stageNames)
		}
	}, err
}

// readFailed judges an answer that could not be read to its end, or not as JSON.
func (p *poll) readFailed(err error, b *body, resp *http.Response) {
	if b != nil && b.err != nil {
		err = b.err // what the JSON reader makes of it is second-hand
	}
	var fault *faultError
	var syntax *syntaxError
	if v, cut := p.cutOff(); cut {
		if v.outcome == order.Timeout {
			v.detail = p.lateDetail(b)
		}
		p.end(v.outcome, v.detail)
		return
	}
	switch {
	case errors.As(err, &fault):
		p.obs.Quota = fault.quota
		p.end(order.LocalFault, fault.detail)
	case errors.Is(err, errTooLarge):
		p.tooLarge()
	case b != nil && b.raw.err != nil:
		v := p.classifyBroken(b.raw.err, fmt.Sprintf("after %d bytes of the answer's body", b.n), "the body's framing is not HTTP/1.1")
		p.end(v.outcome, v.detail)
	case b != nil && b.err != nil:
		p.end(order.InvalidResponse, "the answer's gzip coding is broken")
	case errors.As(err, &syntax):
		if syntax.early && b != nil && b.n > 0 && resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 {
			// Only the end of the connection ends such a body: it may well have been cut short.
			p.end(order.Unreachable, fmt.Sprintf("connection closed after %d bytes of the answer's body, in the middle of its JSON", b.n))
			return
		}
		p.end(order.InvalidResponse, syntax.detail)
	default:
		p.end(order.InvalidResponse, "the answer can't be read")
	}
}

func (p *poll) tooLarge() {
	p.end(order.InvalidResponse, fmt.Sprintf("the answer is larger than %d bytes (max_body)", p.set.MaxBody))
}

// lateDetail says why an answer that had begun was too late.
func (p *poll) lateDetail(b *body) string {
	var n int64
	if b != nil {
		n = b.n
	}
	detail := fmt.Sprintf("the answer was not complete within %s (%d bytes of its body)", shortDuration(p.limit.limit), n)
	if p.limit.bytes > longBody && !p.limit.isLong {
		detail += "; another long answer of this seller was still being read"
	}
	return detail
}

// codings reads Content-Encoding.
func codings(values []string) (gzipped bool, err error) {
	for _, v := range values {
		for c := range strings.SplitSeq(v, ",") {
			switch c = strings.ToLower(strings.Trim(c, " \t")); {
			case c == "" || c == "identity":
			case (c == "gzip" || c == "x-gzip") && !gzipped:
				gzipped = true
			default:
				return false, errors.New("the answer has another content coding than gzip, which was not asked for")
			}
		}
	}
	return gzipped, nil
}

// lazyGzip opens the gzip stream at the first read: opening reads.
type lazyGzip struct {
	z      *gzip.Reader
	src    io.Reader
	opened bool
}

func (l *lazyGzip) Read(p []byte) (int, error) {
	if !l.opened {
		if err := l.z.Reset(l.src); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		l.opened = true
	}
	return l.z.Read(p)
}
