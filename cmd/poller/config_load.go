package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxConfig is the longest config.yaml, in bytes.
const maxConfig = 1 << 20

// A problem is one thing wrong with config.yaml. Text never holds a secret.
type problem struct {
	Line   int    `json:"line"` // from 1
	Column int    `json:"column"`
	Key    string `json:"key,omitempty"`
	Text   string `json:"text"`
}

// A configError is everything that is wrong with a file, in its order.
type configError struct {
	File     string
	Problems []problem
}

// Error has one line for each problem: FILE:LINE:COLUMN: KEY: what.
func (e *configError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = fmt.Sprintf("%s:%d:%d: ", e.File, p.Line, p.Column)
		if p.Key != "" {
			lines[i] += p.Key + ": "
		}
		lines[i] += p.Text
	}
	return strings.Join(lines, "\n")
}

// loadConfig reads, expands and judges the file. The error is a *configError
// with everything that is wrong, unless the file itself can't be read.
func loadConfig(file string, env func(string) (string, bool)) (*Config, error) {
	f, err := os.Open(file)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: no such file; name one with --config (an empty file is valid: every key has a default)", file)
		}
		return nil, err
	}
	defer f.Close() // only read
	b := make([]byte, maxConfig+1)
	n, err := readFull(f, b)
	switch {
	case err != nil:
		return nil, err
	case n > maxConfig:
		return nil, fmt.Errorf("%s: longer than %s", file, Size(maxConfig))
	}
	return parseConfig(file, b[:n], env)
}

// readFull fills b as far as there is something to read.
func readFull(r io.Reader, b []byte) (int, error) {
	n, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}

// parseConfig is loadConfig of a file whose content is given.
func parseConfig(file string, content []byte, env func(string) (string, bool)) (*Config, error) {
	r := &reader{dir: filepath.Dir(file), env: env, at: make(map[string]*yaml.Node), expanded: make(map[*yaml.Node]bool)}
	c := defaultConfig()
	if root := r.parse(content); root != nil {
		r.keys(root, c.keys())
	}
	c.resolve(r.dir)
	r.validate(&c)
	c.hidden = r.hidden()
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b problem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, &configError{File: file, Problems: r.problems}
	}
	return &c, nil
}

// A reader turns the nodes of one file into values and collects what is wrong.
type reader struct {
	dir      string
	env      func(string) (string, bool)
	problems []problem

	at       map[string]*yaml.Node // the values that the file gives, by path
	expanded map[*yaml.Node]bool   // something was put in from outside: may be a secret
	key      key                   // being read
}

// parse returns the mapping at the root, or nil if there is nothing (more) to read.
func (r *reader) parse(content []byte) *yaml.Node {
	loader, err := yaml.NewLoader(bytes.NewReader(content))
	if err != nil {
		r.problems = append(r.problems, problem{Line: 1, Column: 1, Text: "not YAML: " + err.Error()})
		return nil
	}
	var doc, second yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		r.syntax(err)
		return nil
	}
	switch err := loader.Load(&second); {
	case err == nil:
		r.report(&second, "a second YAML document; want one")
	case !errors.Is(err, io.EOF):
		r.syntax(err)
	}
	root := &doc
	if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		root = root.Content[0]
	}
	switch {
	case root.Kind == yaml.MappingNode:
		return root
	case root.Kind == yaml.ScalarNode && root.ShortTag() == tagNull:
		return nil // only comments
	}
	r.report(root, "want a mapping of keys, got "+kindOf(root))
	return nil
}

// quoted matches what the library quotes from the file in its messages, which may
// be part of a secret: anchors (a secret may begin with *) and values with an explicit tag.
var quoted = regexp.MustCompile("(?s)(anchor|construct \\S+) ['`].*['`]")

// syntax reports an error of the YAML library, without what it quotes from the file.
func (r *reader) syntax(err error) {
	p := problem{Line: 1, Column: 1, Text: "not YAML"}
	var le *yaml.LoadError
	if errors.As(err, &le) {
		p.Line, p.Column = max(le.Mark.Line, 1), max(le.Mark.Column, 1)
		p.Text += ": " + quoted.ReplaceAllString(strings.TrimPrefix(le.Message, "yaml: "), "$1")
	}
	r.problems = append(r.problems, p)
}

// keys reads the mapping at the root: each key goes to its place in known.
func (r *reader) keys(root *yaml.Node, known []key) {
	byPath := make(map[string]key, len(known))
	sections := map[string]bool{"": true}
	for _, k := range known {
		byPath[k.path] = k
		for p := parent(k.path); p != ""; p = parent(p) {
			sections[p] = true
		}
	}
	r.section("", root, byPath, sections)
	r.key = key{}
}

func (r *reader) section(prefix string, n *yaml.Node, known map[string]key, sections map[string]bool) {
	seen := make(map[string]bool)
	for i := 0; i < len(n.Content); i += 2 {
		name, v := n.Content[i], deref(n.Content[i+1])
		path := name.Value
		if prefix != "" {
			path = prefix + "." + name.Value
		}
		k, isKey := known[path]
		r.key = key{}
		switch {
		case name.Kind != yaml.ScalarNode:
			r.report(name, "want the name of a key, got "+kindOf(name))
		case seen[path]:
			r.report(name, fmt.Sprintf("%q stands here twice", path))
		case sections[path] && v.Kind == yaml.MappingNode:
			r.section(path, v, known, sections)
		case sections[path] && v.ShortTag() == tagNull && v.Kind == yaml.ScalarNode: // all of it is commented out
		case sections[path]:
			r.report(v, fmt.Sprintf("%s: want a mapping of keys, got %s", path, kindOf(v)))
		case isKey:
			r.key = k
			r.at[path] = v
			r.value(v)
		default:
			r.report(name, "unknown key "+clipped(path)+knownHere(prefix, known, sections))
		}
		seen[path] = true
	}
}

// value reads the value of r.key.
func (r *reader) value(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == tagNull {
		r.report(n, "has no value; leave the key out for its default")
		return
	}
	r.key.read(r, n)
}

// scalar returns the text of a scalar, expanded. want says in words what it
// should be; tags are what it may be. What ${…} brought may be any of these.
func (r *reader) scalar(n *yaml.Node, want string, tags ...string) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		r.report(n, "want "+want+", got "+kindOf(n))
		return "", false
	}
	tag := n.ShortTag()
	if tag == tagString && strings.Contains(n.Value, "${") {
		s, err := expand(n.Value, r.dir, r.env)
		if err != nil {
			r.report(n, err.Error())
			return "", false
		}
		r.expanded[n] = true
		return s, true
	}
	if !slices.Contains(tags, tag) {
		if tag == tagString && slices.Contains(tags, tagBool) { // "true" and yes look like one
			want += " without quotes"
		}
		return "", r.accept(n, errors.New("want "+want))
	}
	return n.Value, true
}

// accept reports err, if there is one, together with the value, unless that may be secret.
func (r *reader) accept(n *yaml.Node, err error) bool {
	if err == nil {
		return true
	}
	msg := err.Error()
	if !r.key.secret && !r.expanded[n] && strings.HasPrefix(msg, "want ") {
		msg += ", got " + clipped(n.Value)
	}
	r.report(n, msg)
	return false
}

// report notes what is wrong at the node, under the key being read.
func (r *reader) report(n *yaml.Node, msg string) {
	r.problems = append(r.problems, problem{Line: max(n.Line, 1), Column: max(n.Column, 1), Key: r.key.path, Text: msg})
}

// hidden lists the keys whose values came from outside the file, in all or in part.
func (r *reader) hidden() map[string]bool {
	hidden := make(map[string]bool)
	for path, n := range r.at {
		if r.cameFromOutside(n) {
			hidden[path] = true
		}
	}
	return hidden
}

func (r *reader) cameFromOutside(n *yaml.Node) bool {
	return r.expanded[n] || slices.ContainsFunc(n.Content, func(n *yaml.Node) bool { return r.expanded[deref(n)] })
}

// parent is the section that the path lies in; "" is the root.
func parent(path string) string {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i]
	}
	return ""
}

// knownHere lists what a section may hold, for who mistyped it.
func knownHere(section string, known map[string]key, sections map[string]bool) string {
	var names []string
	add := func(path string) {
		if path != "" && parent(path) == section {
			names = append(names, path[strings.LastIndexByte(path, '.')+1:])
		}
	}
	for p := range known {
		add(p)
	}
	for p := range sections {
		add(p)
	}
	slices.Sort(names)
	return "; known here: " + strings.Join(names, ", ")
}

// clipped quotes what stands in the file, as much of it as a message bears.
func clipped(s string) string {
	const most = 40
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.Quote(s)
}

// deref follows an alias (*name) to what it stands for.
func deref(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}
