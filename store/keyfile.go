package store

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// The key file is one line: a word that says what it is, a Tink keyset in
// base64, and its CRC-32C, so that a cut file is told from another's.
const keyFileHeader = "poller-key-1"

// maxKeyFile bounds, in bytes, what is read of a key file.
const maxKeyFile = 1 << 20

// headerKey is what is in a key file: it seals with the primary key, and opens with all.
type headerKey struct {
	tink.AEAD
	keys *keyset.Handle
}

func newHeaderKey(h *keyset.Handle) (*headerKey, error) {
	cipher, err := aead.New(h)
	if err != nil {
		return nil, err
	}
	return &headerKey{cipher, h}, nil
}

// id names the primary key; it is no secret.
func (k *headerKey) id() string {
	p, err := k.keys.Primary()
	if err != nil {
		return "" // a keyset without one makes no cipher
	}
	return fmt.Sprintf("%08x", p.KeyID())
}

// readKeyFile returns the keys of the key file; a missing file is fs.ErrNotExist.
func readKeyFile(path string) (*headerKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("%w: %s is not a key file of poller", ErrKey, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	bad := func(why string) error {
		return fmt.Errorf("%w: %s %s; put the right one back", ErrKey, path, why)
	}
	fields := strings.Fields(string(text))
	if len(fields) == 0 || fields[0] != keyFileHeader {
		return nil, bad("is empty or not a key file of poller")
	}
	if len(fields) != 3 || fields[2] != keyFileSum(fields[1]) {
		return nil, bad("is cut or damaged")
	}
	raw, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return nil, bad("is damaged")
	}
	h, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(raw)))
	if err != nil {
		return nil, bad("holds no keys") // the error of the library might tell what it holds
	}
	return newHeaderKey(h)
}

func keyFileSum(encoded string) string {
	return fmt.Sprintf("%08x", crc32.Checksum([]byte(encoded), castagnoli))
}

// makeKeyFile makes a new key file, whole or not at all, and returns its key.
func makeKeyFile(path string) (*headerKey, error) {
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, err
	}
	if err := MakeDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := writeKeyFile(h, path, publish); err != nil {
		return nil, fmt.Errorf("make key file: %w", err)
	}
	return newHeaderKey(h)
}

// writeKeyFile writes a key file under another name, and has put give it its own when it is complete and synced.
func writeKeyFile(h *keyset.Handle, path string, put func(temp, path string) error) error {
	var raw bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewBinaryWriter(&raw)); err != nil {
		return err
	}
	text := base64.StdEncoding.EncodeToString(raw.Bytes())
	temp, err := os.CreateTemp(filepath.Dir(path), tempPattern)
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.WriteString(keyFileHeader + " " + text + " " + keyFileSum(text) + "\n") // CreateTemp made it 0600
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return put(temp.Name(), path)
}

// tempPattern names files that are not in place yet; a crash may leave one behind.
const tempPattern = ".poller-new-*"

// publish gives a complete, synced file its name, which must be free, and syncs the folder.
func publish(temp, path string) error {
	// A link, unlike a rename, fails if somebody was quicker.
	err := os.Link(temp, path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(temp, path) // a file system without links
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// MakeDir makes a folder, and those above it that are missing, for their owner alone (0700). No power cut takes them
// away again: a file that is synced is of no use in a folder that isn't there.
func MakeDir(dir string) error {
	var grown []string // folders that get a name
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		grown = append(grown, filepath.Dir(at))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, at := range grown {
		if err := syncDir(at); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// headerContext is what a sealed header value is bound to: it opens nowhere else.
func headerContext(sellerID, name string) []byte {
	return []byte(sellerID + "\x00" + name)
}

// sealID makes the record that tells whether a key is the one that the store's headers are sealed with.
func sealID(key *headerKey, id string) ([]byte, error) {
	sealed, err := key.Encrypt([]byte(id), headerContext(id, ""))
	if err != nil {
		return nil, err
	}
	e := newEncoder(len(sealed) + 16)
	e.string(string(sealed))
	return e.seal(bMeta.seed, keyCheck), nil
}
