package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxExpanded is the longest file that ${file:…} may name, in bytes.
const maxExpanded = 64 << 10

// expand replaces ${NAME} by the environment variable and ${file:PATH} by the
// content of the file, less its last line break (SPEC §3). What is put in is
// not looked at again. A lone $ stays. dir is where relative paths begin.
func expand(s, dir string, env func(string) (string, bool)) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", errors.New("${ without }")
		}
		put, err := lookUp(name, dir, env)
		if err != nil {
			return "", err
		}
		b.WriteString(put)
		s = after
	}
}

func lookUp(name, dir string, env func(string) (string, bool)) (string, error) {
	if file, ok := strings.CutPrefix(name, "file:"); ok {
		return readExpanded(inDir(dir, file))
	}
	if !validEnvName(name) {
		return "", errors.New("want ${NAME} or ${file:PATH}")
	}
	v, ok := env(name)
	if !ok {
		return "", fmt.Errorf("${%s}: no such environment variable", name)
	}
	return v, nil
}

func readExpanded(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("${file:%s}: %w", name, withoutPath(err))
	}
	defer f.Close() // only read
	b := make([]byte, maxExpanded+1)
	n, err := readFull(f, b)
	switch {
	case err != nil:
		return "", fmt.Errorf("${file:%s}: %w", name, withoutPath(err))
	case n > maxExpanded:
		return "", fmt.Errorf("${file:%s}: longer than %s", name, Size(maxExpanded))
	}
	return string(bytes.TrimRight(b[:n], "\r\n")), nil
}

// withoutPath is err without the operation and path, which the message names already.
func withoutPath(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func validEnvName(s string) bool {
	for i, r := range s {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '_'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// inDir is name, or if it is relative, name in dir.
func inDir(dir, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}
