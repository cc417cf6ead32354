// Package docs has the documents' own tests.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every guarantee is listed, in order, and every test that is named for one exists.
func TestGuaranteesNameTestsThatExist(t *testing.T) {
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	next := 1
	named := regexp.MustCompile("`(Test\\w+)`")
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| G") {
			continue
		}
		if want := fmt.Sprintf("| G%d |", next); !strings.HasPrefix(line, want) {
			t.Errorf("want %q, got %.10q", want, line)
		}
		next++
		found := named.FindAllStringSubmatch(line, -1)
		if len(found) == 0 {
			t.Errorf("no test is named: %s", line)
		}
		for _, m := range found {
			if !tests[m[1]] {
				t.Errorf("there is no %s", m[1])
			}
		}
	}
	if next != 30 {
		t.Errorf("%d guarantees are listed, want 29", next-1)
	}
}
