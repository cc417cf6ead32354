package results

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"

	"poller/order"
)

// Open opens a file of a result for reading from begin to end. Size, SHA256
// and ObjectKey are those that the order has on record. A file that has become
// another one is never handed out as if it were right (GUARANTEES, G3): another
// size is order.ErrDamaged here; another content is order.ErrDamaged from the
// last Read, which keeps the end of the file back until the digest is known to
// be right. So whoever copies it to a client under a Content-Length of Size
// has an answer that stays short, and must break it off.
// A file that isn't there is order.ErrNotFound. Reading ends with ctx.
func (d *Dir) Open(ctx context.Context, file order.File) (io.ReadCloser, error) {
	f, info, err := d.open(file.ObjectKey)
	if err != nil {
		return nil, err
	}
	if info.Size() != file.Size {
		_ = f.Close() // it was not even read
		return nil, damaged(file.ObjectKey, fmt.Sprintf("it has %d bytes instead of %d", info.Size(), file.Size))
	}
	return &reader{ctx: ctx, file: f, hash: sha256.New(), want: file, left: file.Size}, nil
}

// Verify reads a whole file and returns nil if it has the size and the SHA-256
// on record, else what Open and reading would.
func (d *Dir) Verify(ctx context.Context, file order.File) error {
	r, err := d.Open(ctx, file)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // it was only read
	_, err = io.Copy(io.Discard, r)
	return err
}

// Stat returns a file's size in bytes and its SHA-256 in hex, which means
// that the file is read. order.ErrNotFound: there is none, or there can be none under such a key.
// A file that it found is durable: an upload may have appeared a moment ago, its
// folders not synced yet, and an order is going to name it (GUARANTEES, G3).
func (d *Dir) Stat(ctx context.Context, key string) (size int64, sha256Hex string, err error) {
	f, info, err := d.open(key)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	h := sha256.New()
	size, err = io.Copy(h, &contextReader{ctx, f})
	if err != nil {
		return 0, "", explain("reading", key, err)
	}
	if size != info.Size() {
		return 0, "", damaged(key, "it changes while it is read")
	}
	if err := d.syncFolders(key); err != nil {
		return 0, "", explain("syncing the folders of", key, err)
	}
	return size, hex.EncodeToString(h.Sum(nil)), nil
}

func (d *Dir) open(key string) (*os.File, fs.FileInfo, error) {
	if !ValidKey(key) {
		return nil, nil, explain("opening", key, errInvalidKey)
	}
	way, name, err := d.folders(key, false)
	if err != nil {
		return nil, nil, explain("opening", key, err)
	}
	defer closeAll(way)
	f, info, err := openRegular(way[len(way)-1], name)
	if err != nil {
		return nil, nil, explain("opening", key, err)
	}
	return f, info, nil
}

// reader is what Open returns.
type reader struct {
	ctx  context.Context //nolint:containedctx // an io.Reader has no other way to learn of it
	file io.ReadCloser
	hash hash.Hash
	want order.File
	left int64 // bytes not yet read
	err  error // the end, once it is known
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	n := 0
	if r.left > 0 {
		if n, r.err = r.fill(p[:min(int64(len(p)), r.left)]); r.err != nil {
			return 0, r.err
		}
	}
	if r.left > 0 {
		return n, nil
	}
	if r.err = io.EOF; hex.EncodeToString(r.hash.Sum(nil)) != r.want.SHA256 {
		r.err = damaged(r.want.ObjectKey, "its SHA-256 is another one")
		return 0, r.err
	}
	return n, r.err
}

// fill reads at least one byte.
func (r *reader) fill(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, explain("reading", r.want.ObjectKey, err)
	}
	n, err := io.ReadAtLeast(r.file, p, 1)
	switch {
	case errors.Is(err, io.EOF):
		return 0, damaged(r.want.ObjectKey, "it was cut short while it was read")
	case err != nil:
		return 0, explain("reading", r.want.ObjectKey, err)
	}
	r.hash.Write(p[:n])
	r.left -= int64(n)
	return n, nil
}

// Close implements io.Closer.
func (r *reader) Close() error { return r.file.Close() }

// contextReader reads until ctx ends.
type contextReader struct {
	ctx context.Context //nolint:containedctx // as with reader
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
