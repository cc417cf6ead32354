package main

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"go.yaml.in/yaml/v4"
)

// A value is one value of the file, bound to the field that it fills.
type value interface {
	// read takes the value from its node, reporting what is wrong to r; the field is then left as it was.
	read(r *reader, n *yaml.Node)
	// String shows the value as one would write it.
	String() string
}

// The tags of the YAML core schema that values have.
const (
	tagString = "!!str"
	tagInt    = "!!int"
	tagFloat  = "!!float"
	tagBool   = "!!bool"
	tagNull   = "!!null"
)

// text is a string; check judges it.
type text struct {
	to    *string
	check func(string) error
}

func (v text) read(r *reader, n *yaml.Node) {
	if s, ok := r.scalar(n, "a string", tagString); ok && r.accept(n, v.check(s)) {
		*v.to = s
	}
}

func (v text) String() string { return strconv.Quote(*v.to) }

// path is a file or folder; a relative one is relative to the file that names it.
type path struct {
	to       *string
	required bool
}

func (v path) read(r *reader, n *yaml.Node) {
	s, ok := r.scalar(n, "a path", tagString)
	if !ok {
		return
	}
	var err error
	switch {
	case v.required && s == "":
		err = errors.New("must not be empty")
	case strings.ContainsRune(s, 0):
		err = errors.New("contains a zero byte")
	}
	if r.accept(n, err) {
		*v.to = s
	}
}

func (v path) String() string { return strconv.Quote(*v.to) }

// number is a whole number from min to max.
type number struct {
	to       *int
	min, max int
}

func (v number) read(r *reader, n *yaml.Node) {
	want := fmt.Sprintf("a whole number from %d to %d", v.min, v.max)
	s, ok := r.scalar(n, want, tagInt)
	if !ok {
		return
	}
	i, err := strconv.Atoi(s)
	if err != nil || i < v.min || i > v.max {
		err = errors.New("want " + want)
	}
	if r.accept(n, err) {
		*v.to = i
	}
}

func (v number) String() string { return strconv.Itoa(*v.to) }

// boolean is true or false.
type boolean struct{ to *bool }

func (v boolean) read(r *reader, n *yaml.Node) {
	s, ok := r.scalar(n, "true or false", tagBool)
	if !ok {
		return
	}
	b, err := strconv.ParseBool(strings.ToLower(s))
	if err != nil {
		err = errors.New("want true or false")
	}
	if r.accept(n, err) {
		*v.to = b
	}
}

func (v boolean) String() string { return strconv.FormatBool(*v.to) }

// duration is a span of time from min to max.
type duration struct {
	to       *time.Duration
	min, max time.Duration
}

func (v duration) read(r *reader, n *yaml.Node) {
	s, ok := r.scalar(n, "a duration like 90s, 15m, 72h or 30d", tagString, tagInt)
	if !ok {
		return
	}
	d, err := parseDuration(s)
	switch {
	case err != nil:
	case d < v.min:
		err = errors.New("want at least " + formatDuration(v.min))
	case d > v.max:
		err = errors.New("want at most " + formatDuration(v.max))
	}
	if r.accept(n, err) {
		*v.to = d
	}
}

func (v duration) String() string { return formatDuration(*v.to) }

// parseDuration reads 90s, 15m, 72h, 30d, or some of these together, largest
// first (1d12h). Only 0 needs no unit.
func parseDuration(s string) (time.Duration, error) {
	errWant := errors.New("want a duration like 90s, 15m, 72h or 30d")
	if s == "0" {
		return 0, nil
	}
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, errWant
	}
	var days time.Duration
	if n, rest, found := strings.Cut(s, "d"); found {
		i, err := strconv.ParseUint(n, 10, 32)
		if err != nil || time.Duration(i) > math.MaxInt64/day {
			return 0, errWant
		}
		days, s = time.Duration(i)*day, rest
		if s == "" {
			return days, nil
		}
		if s[0] < '0' || s[0] > '9' {
			return 0, errWant
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || days+d < 0 {
		return 0, errWant
	}
	return days + d, nil
}

// formatDuration writes a duration as parseDuration reads it, in the largest unit that needs no other.
func formatDuration(d time.Duration) string {
	for _, u := range []struct {
		length time.Duration
		name   string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if d != 0 && d%u.length == 0 {
			return strconv.FormatInt(int64(d/u.length), 10) + u.name
		}
	}
	return d.String()
}

// bytesValue is a size of at least min.
type bytesValue struct {
	to  *Size
	min Size
}

func (v bytesValue) read(r *reader, n *yaml.Node) {
	s, ok := r.scalar(n, "a size like 64MiB", tagString, tagInt)
	if !ok {
		return
	}
	size, err := parseSize(s)
	if err == nil && size < v.min {
		err = errors.New("want at least " + v.min.String())
	}
	if r.accept(n, err) {
		*v.to = size
	}
}

func (v bytesValue) String() string { return v.to.String() }

// parseSize reads 64MiB, 1GiB, 10MB; only 0 needs no unit.
func parseSize(s string) (Size, error) {
	errWant := errors.New("want a size like 64MiB")
	if s == "0" {
		return 0, nil
	}
	if s == "" || s[0] < '0' || s[0] > '9' || !strings.HasSuffix(s, "B") {
		return 0, errWant
	}
	n, err := humanize.ParseBytes(s)
	if err != nil || n > math.MaxInt64 {
		return 0, errWant
	}
	return Size(n), nil
}

// String writes the size in the largest unit that needs no fraction.
func (s Size) String() string {
	for _, u := range []struct {
		size Size
		name string
	}{{1 << 40, "TiB"}, {gib, "GiB"}, {mib, "MiB"}, {1 << 10, "KiB"}} {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// share is a percentage; 0 needs no sign.
type share struct{ to *Share }

func (v share) read(r *reader, n *yaml.Node) {
	const want = "a percentage, 0% to 100%"
	s, ok := r.scalar(n, want, tagString, tagInt)
	if !ok {
		return
	}
	digits, found := strings.CutSuffix(s, "%")
	p, err := strconv.ParseFloat(digits, 64)
	if err != nil || !found && s != "0" || !(p >= 0 && p <= 100) {
		err = errors.New("want " + want)
	}
	if r.accept(n, err) {
		*v.to = Share(p / 100)
	}
}

func (v share) String() string {
	return strconv.FormatFloat(float64(*v.to)*100, 'g', 6, 64) + "%"
}

// list is a list of scalars.
type list[T any] struct {
	to     *[]T
	want   string
	parse  func(string) (T, error)
	format func(T) string
}

func (v list[T]) read(r *reader, n *yaml.Node) {
	if n.Kind != yaml.SequenceNode {
		r.report(n, "want "+v.want+", got "+kindOf(n))
		return
	}
	items := make([]T, 0, len(n.Content))
	good := true
	for _, item := range n.Content {
		item = deref(item)
		s, ok := r.scalar(item, "one of "+v.want, tagString, tagInt)
		if !ok {
			good = false
			continue
		}
		t, err := v.parse(s)
		good = r.accept(item, err) && good
		items = append(items, t)
	}
	if good {
		*v.to = items
	}
}

func (v list[T]) String() string {
	items := make([]string, len(*v.to))
	for i, t := range *v.to {
		items[i] = v.format(t)
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// hostCaps is a mapping of host:port to the most polls at once.
type hostCaps struct{ to *map[string]int }

func (v hostCaps) read(r *reader, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		r.report(n, `want a mapping like {"hook.example.com:443": 200}, got `+kindOf(n))
		return
	}
	caps := make(map[string]int, len(n.Content)/2)
	good := true
	for i := 0; i < len(n.Content); i += 2 {
		name, item := n.Content[i], deref(n.Content[i+1])
		host, port, err := net.SplitHostPort(name.Value)
		if err == nil {
			_, err = parsePort(port)
		}
		if err == nil {
			_, err = parseHostName(host)
		}
		if err != nil {
			err = errors.New("want NAME:PORT as key")
		}
		at := strings.ToLower(name.Value)
		if _, double := caps[at]; double {
			err = errors.New("stands here twice")
		}
		ok := r.accept(name, err)
		limit := 0
		before := len(r.problems)
		number{&limit, 1, 65535}.read(r, item)
		if !ok || len(r.problems) > before {
			good = false
		}
		caps[at] = limit
	}
	if good {
		*v.to = caps
	}
}

func (v hostCaps) String() string {
	var items []string
	for _, host := range slices.Sorted(maps.Keys(*v.to)) {
		items = append(items, fmt.Sprintf("%q: %d", host, (*v.to)[host]))
	}
	return "{" + strings.Join(items, ", ") + "}"
}

// kindOf names what a node is, for humans.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case tagString:
		return "a string"
	case tagInt, tagFloat:
		return "a number"
	case tagBool:
		return "true or false"
	case tagNull:
		return "nothing"
	}
	return "something else"
}
