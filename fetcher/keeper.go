package fetcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"poller/order"
)

// faultError is a fault of ours that ends a poll: an answer can't be kept.
type faultError struct {
	detail string
	quota  bool // results.max_per_seller
}

func (e *faultError) Error() string { return e.detail }

// keeper keeps the files of one answer and takes back what its result does not name in the end.
type keeper struct {
	ctx      context.Context
	files    Files
	remoteID string
	reserve  func(int64) bool
	max      int64 // bytes of all files together
	limit    *deadline
	off      bool // nothing may be kept

	total int64
	sinks int
	keys  []string // of all files in the store; empty once the result owns them
}

func newKeeper(p *poll, on bool) *keeper {
	return &keeper{
		ctx: p.parent, files: p.client.files, remoteID: p.ask.RemoteID, reserve: p.ask.Reserve,
		max: p.set.MaxPerOrder, limit: &p.limit, off: !on,
	}
}

// maxSinks: the most long strings of one answer that can be of use, at its two levels.
const maxSinks = 2 * (order.MaxFiles + 2)

// sink opens a sink for a long string; nil: it is of no use.
func (k *keeper) sink(at place) sink {
	if k.off || k.sinks == maxSinks {
		return nil
	}
	k.sinks++
	if at == atBase64 {
		return &base64Sink{k: k}
	}
	return &textSink{k: k}
}

// want asks whether n more bytes may be kept: false, they are too many for one
// order; an error, for the seller.
func (k *keeper) want(n int64) (bool, error) {
	if n > k.max-k.total {
		return false, nil
	}
	if k.reserve != nil && !k.reserve(n) {
		return false, &faultError{"quota: the seller's kept results are at their limit (results.max_per_seller)", true}
	}
	k.total += n
	return true, nil
}

// create begins a file. Time that our own disk takes does not count.
func (k *keeper) create() (FileWriter, error) {
	if k.files == nil {
		return nil, &faultError{detail: "there is no result store"}
	}
	k.limit.pause()
	defer k.limit.resume()
	w, err := k.files.Create(k.ctx, k.remoteID)
	if err != nil {
		return nil, k.fault(err)
	}
	return w, nil
}

func (k *keeper) write(w FileWriter, p []byte) error {
	k.limit.pause()
	defer k.limit.resume()
	if _, err := w.Write(p); err != nil {
		return k.fault(err)
	}
	return nil
}

func (k *keeper) close(w FileWriter) (key string, size int64, sum string, err error) {
	k.limit.pause()
	defer k.limit.resume()
	key, size, sum, err = w.Close()
	if err != nil {
		return "", 0, "", k.fault(err)
	}
	k.keys = append(k.keys, key)
	return key, size, sum, nil
}

// stat looks for an object that the seller uploaded.
func (k *keeper) stat(key string) (size int64, sum string, found bool, err error) {
	if k.files == nil {
		return 0, "", false, &faultError{detail: "there is no result store"}
	}
	k.limit.pause()
	defer k.limit.resume()
	size, sum, err = k.files.Stat(k.ctx, key)
	if errors.Is(err, order.ErrNotFound) {
		return 0, "", false, nil
	}
	if err != nil {
		return 0, "", false, k.fault(err)
	}
	return size, sum, true, nil
}

// fault makes our own fault of what the store says. Its words are about our machine and name nothing of the seller's.
func (k *keeper) fault(err error) error {
	if errors.Is(err, order.ErrNoSpace) {
		return &faultError{detail: "the result store's disk is full"}
	}
	if v, local := localFault(err); local {
		return &faultError{detail: v.detail}
	}
	return &faultError{detail: fmt.Sprintf("the result store fails: %v", err)}
}

// owned says which files a result names: they stay.
func (k *keeper) owned(r *order.Result) {
	named := make(map[string]bool)
	for _, key := range r.Keys() {
		named[key] = true
	}
	left := k.keys[:0]
	for _, key := range k.keys {
		if !named[key] {
			left = append(left, key)
		}
	}
	k.keys = left
}

// cleanTime is how long taking files back may take; what is left is swept a day later.
const cleanTime = 10 * time.Second

// clean removes what nobody owns, also when the poll was cut off.
func (k *keeper) clean() {
	if len(k.keys) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.ctx), cleanTime)
	defer cancel()
	// A file that stays is an orphan, and those are swept.
	_ = k.files.Remove(ctx, k.keys...)
	k.keys = nil
}

// keptFile is a file of the result store that is being written.
type keptFile struct {
	k    *keeper
	w    FileWriter
	size int64
	over bool // more than one order may keep; w is gone
	file order.File
}

// write adds bytes. Once the order has too many, over is set and nothing is kept.
func (f *keptFile) write(p []byte) error {
	if f.over || len(p) == 0 {
		return nil
	}
	ok, err := f.k.want(int64(len(p)))
	if err != nil {
		return err
	}
	if !ok {
		f.over = true
		f.abort()
		return nil
	}
	f.size += int64(len(p))
	if f.w == nil {
		if f.w, err = f.k.create(); err != nil {
			return err
		}
	}
	return f.k.write(f.w, p)
}

// finish makes the file durable; file is set if there is one.
func (f *keptFile) finish() error {
	if f.w == nil {
		return nil
	}
	w := f.w
	f.w = nil
	key, size, sum, err := f.k.close(w)
	if err != nil {
		return err
	}
	f.file = order.File{ObjectKey: key, Size: size, SHA256: sum}
	return nil
}

// abort drops the file and gives its bytes back.
func (f *keptFile) abort() {
	if f.w != nil {
		f.w.Abort()
		f.w = nil
	}
	f.k.total -= f.size
	f.size = 0
}
