package results

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"poller/order"
)

func TestAnUploadAppearsUnderItsKeyWhole(t *testing.T) {
	s := listening(t)
	content := strings.Repeat("report ", 100_000)
	key, signedURL := s.prepare("order-1", len(content))
	s.taken(key, signedURL, content)
	s.holds(map[string]string{key: content})
	for p, want := range map[string]fs.FileMode{"uploads": fs.ModeDir | 0o700, filepath.Dir(key): fs.ModeDir | 0o700, key: 0o600} {
		if info, err := os.Stat(filepath.Join(s.path, p)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", p, info.Mode(), err)
		}
	}
	if err := s.dir.Remove(t.Context(), key); err != nil || strings.Join(names(t, s.path), " ") != "orders/ uploads/" {
		t.Errorf("after Remove: %v, %v", names(t, s.path), err)
	}
}

// The proxy may keep the path of public_url, or take it off.
func TestThePathOfPublicURLMayBeTakenOff(t *testing.T) {
	s := listening(t)
	for _, change := range []func(string) string{
		func(u string) string { return u },
		func(u string) string { return strings.Replace(u, "/in/orders", "/orders", 1) },
		func(u string) string { return strings.Replace(u, "/in/orders", "/orders/orders", 1) },
	} {
		key, signedURL := s.prepare("orders", 1)
		s.taken(key, change(signedURL), "x")
	}
}

// Whatever is not as signed is refused with a problem, and leaves the slot as it was.
func TestRefusals(t *testing.T) {
	const content = "0123456789"
	replace := func(old, by string) func(*uploadSite, string) *http.Request {
		return func(s *uploadSite, u string) *http.Request {
			changed := regexp.MustCompile(old).ReplaceAllString(u, by)
			if changed == u {
				s.Fatalf("no %s in %s", old, u)
			}
			return s.request(changed, content)
		}
	}
	header := func(name, value string) func(*uploadSite, string) *http.Request {
		return func(s *uploadSite, u string) *http.Request {
			r := s.request(u, content)
			r.Header[name] = strings.Split(value, "|")
			return r
		}
	}
	body := func(content string) func(*uploadSite, string) *http.Request {
		return func(s *uploadSite, u string) *http.Request { return s.request(u, content) }
	}
	const changed = "no signed upload URL"
	for name, c := range map[string]struct {
		make   func(*uploadSite, string) *http.Request
		status int
		detail string
	}{
		"another order":           {replace("orders/order-1/", "orders/order-2/"), 403, changed},
		"another key":             {replace("report.pdf", "report.txt"), 403, changed},
		"a key out of the folder": {replace("orders/order-1/", "orders/../"), 403, changed},
		"another size":            {replace("size=10", "size=11"), 403, changed},
		"a size written so":       {replace("size=10", "size=010"), 403, changed},
		"another type":            {replace("type=application%2Fpdf", "type=text%2Fhtml"), 403, changed},
		"a later expiry":          {replace("expires=1", "expires=2"), 403, changed},
		"another signature":       {replace("signature=.", "signature=x"), 403, changed},
		"a cut signature":         {replace("signature=.", "signature="), 403, changed},
		"no signature":            {replace("&?signature=[0-9a-f]*", ""), 403, changed},
		"a parameter twice":       {replace("$", "&size=10"), 403, changed},
		"a parameter more":        {replace("$", "&x=1"), 403, changed},
		"a query that is none":    {replace("size=10", "size=%zz"), 403, changed},
		"no query":                {replace(`\?.*`, ""), 403, changed},
		"no path":                 {replace(`/in/.*\?`, "/?"), 403, changed},
		"GET":                     {func(s *uploadSite, u string) *http.Request { r := s.request(u, ""); r.Method = "GET"; return r }, 405, "PUT"},
		"POST":                    {func(s *uploadSite, u string) *http.Request { r := s.request(u, content); r.Method = "POST"; return r }, 405, "PUT"},
		"a body too long":         {body(content + "x"), 413, "10 bytes were prepared, not 11"},
		"a body too short":        {body(content[1:]), 400, "10 bytes were prepared, not 9"},
		"an empty body":           {body(""), 400, "10 bytes were prepared, not 0"},
		"no type":                 {header("Content-Type", ""), 415, pdf},
		"not the type prepared":   {header("Content-Type", "application/pdf; x=y"), 415, pdf},
		"two types":               {header("Content-Type", pdf+"|"+pdf), 415, pdf},
		"an encoding":             {header("Content-Encoding", "gzip"), 415, "Content-Encoding"},
		"a range":                 {header("Content-Range", "bytes 0-9/20"), 400, "Content-Range"},
		"chunked": {func(s *uploadSite, u string) *http.Request {
			r := s.request(u, "")
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(content)), -1
			return r
		}, 411, "Content-Length"},
	} {
		t.Run(name, func(t *testing.T) {
			s := listening(t)
			key, signedURL := s.prepare("order-1", len(content))
			a := s.do(c.make(s, signedURL))
			if a.status != c.status || !strings.Contains(a.problem.Detail, c.detail) {
				t.Errorf("%d %+v", a.status, a.problem)
			}
			if a.status == http.StatusMethodNotAllowed && a.header.Get("Allow") != "PUT" {
				t.Errorf("Allow: %s", a.header.Get("Allow"))
			}
			s.holds(nil)
			s.taken(key, signedURL, content)
			s.holds(map[string]string{key: content})
		})
	}
}

func TestRefusalsWithoutALength(t *testing.T) {
	s := listening(t)
	key, signedURL := s.prepare("order-1", 10)
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"no Content-Length":      {head(signedURL, "Content-Type: "+pdf), 411},
		"OPTIONS *":              {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 405},
		"cut off":                {head(signedURL, "Content-Type: "+pdf, "Content-Length: 10") + "01234", 400},
		"refused before it came": {head(signedURL, "Content-Type: text/html", "Content-Length: 10", "Expect: 100-continue"), 415},
	} {
		if a := s.raw(s.dial(), c.request, true); a.status != c.status || !a.last {
			t.Errorf("%s: %d %+v, the last: %v", name, a.status, a.problem, a.last)
		}
		s.holds(nil)
	}
	s.taken(key, signedURL, "0123456789")
}

// The hour is that of the begin.
func TestAnUploadURLLastsAnHour(t *testing.T) {
	s := listening(t)
	key, signedURL := s.prepare("order-1", 1)
	s.at(uploadStart.Add(UploadExpiry))
	if a := s.do(s.request(signedURL, "x")); a.status != 403 || !strings.Contains(a.problem.Detail, "expired") {
		t.Errorf("%d %+v", a.status, a.problem)
	}
	s.holds(nil)
	s.at(uploadStart.Add(UploadExpiry - time.Second))
	s.taken(key, signedURL, "x")
}

func TestOnlyASlotOfAnOrderInProcessingIsFilled(t *testing.T) {
	for name, c := range map[string]struct {
		at     int // at the begin, after the last byte, when the file is there
		err    error
		size   int64
		status int
	}{
		"no slot at the begin":         {1, order.ErrNotFound, 0, 410},
		"no slot at the end":           {2, order.ErrNotFound, 0, 410},
		"no slot once the file is":     {3, order.ErrNotFound, 0, 410},
		"ended at the begin":           {1, order.ErrEnded, 0, 409},
		"ended at the end":             {2, order.ErrEnded, 0, 409},
		"another size at the begin":    {1, nil, 11, 403},
		"another size at the end":      {2, nil, 11, 403},
		"a damaged record":             {1, order.ErrDamaged, 0, 500},
		"a store that stops":           {1, order.ErrStopping, 0, 503},
		"a store that fails":           {2, order.ErrBroken, 0, 503},
		"a request that was given up":  {1, context.Canceled, 0, 400},
		"ended by a poll so quick":     {3, order.ErrEnded, 0, 201},
		"not known once the file is":   {3, order.ErrStopping, 0, 201},
		"nothing happens while it ran": {4, order.ErrNotFound, 0, 201},
	} {
		t.Run(name, func(t *testing.T) {
			s := listening(t)
			key, signedURL := s.prepare("order-1", 10)
			s.slots.at, s.slots.err = c.at, c.err
			if c.err == nil {
				s.slots.becomes = c.size
			}
			if a := s.do(s.request(signedURL, "0123456789")); a.status != c.status {
				t.Errorf("%d %+v", a.status, a.problem)
			}
			if c.status == http.StatusCreated {
				s.holds(map[string]string{key: "0123456789"})
				return
			}
			s.holds(nil)
		})
	}
}

func TestTheFirstUploadOfASlotStays(t *testing.T) {
	s := listening(t)
	key, signedURL := s.prepare("order-1", 3)
	s.taken(key, signedURL, "one")
	if a := s.do(s.request(signedURL, "two")); a.status != http.StatusConflict {
		t.Errorf("%d %+v", a.status, a.problem)
	}
	s.holds(map[string]string{key: "one"})
}

func TestOfUploadsAtTheSameTimeOneWinsWholly(t *testing.T) {
	const many = 6
	s := listening(t)
	for range 5 {
		key, signedURL := s.prepare("order-1", 200_000)
		contents, answers := make([]string, many), make([]answer, many)
		var wg sync.WaitGroup
		for i := range many {
			contents[i] = strings.Repeat(string(rune('a'+i)), 200_000)
			wg.Go(func() { answers[i] = s.do(s.request(signedURL, contents[i])) })
		}
		wg.Wait()
		won := 0
		for i, a := range answers {
			switch a.status {
			case http.StatusCreated:
				won++
				s.holds(map[string]string{key: contents[i]})
			case http.StatusConflict:
			default:
				t.Errorf("%d %+v", a.status, a.problem)
			}
		}
		if won != 1 {
			t.Errorf("%d won", won)
		}
		if err := s.dir.Remove(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWithoutSpaceUploadsWait(t *testing.T) {
	s := listening(t)
	content := strings.Repeat("x", uploadSpaceStep+1000)
	key, signedURL := s.prepare("order-1", len(content))
	s.full.Store(true)
	if a := s.do(s.request(signedURL, content)); a.status != http.StatusInsufficientStorage {
		t.Errorf("%d %+v", a.status, a.problem)
	}
	s.full.Store(false)
	conn := s.dial()
	// It runs out on the way: when the server asks for the body, there was room still.
	if _, err := io.WriteString(conn, head(signedURL, "Content-Type: "+pdf, fmt.Sprint("Content-Length: ", len(content)), "Expect: 100-continue")); err != nil {
		t.Fatal(err)
	}
	proceed := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))
	if _, err := io.ReadFull(conn, proceed); err != nil || !strings.Contains(string(proceed), "100") {
		t.Fatalf("%q %v", proceed, err)
	}
	s.full.Store(true)
	if a := s.raw(conn, content[:uploadSpaceStep+1], false); a.status != http.StatusInsufficientStorage {
		t.Errorf("on the way: %d %+v", a.status, a.problem)
	}
	s.holds(nil)
	s.full.Store(false)
	s.taken(key, signedURL, content)
}

// No symbolic link is followed, wherever it stands in the folder, and no pipe opened.
func TestUploadsFollowNoSymbolicLink(t *testing.T) {
	for _, at := range []string{"uploads", "orders", "orders/order-1"} {
		s := listening(t)
		_, signedURL := s.prepare("order-1", 1)
		elsewhere := t.TempDir()
		inside := filepath.Join(s.path, "inside")
		for _, dir := range []string{inside, filepath.Join(s.path, filepath.Dir(at))} {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		for _, target := range []string{elsewhere, inside} {
			link := filepath.Join(s.path, at)
			if err := os.Symlink(target, link); err != nil {
				t.Fatal(err)
			}
			if a := s.do(s.request(signedURL, "x")); a.status == http.StatusCreated {
				t.Errorf("%s was followed", at)
			}
			if left := names(t, target); len(left) != 0 {
				t.Errorf("%s: %v", at, left)
			}
			if err := os.Remove(link); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestAFailureOfOursIsLoggedAndTellsNothing(t *testing.T) {
	s := listening(t)
	_, signedURL := s.prepare("order-1", 1)
	plant(t, filepath.Join(s.path, partsFolder), "a file instead of the folder")
	a := s.do(s.request(signedURL, "x"))
	if a.status != http.StatusInternalServerError || strings.Contains(a.problem.Detail, s.path) {
		t.Errorf("%d %+v", a.status, a.problem)
	}
	if s.logs.FilterMessage("upload failed").Len() != 1 {
		t.Errorf("logged: %v", s.logs.All())
	}
}
