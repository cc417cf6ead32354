package results

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"poller/order"
)

func contractKept(t *testing.T, p *place) {
	s := p.mustOpen(t)
	big := strings.Repeat("0123456789abcdef", 200_000)
	for _, content := range []string{"hello", "", big} {
		file := p.put(t, s, "order-1", content)
		if !regexp.MustCompile(`^orders/order-1/[a-z2-7]{26}$`).MatchString(file.ObjectKey) {
			t.Errorf("the key is %s", file.ObjectKey)
		}
		if size, sum, err := s.Stat(t.Context(), file.ObjectKey); err != nil || size != file.Size || sum != file.SHA256 {
			t.Errorf("Stat: %d, %s, %v", size, sum, err)
		}
		if err := s.Verify(t.Context(), file); err != nil {
			t.Error(err)
		}
		r, err := s.Open(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != content {
			t.Errorf("%d bytes were served, %v", len(got), err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func contractAborted(t *testing.T, p *place) {
	s := p.mustOpen(t)
	w, err := p.create(s, t.Context(), "order-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	w.Abort()
	if _, err := w.Write([]byte("more")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Write after Abort: %v", err)
	}
	if _, _, _, err := w.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Close after Abort: %v", err)
	}
	if left := p.keys(t); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func contractInvalid(t *testing.T, p *place) {
	s := p.mustOpen(t)
	for _, id := range []string{"", ".", "..", "a/b", "a\x00", strings.Repeat("x", 129)} {
		if _, err := p.create(s, t.Context(), id); err == nil {
			t.Errorf("%q was taken", id)
		}
	}
	for _, key := range []string{"orders/1/none", "orders/../x", "orders/1/../../" + markFile, "", markFile} {
		if _, _, err := s.Stat(t.Context(), key); !errors.Is(err, order.ErrNotFound) {
			t.Errorf("Stat %q: %v", key, err)
		}
		if _, err := s.Open(t.Context(), order.File{ObjectKey: key}); !errors.Is(err, order.ErrNotFound) {
			t.Errorf("Open %q: %v", key, err)
		}
	}
}

func contractChanged(t *testing.T, p *place) {
	s := p.mustOpen(t)
	content := strings.Repeat("abc", 50_000)
	for name, test := range map[string]struct {
		now    string
		atOpen bool
	}{
		"a byte":          {content[:149_999] + "X", false},
		"the first byte":  {"X" + content[1:], false},
		"cut":             {content[:149_999], true},
		"longer":          {content + "X", true},
		"emptied":         {"", true},
		"same size zeros": {string(make([]byte, 150_000)), false},
	} {
		file := p.put(t, s, "order-1", content)
		if err := os.WriteFile(p.path(file.ObjectKey), []byte(test.now), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(t.Context(), file); !errors.Is(err, order.ErrDamaged) {
			t.Errorf("%s: Verify: %v", name, err)
		}
		r, err := s.Open(t.Context(), file)
		if test.atOpen {
			if !errors.Is(err, order.ErrDamaged) {
				t.Errorf("%s: Open: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); !errors.Is(err, order.ErrDamaged) || n >= file.Size {
			t.Errorf("%s: %d bytes were served, %v", name, n, err)
		}
		if _, again := r.Read(make([]byte, 1)); !errors.Is(again, order.ErrDamaged) {
			t.Errorf("%s: read again: %v", name, again)
		}
		r.Close()
	}
}

func contractContext(t *testing.T, p *place) {
	s := p.mustOpen(t)
	file := p.put(t, s, "kept", "hello")
	ctx, cancel := context.WithCancel(t.Context())
	r, err := s.Open(ctx, file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, err := p.create(s, ctx, "order-1")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(r); !errors.Is(err, context.Canceled) {
		t.Errorf("Read: %v", err)
	}
	if _, err := w.Write([]byte("late")); !errors.Is(err, context.Canceled) {
		t.Errorf("Write: %v", err)
	}
	if _, _, _, err := w.Close(); !errors.Is(err, context.Canceled) {
		t.Errorf("Close after a failed Write: %v", err)
	}
	if _, err := p.create(s, ctx, "order-1"); !errors.Is(err, context.Canceled) {
		t.Errorf("Create: %v", err)
	}
	if _, _, err := s.Stat(ctx, file.ObjectKey); !errors.Is(err, context.Canceled) {
		t.Errorf("Stat: %v", err)
	}
	if err := s.Remove(ctx, file.ObjectKey); !errors.Is(err, context.Canceled) {
		t.Errorf("Remove: %v", err)
	}
	if got := p.keys(t); !slices.Equal(got, []string{file.ObjectKey}) {
		t.Errorf("there is %v", got)
	}
}
