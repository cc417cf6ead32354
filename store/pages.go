package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
)

// bbolt trusts its pages: one that points beyond the file, or says a wrong
// number, ends the process with a stack trace while the free list is rebuilt. So
// every page in use is looked at first. This is about shape alone: whether a
// record means what was written is the checksums' business.
const (
	pageBranch   = 0x01
	pageLeaf     = 0x02
	elementSize  = 16
	bucketLeaf   = 0x01
	bucketHeader = 16
)

// checkPages walks all pages in use of a file that nobody writes to.
func checkPages(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := newestMeta(f)
	if err != nil {
		return err
	}
	if m == nil {
		return fmt.Errorf("%w: %s has no valid head; restore it from a backup", ErrForeign, path)
	}
	w := pageWalker{f: f, meta: m, seen: make([]uint64, m.pages/64+1)}
	if err := w.page(m.root, 0, bounds{}); err != nil {
		return fmt.Errorf("%w: %s: %w; restore it from a backup", errDamaged, path, err)
	}
	return nil
}

// maxDepth is deeper than any tree of pages can be that is not a loop.
const maxDepth = 64

// bounds are what the keys of a page lie between, as the page above says; nil: no bound.
type bounds struct{ from, below []byte }

type pageWalker struct {
	f    *os.File
	meta *boltMeta
	seen []uint64 // one bit a page
	bufs [][]byte // one a depth
}

// page checks a page and all below it.
func (w *pageWalker) page(id uint64, depth int, in bounds) error {
	if id < 2 || id >= w.meta.pages || depth >= maxDepth {
		return fmt.Errorf("page %d does not exist", id)
	}
	b, err := w.read(id, depth)
	if err != nil {
		return err
	}
	for used := id; used < id+uint64(len(b))/uint64(w.meta.pageSize); used++ { // with those that it flows over to
		if w.seen[used/64]&(1<<(used%64)) != 0 {
			return fmt.Errorf("page %d is used twice", used)
		}
		w.seen[used/64] |= 1 << (used % 64)
	}
	if got := binary.NativeEndian.Uint64(b); got != id {
		return fmt.Errorf("page %d says that it is page %d", id, got)
	}
	return w.elements(b, id, depth, in)
}

// read reads a page with the pages that it flows over to.
func (w *pageWalker) read(id uint64, depth int) ([]byte, error) {
	for len(w.bufs) <= depth {
		w.bufs = append(w.bufs, make([]byte, w.meta.pageSize))
	}
	size := uint64(w.meta.pageSize)
	b := w.bufs[depth][:size]
	if _, err := w.f.ReadAt(b, int64(id*size)); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	over := uint64(binary.NativeEndian.Uint32(b[12:]))
	if over == 0 {
		return b, nil
	}
	if id+over >= w.meta.pages {
		return nil, fmt.Errorf("page %d flows over the end", id)
	}
	b = make([]byte, (over+1)*size)
	if _, err := w.f.ReadAt(b, int64(id*size)); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return b, nil
}

// elements checks what a page, or the page within a small bucket's record, lists.
func (w *pageWalker) elements(b []byte, id uint64, depth int, in bounds) error {
	o := binary.NativeEndian
	flags, count := o.Uint16(b[8:]), int(o.Uint16(b[10:]))
	if flags != pageBranch && flags != pageLeaf || flags == pageBranch && count == 0 {
		return fmt.Errorf("page %d is no page of a tree", id)
	}
	if boltHeader+count*elementSize > len(b) {
		return fmt.Errorf("page %d lists more than it can hold", id)
	}
	branch := flags == pageBranch
	var last []byte
	for i := range count {
		key, value := element(b, i, branch)
		if key == nil {
			return fmt.Errorf("page %d points outside itself", id)
		}
		if i == 0 && bytes.Compare(key, in.from) < 0 || i > 0 && bytes.Compare(key, last) <= 0 || in.below != nil && bytes.Compare(key, in.below) >= 0 {
			return fmt.Errorf("page %d is not in order", id)
		}
		last = key
		e := b[boltHeader+i*elementSize:]
		var err error
		switch {
		case branch:
			below := in.below
			if i+1 < count {
				below, _ = element(b, i+1, branch)
			}
			err = w.page(o.Uint64(e[8:]), depth+1, bounds{key, below})
		case o.Uint32(e)&bucketLeaf != 0:
			err = w.bucket(value, id, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// element returns the i-th key of a page, and on a leaf its value; a nil key if they lie outside.
func element(b []byte, i int, branch bool) (key, value []byte) {
	o := binary.NativeEndian
	e := b[boltHeader+i*elementSize:]
	var pos, ksize, vsize uint64
	if branch {
		pos, ksize = uint64(o.Uint32(e)), uint64(o.Uint32(e[4:]))
	} else {
		pos, ksize, vsize = uint64(o.Uint32(e[4:])), uint64(o.Uint32(e[8:])), uint64(o.Uint32(e[12:]))
	}
	if pos+ksize+vsize > uint64(len(e)) || ksize == 0 && !branch {
		return nil, nil
	}
	return e[pos : pos+ksize : pos+ksize], e[pos+ksize : pos+ksize+vsize]
}

// bucket checks a bucket: its own tree, or, if it is small, the page within its record.
func (w *pageWalker) bucket(v []byte, id uint64, depth int) error {
	if len(v) < bucketHeader {
		return fmt.Errorf("page %d: a bucket without a head", id)
	}
	if root := binary.NativeEndian.Uint64(v); root != 0 {
		return w.page(root, depth+1, bounds{})
	}
	if v = v[bucketHeader:]; len(v) < boltHeader || binary.NativeEndian.Uint16(v[8:]) != pageLeaf || depth >= maxDepth {
		return fmt.Errorf("page %d: a small bucket without a page", id)
	}
	return w.elements(v, id, depth+1, bounds{})
}
