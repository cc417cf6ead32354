package api

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/go-json-experiment/json"

	"poller/order"
)

// spoolMemory is how much of an answer waits in memory, in bytes, before it goes to a file.
const spoolMemory = 1 << 20

// spool keeps the lines of an answer until they can be sent: in memory, and
// from spoolMemory on in a file that has no name any more, so that nothing is left of it whatever happens.
type spool struct {
	dir  string
	mem  bytes.Buffer
	file *os.File
	out  *bufio.Writer // to file
}

func newSpool(dir string) *spool { return &spool{dir: dir} }

// Put adds one line of JSON. order.ErrNoSpace if the disk is full.
func (s *spool) Put(v any) error {
	if err := json.MarshalWrite(&s.mem, v); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	s.mem.WriteByte('\n')
	if s.file == nil && s.mem.Len() < spoolMemory {
		return nil
	}
	return s.spill()
}

// spill moves what is in memory to the file.
func (s *spool) spill() error {
	if s.file == nil {
		f, err := os.CreateTemp(s.dir, "answer-*")
		if err != nil {
			return spoolError(err)
		}
		s.file, s.out = f, bufio.NewWriterSize(f, writePiece)
		if err := os.Remove(f.Name()); err != nil {
			return spoolError(err)
		}
	}
	if _, err := s.mem.WriteTo(s.out); err != nil {
		return spoolError(err)
	}
	return nil
}

// Finish makes sure that every line is kept; no Put follows. order.ErrNoSpace if the disk is full.
func (s *spool) Finish() error {
	if s.file == nil {
		return nil
	}
	if err := s.out.Flush(); err != nil {
		return spoolError(err)
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return spoolError(err)
	}
	return nil
}

// Copy writes all lines to w, after Finish.
func (s *spool) Copy(w io.Writer) error {
	if s.file != nil {
		if _, err := io.Copy(w, s.file); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	}
	if _, err := s.mem.WriteTo(w); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// Close gives the file's space back.
func (s *spool) Close() {
	if s.file != nil {
		_ = s.file.Close() // it has no name: there is nothing to lose
	}
}

func spoolError(err error) error {
	for _, e := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EROFS} {
		if errors.Is(err, e) {
			return fmt.Errorf("spool: %w: %w", order.ErrNoSpace, err)
		}
	}
	return fmt.Errorf("spool: %w", err)
}
