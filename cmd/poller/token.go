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

	"poller/store"
)

// loadTokens returns the digests of the tokens in the file, and makes the file
// with one token (0600) if there is none: made is then true.
func loadTokens(file string) (digests [][32]byte, made bool, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		made = true
		b = []byte(rand.Text() + rand.Text() + "\n") // 256 bits and some
		err = writeSecret(file, b)
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

// writeSecret makes a file for its owner alone (0600), whole or not at all, and so that a power cut does not take it
// away from those who were given what is in it. Its folder is made if there is none.
func writeSecret(file string, content []byte) error {
	dir := filepath.Dir(file)
	if err := store.MakeDir(dir); err != nil {
		return err
	}
	if err := renameio.WriteFile(file, content, 0o600, renameio.IgnoreUmask()); err != nil {
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close()) // the name of the file; its content is synced
}
