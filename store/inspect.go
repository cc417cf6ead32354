package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
)

// Errors of Open, Restore, Compact and RotateKey; they are wrapped with what they are about and what to do.
var (
	ErrInUse    = errors.New("the database is in use")            // another daemon has it (GUARANTEES, G10)
	ErrMissing  = errors.New("the database is missing")           // and this is no first start (G8)
	ErrForeign  = errors.New("not a poller database")             // empty, cut, or somebody else's (G8)
	ErrNewer    = errors.New("the database is of a newer poller") // the version needed is named (G8)
	ErrKey      = errors.New("the key file does not fit")         // missing, damaged, or another's (G8)
	ErrBackup   = errors.New("this is a backup")                  // and must be restored, not opened
	ErrExists   = errors.New("there is a database already")       // and Restore was not forced
	errDamaged  = errors.New("the database file is damaged")      // bbolt's own pages
	errNotFirst = errors.New("the folder is not empty")           // so this is no first start
)

// The head of a bbolt file: two meta pages, of which the newer valid one
// counts. We read them before bbolt does, because it would make an empty file a
// database, and would touch pages beyond the end of a cut one.
const (
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	boltHeader   = 16 // of a page, before its meta
	boltMetaSize = 64
	boltMinPage  = 1 << 10
	boltMaxPage  = 16 << 20
)

// inspect refuses a file that bbolt would not survive, or would take for a new
// one. A missing file is fs.ErrNotExist.
func inspect(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file", ErrForeign, path)
	}
	if info.Size() == 0 {
		return fmt.Errorf("%w: %s is empty; restore it from a backup, or remove it and its key file to begin anew", ErrForeign, path)
	}
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
	// Asked after the head was read: a daemon at work lets the file grow first.
	if info, err = f.Stat(); err != nil {
		return err
	}
	if need := int64(m.pages) * int64(m.pageSize); info.Size() < need {
		return fmt.Errorf("%w: %s is cut: it has %d bytes of at least %d; restore it from a backup", ErrForeign, path, info.Size(), need)
	}
	return nil
}

// boltMeta is what we need to know of a meta page.
type boltMeta struct {
	pageSize uint32
	root     uint64 // the page where the tree of buckets begins
	pages    uint64 // all pages in use have a lower number
	txid     uint64
}

// newestMeta returns the valid meta with the highest transaction number, or nil.
func newestMeta(f io.ReaderAt) (*boltMeta, error) {
	var newest *boltMeta
	try := func(offset int64) error {
		buf := make([]byte, boltHeader+boltMetaSize)
		if _, err := f.ReadAt(buf, offset); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if m := parseMeta(buf[boltHeader:]); m != nil && (newest == nil || m.txid > newest.txid) {
			newest = m
		}
		return nil
	}
	if err := try(0); err != nil {
		return nil, err
	}
	// The second meta is on the second page; the first says how large a page is, if it is whole.
	if newest != nil {
		return newest, try(int64(newest.pageSize))
	}
	for size := int64(boltMinPage); size <= boltMaxPage; size *= 2 {
		if err := try(size); err != nil {
			return nil, err
		}
	}
	return newest, nil
}

// parseMeta reads a meta in the byte order of this machine, like bbolt; nil if it is not valid.
func parseMeta(b []byte) *boltMeta {
	o := binary.NativeEndian
	h := fnv.New64a()
	h.Write(b[:boltMetaSize-8])
	if o.Uint32(b) != boltMagic || o.Uint32(b[4:]) != boltVersion || o.Uint64(b[boltMetaSize-8:]) != h.Sum64() {
		return nil
	}
	m := &boltMeta{pageSize: o.Uint32(b[8:]), root: o.Uint64(b[16:]), pages: o.Uint64(b[40:]), txid: o.Uint64(b[48:])}
	if m.pageSize < boltMinPage || m.pageSize > boltMaxPage {
		return nil
	}
	return m
}

// exists reports whether something lies at path.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
