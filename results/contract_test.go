package results

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"poller/order"
)

// fileWriter and fileStore are what every driver has.
type fileWriter interface {
	io.Writer
	Close() (key string, size int64, sha256Hex string, err error)
	Abort()
}

type fileStore interface {
	Open(ctx context.Context, file order.File) (io.ReadCloser, error)
	Verify(ctx context.Context, file order.File) error
	Stat(ctx context.Context, key string) (int64, string, error)
	Remove(ctx context.Context, keys ...string) error
	SweepOrphans(ctx context.Context, olderThan time.Time, named func(context.Context, string) (bool, error)) (int, error)
	Mark(ctx context.Context, storeID string) error
	Created() bool
	Close() error
}

var (
	_ fileStore = (*Dir)(nil)
	_ fileStore = (*S3)(nil)
)

// A place is where a driver keeps files, empty at first. Both drivers' files can be got at behind their back.
type place struct {
	open   func(storeID string) (fileStore, error)
	create func(fileStore, context.Context, string) (fileWriter, error)
	path   func(key string) string
}

func (p *place) mustOpen(t *testing.T) fileStore {
	t.Helper()
	s, err := p.open(storeID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// put keeps a file and returns how its order would record it.
func (p *place) put(t *testing.T, s fileStore, remoteID, content string) order.File {
	t.Helper()
	w, err := p.create(s, t.Context(), remoteID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, iotest.HalfReader(strings.NewReader(content))); err != nil {
		t.Fatal(err)
	}
	key, size, sum, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if size != int64(len(content)) || sum != digest(content) {
		t.Fatalf("%d bytes, SHA-256 %s", size, sum)
	}
	return order.File{ObjectKey: key, Size: size, SHA256: sum}
}

// keys are all files there.
func (p *place) keys(t *testing.T) []string {
	t.Helper()
	keys := []string{}
	root := p.path("")
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		key, err := filepath.Rel(root, path)
		if key != markFile {
			keys = append(keys, key)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestDirKeepsTheContract(t *testing.T) {
	contract(t, func(t *testing.T) *place {
		dir := t.TempDir()
		return &place{
			open: func(id string) (fileStore, error) { return OpenDir(dir, id) },
			create: func(s fileStore, ctx context.Context, id string) (fileWriter, error) {
				return s.(*Dir).Create(ctx, id)
			},
			path: func(key string) string { return filepath.Join(dir, key) },
		}
	})
}

// contract is what SPEC and GUARANTEES ask of a result store, whatever keeps the bytes.
func contract(t *testing.T, at func(*testing.T) *place) {
	for name, rule := range map[string]func(*testing.T, *place){
		"a file is kept whole under a random key":     contractKept,
		"what ends early leaves nothing":              contractAborted,
		"ids and keys that are none are refused":      contractInvalid,
		"a changed file is never served whole":        contractChanged,
		"the end of the context ends the work":        contractContext,
		"removing can be repeated and goes on":        contractRemove,
		"orphans go, what is named or new stays":      contractSweep,
		"it belongs to one database, until marked":    contractMark,
		"another's, and what is not poller's, stands": contractForeign,
	} {
		t.Run(name, func(t *testing.T) { rule(t, at(t)) })
	}
}

func contractRemove(t *testing.T, p *place) {
	s := p.mustOpen(t)
	a, b, c := p.put(t, s, "order-1", "a"), p.put(t, s, "order-1", "b"), p.put(t, s, "order-2", "c")
	if err := s.Remove(t.Context()); err != nil {
		t.Errorf("of nothing: %v", err)
	}
	for range 2 {
		if err := s.Remove(t.Context(), a.ObjectKey, "orders/none/x", c.ObjectKey); err != nil {
			t.Errorf("removing: %v", err)
		}
		if got := p.keys(t); !slices.Equal(got, []string{b.ObjectKey}) {
			t.Errorf("left %v", got)
		}
	}
	err := s.Remove(t.Context(), "../x", markFile, b.ObjectKey)
	if err == nil || !strings.Contains(err.Error(), `removing result file "../x"`) {
		t.Errorf("got %v", err)
	}
	if got := p.keys(t); len(got) != 0 {
		t.Errorf("left %v", got)
	}
	if _, err := os.Stat(p.path(markFile)); err != nil {
		t.Errorf("the mark: %v", err)
	}
}

func contractSweep(t *testing.T, p *place) {
	s := p.mustOpen(t)
	dayAgo := time.Now().Add(-24 * time.Hour)
	old, orphan, fresh := p.put(t, s, "order-1", "old and named"), p.put(t, s, "order-1", "old and not named"), p.put(t, s, "order-2", "of a poll in flight")
	second := p.put(t, s, "order-3", "another one")
	for file, age := range map[order.File]time.Duration{old: time.Hour, orphan: time.Hour, second: time.Minute, fresh: -time.Minute} {
		at := dayAgo.Add(-age)
		if err := os.Chtimes(p.path(file.ObjectKey), at, at); err != nil {
			t.Fatal(err)
		}
	}
	broken := errors.New("the store is closed")
	if n, err := s.SweepOrphans(t.Context(), dayAgo, func(context.Context, string) (bool, error) { return false, broken }); n != 0 || !errors.Is(err, broken) {
		t.Errorf("an unanswered question is no permission: removed %d, %v", n, err)
	}
	named := func(_ context.Context, key string) (bool, error) {
		if key == fresh.ObjectKey {
			t.Error("asked about a fresh file")
		}
		return key == old.ObjectKey, nil
	}
	for _, want := range []int{2, 0} {
		if n, err := s.SweepOrphans(t.Context(), dayAgo, named); err != nil || n != want {
			t.Errorf("removed %d, %v; want %d", n, err, want)
		}
	}
	want := []string{old.ObjectKey, fresh.ObjectKey}
	if got := p.keys(t); !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
}

func contractMark(t *testing.T, p *place) {
	s := p.mustOpen(t)
	if !s.Created() {
		t.Error("it was empty and is not said to be created")
	}
	file := p.put(t, s, "order-1", "hello")
	if again := p.mustOpen(t); again.Created() {
		t.Error("created a second time")
	}
	if _, err := p.open("store-2"); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), `with the store id "store-1"; ours is "store-2"`) {
		t.Errorf("another database: %v", err)
	}
	for _, id := range []string{"", "a\nb", " a", strings.Repeat("x", 2000)} {
		if _, err := p.open(id); err == nil {
			t.Errorf("%.20q was taken for a store id", id)
		}
		if err := s.Mark(t.Context(), id); err == nil {
			t.Errorf("it was marked with %.20q", id)
		}
	}
	if err := s.Mark(t.Context(), "store-2"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.open(storeID); !errors.Is(err, ErrForeign) {
		t.Errorf("the former database: %v", err)
	}
	taken, err := p.open("store-2")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := taken.Verify(t.Context(), file); err != nil || taken.Created() {
		t.Errorf("the file of the former database: %v", err)
	}
}

func contractForeign(t *testing.T, p *place) {
	for _, test := range []struct{ file, content, want string }{
		{"photo.jpg", "x", `it is not empty ("photo.jpg"), and has no poller-store-id`},
		{markFile, "store-2\n", `it belongs to another database, with the store id "store-2"; ours is "store-1"`},
		{markFile, "", `with the store id ""`},
		{markFile, strings.Repeat("x", 2000), "poller-store-id is no store id"},
	} {
		if err := os.WriteFile(p.path(test.file), []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := p.open(storeID); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %s", err, test.want)
		}
		if b, err := os.ReadFile(p.path(test.file)); err != nil || string(b) != test.content {
			t.Errorf("%s was changed: %.20q, %v", test.file, b, err)
		}
	}
}
