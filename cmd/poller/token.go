package main

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// loadTokens returns the digests of the tokens in the file, and makes the file
// with one token (0600) if there is none: made is then true.
func loadTokens(file string) (digests [][32]byte, made bool, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		made = true
		if err = os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return nil, false, fmt.Errorf("api.token_file: %w", err)
		}
		b = []byte(rand.Text() + rand.Text() + "\n") // 256 bits and some
		err = renameio.WriteFile(file, b, 0o600, renameio.IgnoreUmask())
	}
	if err != nil {
		return nil, false, fmt.Errorf("api.token_file: %w", err)
	}
	for _, t := range parseTokens(b) {
		digests = append(digests, sha256.Sum256([]byte(t)))
	}
	if len(digests) == 0 {
		return nil, false, fmt.Errorf("api.token_file: no token in %s; delete it to have one made", file)
	}
	return digests, made, nil
}
