package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A secret is a planted value and where it belongs: nowhere else may it be, in any coding.
type secret struct {
	name  string
	value []byte
	home  string // a path; "": none
}

// codings returns a secret as it may stand in a text: as it is (which is how it
// stands in JSON and in URLs too, being of unreserved characters), in hex, and in base64 wherever it begins.
func codings(value []byte) [][]byte {
	h := hex.EncodeToString(value)
	all := [][]byte{value, []byte(h), []byte(strings.ToUpper(h))}
	for skip := range 3 { // of the value, so that it begins with a whole group
		part := value[skip : len(value)-(len(value)-skip)%3]
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			all = append(all, []byte(e.EncodeToString(part)))
		}
	}
	return all
}

// search looks for every secret, in every coding, in every place.
func search(t *testing.T, secrets []secret, places map[string][]byte) {
	t.Helper()
	for _, s := range secrets {
		for place, content := range places {
			if place == s.home {
				continue
			}
			for _, coded := range codings(s.value) {
				if i := bytes.Index(content, coded); i >= 0 {
					t.Errorf("%s is in %s: …%q", s.name, place, content[max(0, i-200):min(len(content), i+100)])
					break
				}
			}
		}
	}
}

// filesOf adds the files of a folder to places.
func filesOf(t *testing.T, dir string, places map[string][]byte) {
	t.Helper()
	noError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		places[path], err = os.ReadFile(path)
		return err
	}), "reading "+dir)
}

// The search finds what is hidden in any coding, at any place.
func TestSearchFinds(t *testing.T) {
	t.Parallel()
	const value = "sentinel-of-a-test"
	for _, before := range []string{"", "x", "xy", "xyz"} {
		text := []byte(before + value + "…")
		for name, hidden := range map[string]string{
			"plain": string(text), "hex": hex.EncodeToString(text), "base64": base64.StdEncoding.EncodeToString(text), "raw": base64.RawURLEncoding.EncodeToString(text),
		} {
			found := false
			for _, coded := range codings([]byte(value)) {
				found = found || bytes.Contains([]byte(hidden), coded)
			}
			if !found {
				t.Errorf("%s after %q is not found", name, before)
			}
		}
	}
}
