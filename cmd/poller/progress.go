package main

import (
	"context"
	"io"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// withBar shows on a terminal how much of size bytes has been read; done takes the bar away.
func (p *program) withBar(ctx context.Context, what string, in io.Reader, size int64) (r io.Reader, done func()) {
	if size <= 0 || !isTerminal(p.stderr) {
		return in, func() {}
	}
	bars := mpb.NewWithContext(ctx, mpb.WithOutput(p.stderr))
	bar := bars.AddBar(size,
		mpb.PrependDecorators(decor.Name(what+" "), decor.CountersKibiByte("% .1f / % .1f")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)),
	)
	counted, err := bar.ProxyReader(struct{ io.Reader }{in}) // closing is up to who opened it
	if err != nil {
		return in, func() {}
	}
	return counted, func() {
		bar.Abort(false) // it may be complete already; then this does nothing
		bars.Wait()
	}
}
