package fakeseller

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
)

// blockSize is how much of a generated file is made at once: a multiple of 3,
// so that blocks can be encoded one by one.
const blockSize = 48 << 10

// File is a file of a result. Its content is Bytes or, if that is nil, Size
// bytes generated from Seed: the same ones each time, and never held in memory as a whole.
type File struct {
	Name, MIME string // empty: left out of the answer
	Bytes      []byte
	Size       int64
	Seed       uint64
}

// GeneratedFiles returns n files of that many bytes each, no two alike.
func GeneratedFiles(n int, size int64) []File {
	files := make([]File, n)
	for i := range files {
		files[i] = File{Name: fmt.Sprintf("file-%d.bin", i), MIME: "application/octet-stream", Size: size, Seed: uint64(i) + 1}
	}
	return files
}

// Len returns the size of the content in bytes.
func (f File) Len() int64 {
	if f.Bytes != nil {
		return int64(len(f.Bytes))
	}
	return f.Size
}

// SHA256 returns the digest of the content in hex. It reads all of it.
func (f File) SHA256() string {
	h := sha256.New()
	_ = f.blocks(func(block []byte) error {
		_, err := h.Write(block)
		return err
	}) // a hash takes everything
	return hex.EncodeToString(h.Sum(nil))
}

// blocks calls fn with the content, block by block: random bytes that begin
// with the block's number, so that no block can be taken for another.
func (f File) blocks(fn func([]byte) error) error {
	if f.Bytes != nil {
		return fn(f.Bytes)
	}
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], f.Seed)
	block := make([]byte, blockSize)
	_, _ = rand.NewChaCha8(seed).Read(block) // never fails
	for n, left := uint64(0), f.Size; left > 0; n++ {
		binary.LittleEndian.PutUint64(block, n)
		part := block[:min(left, blockSize)]
		if err := fn(part); err != nil {
			return err
		}
		left -= int64(len(part))
	}
	return nil
}

// encode writes the content in base64. Of a generated file only what differs
// between blocks is encoded anew: it costs next to nothing beside TLS.
func (f File) encode(w io.Writer) error {
	if f.Bytes != nil {
		_, err := io.WriteString(w, base64.StdEncoding.EncodeToString(f.Bytes))
		return err
	}
	var text []byte
	return f.blocks(func(block []byte) error {
		if text != nil && len(block) == blockSize {
			base64.StdEncoding.Encode(text, block[:9])
		} else {
			text = base64.StdEncoding.AppendEncode(text[:0], block)
		}
		_, err := w.Write(text)
		return err
	})
}

// FileBase64 is completed with one file.
func FileBase64(f File) Script {
	return sendFiles(`{"status":"completed","output_type":"file",`, []File{f}, `}`)
}

// Files is completed with a list of files.
func Files(files ...File) Script {
	return sendFiles(`{"status":"completed","output_type":"file","files":[{`, files, `}]}`)
}

// sendFiles streams an answer; a client that leaves ends it.
func sendFiles(head string, files []File, tail string) Script {
	return Script{{Func: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		// It keeps the first error and answers every later call with it.
		out := bufio.NewWriter(w)
		_, _ = out.WriteString(head)
		for i, f := range files {
			if i > 0 {
				_, _ = out.WriteString(`},{`)
			}
			_, _ = out.WriteString(f.members() + `"file_base64":"`)
			if f.encode(out) != nil {
				return
			}
			_, _ = out.WriteString(`"`)
		}
		_, _ = out.WriteString(tail)
		_ = out.Flush()
	}}}
}

// members returns the JSON members that describe the file, each with a comma after it.
func (f File) members() string {
	var out string
	for _, m := range []struct{ name, value string }{{"filename", f.Name}, {"mime_type", f.MIME}} {
		if m.value != "" {
			value, _ := json.Marshal(m.value) // a string can always be encoded
			out += `"` + m.name + `":` + string(value) + `,`
		}
	}
	return out
}
