package e2e

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// maxLogLine is how many bytes a line of the log has at most, its end included (GUARANTEES, G20).
const maxLogLine = 8 << 10

// credentials are what the values of sellers' headers, and the webhook's secrets, look like in all tests.
var credentials = regexp.MustCompile(`Bearer key-of-|whsec_[A-Za-z0-9+/]{8}`)

// checkLog checks what holds of every line of every daemon's log (GUARANTEES,
// G19, G20): it is one JSON object of at most 8 KiB without control
// characters, its message is a text of the program's own, word for word, and no
// credential is in it. The daemon has exited.
func (d *daemon) checkLog() {
	d.t.Helper()
	messages, err := ownTexts()
	noError(d.t, err, "reading the program's texts")
	all := strings.Split(d.log.all(), "\n")
	for i, line := range all {
		var l logLine
		if strings.HasPrefix(line, "SIGQUIT") {
			break // the trace that a test has asked for
		}
		switch err := json.Unmarshal([]byte(line), &l); {
		case err != nil && i == len(all)-1, strings.HasPrefix(line, "poller: "):
			// The end of the output, which a kill may have cut; why serve has failed.
		case err != nil:
			d.t.Errorf("a line of the log is not JSON: %v: %.300q", err, line)
		case !messages[l.msg()]:
			d.t.Errorf("the message of a line is not one of the program's own: %.300q", line)
		}
		if len(line)+1 > maxLogLine {
			d.t.Errorf("a line of the log has %d bytes: %.300q", len(line)+1, line)
		}
		if strings.ContainsFunc(line, unicode.IsControl) {
			d.t.Errorf("control characters in a line of the log: %.300q", line)
		}
		if said := credentials.FindString(line); said != "" || d.token != "" && strings.Contains(line, d.token) {
			d.t.Errorf("%q, or the token, in a line of the log: %.300q", said, line)
		}
	}
}

// checkAnswers checks that no credential is in any answer of the API.
func (s *site) checkAnswers() {
	s.t.Helper()
	all := s.answers.all()
	if said := credentials.FindString(all); said != "" {
		at := strings.Index(all, said)
		s.t.Errorf("%q in an answer of the API: %q", said, all[max(0, at-200):min(len(all), at+100)])
	}
}

// ownTexts returns the string literals of the program's source: what is put
// together while it runs is none of them.
var ownTexts = sync.OnceValues(func() (map[string]bool, error) {
	texts := make(map[string]bool)
	const root = "../.."
	return texts, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (strings.HasPrefix(e.Name(), ".") && path != root || path == filepath.Join(root, "internal") || e.Name() == "testdata"):
			return fs.SkipDir
		case e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil {
					texts[text] = true
				}
			}
			return true
		})
		return nil
	})
})
