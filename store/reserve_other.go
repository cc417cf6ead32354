//go:build !linux

package store

import "os"

// allocate gives a new file blocks for size bytes.
func allocate(f *os.File, size int64) error { return writeRandom(f, size) }
