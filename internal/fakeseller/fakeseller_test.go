package fakeseller

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func start(t *testing.T, o Options) (*Server, *http.Client) {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	client := s.Client()
	t.Cleanup(func() {
		client.CloseIdleConnections()
		s.Close()
	})
	return s, client
}

// ask polls an order at the first host and returns status and body.
func ask(t *testing.T, s *Server, client *http.Client, seller, order string) (int, string, http.Header) {
	t.Helper()
	answer, err := poll(t.Context(), s, client, seller, order)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body), answer.Header
}

func poll(ctx context.Context, s *Server, client *http.Client, seller, order string) (*http.Response, error) {
	return pollAt(ctx, s, client, 0, seller, order)
}

func pollAt(ctx context.Context, s *Server, client *http.Client, host int, seller, order string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.OrderURL(host, seller, order), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set(s.Credentials(seller))
	return client.Do(r)
}

func TestBehaviours(t *testing.T) {
	tests := map[string]struct {
		script Script
		want   []string // status and a part of the body, poll by poll
	}{
		"quick":        {Quick("hi"), []string{`200 "result_text":"hi"`, `200 completed`}},
		"progressing":  {Progressing(2, Quick("hi")), []string{`200 "progress":33`, `200 "progress":66`, `200 completed`, `200 completed`}},
		"fail after":   {FailAfter(1, "no luck"), []string{`200 processing`, `200 "error":"no luck"`}},
		"flaky":        {Flaky(2, Progressing(2, Quick("hi"))), []string{`200 "progress":33`, `500 oops`, `200 "progress":66`, `500 oops`, `200 completed`}},
		"not found":    {NotFound(), []string{`404 Not Found`}},
		"unauthorized": {Unauthorized("X-Key", "other", Quick("hi")), []string{`401`}},
		"html":         {HTMLResult("<p>"), []string{`200 "output_type":"html"`}},
		"csv":          {CSVResult("a,b"), []string{`200 "result_text":"a,b"`}},
		"json":         {JSONResult(map[string]int{"a": 1}), []string{`200 "result_text":{"a":1}`}},
		"url":          {URLResult("https://files.example/x"), []string{`200 "result_url":"https://files.example/x"`}},
		"key":          {ObjectKeyResult("orders/1/x"), []string{`200 "object_key":"orders/1/x"`}},
		"broken":       {InvalidJSON(), []string{`200 {"status": "processing"`}},
		"wrong order":  {WrongOrderID(), []string{`200 "order_id":"another-order"`}},
		"huge":         {HugeBody(100_000), []string{`200 ` + strings.Repeat("x", 100_000) + `"}`}},
		"gzip":         {Script{{JSON: object{"status": "processing"}, Gzip: true}}, []string{`200 processing`}},
	}
	s, client := start(t, Options{})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			seller := strings.ReplaceAll(name, " ", "-")
			s.Handle(seller+"/*", test.script)
			for i, want := range test.want {
				wantStatus, wantBody, _ := strings.Cut(want, " ")
				status, body, _ := ask(t, s, client, seller, "1")
				if wantStatus != strconv.Itoa(status) || !strings.Contains(body, wantBody) {
					t.Errorf("poll %d: got %d %.100q, want %.100q", i+1, status, body, want)
				}
			}
		})
	}
}

func TestHandlePrefersWholeNamesAndLaterPatterns(t *testing.T) {
	s, client := start(t, Options{})
	s.Handle("acme/1", Quick("whole"))
	s.Handle("*/*", Quick("first"))
	s.Handle("acme/*", Quick("second"))
	for order, want := range map[string]string{"acme/1": "whole", "acme/2": "second", "other/2": "first"} {
		seller, id, _ := strings.Cut(order, "/")
		if _, body, _ := ask(t, s, client, seller, id); !strings.Contains(body, want) {
			t.Errorf("%s: got %s, want %s", order, body, want)
		}
	}
}

func TestCredentialsAreAskedFor(t *testing.T) {
	s, client := start(t, Options{})
	answer, err := client.Get(s.OrderURL(0, "acme", "1"))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("got %s without credentials", answer.Status)
	}
	if status, body, _ := ask(t, s, client, "acme", "1"); status != http.StatusOK || body != `{"status":"processing"}` {
		t.Errorf("got %d %s with them", status, body)
	}
	seen := s.Stats("acme/1")
	if name, value := s.Credentials("acme"); seen.Polls != 2 || len(seen.Times) != 2 || seen.Header.Get(name) != value {
		t.Errorf("recorded %d polls, times %v", seen.Polls, seen.Times)
	}
}

func TestThrottleCountsPerSecond(t *testing.T) {
	now := time.Unix(0, 0)
	s, client := start(t, Options{Now: func() time.Time { return now }})
	s.Handle("acme/*", Throttle(2, 1, Processing()))
	for i, want := range []int{200, 200, 429, 429} {
		status, _, header := ask(t, s, client, "acme", strconv.Itoa(i))
		if status != want || (status == 429) != (header.Get("Retry-After") == "1") {
			t.Errorf("poll %d: got %d, Retry-After %q", i, status, header.Get("Retry-After"))
		}
	}
	now = now.Add(time.Second)
	if status, _, _ := ask(t, s, client, "acme", "9"); status != 200 {
		t.Errorf("a second later: got %d", status)
	}
}

func TestFilesAreStreamedAndDigested(t *testing.T) {
	const size = 3*blockSize + 1000
	s, client := start(t, Options{})
	one := File{Name: `a"b.bin`, MIME: "image/png", Size: size, Seed: 7}
	many := append(GeneratedFiles(3, 10), File{Bytes: []byte("abc")})
	s.Handle("acme/one", FileBase64(one))
	s.Handle("acme/many", Files(many...))

	type answerFile struct {
		Filename   string `json:"filename"`
		FileBase64 string `json:"file_base64"`
	}
	check := func(got answerFile, want File) {
		t.Helper()
		content, err := base64.StdEncoding.DecodeString(got.FileBase64)
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256(content)
		if int64(len(content)) != want.Len() || hex.EncodeToString(digest[:]) != want.SHA256() || got.Filename != want.Name {
			t.Errorf("%q has %d bytes, want %q with %d, or another digest", got.Filename, len(content), want.Name, want.Len())
		}
	}
	var single answerFile
	_, body, _ := ask(t, s, client, "acme", "one")
	if err := json.Unmarshal([]byte(body), &single); err != nil {
		t.Fatal(err)
	}
	check(single, one)
	var list struct {
		Files []answerFile `json:"files"`
	}
	_, body, _ = ask(t, s, client, "acme", "many")
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Files) != len(many) {
		t.Fatalf("%v: %.200s", err, body)
	}
	for i, f := range list.Files {
		check(f, many[i])
	}
}

func TestHangsEndWithTheClientAndAreCounted(t *testing.T) {
	s, client := start(t, Options{})
	scripts := map[string]Script{"hang": Hang(), "slow": Slow(time.Hour, Processing()), "drip": {{Drip: time.Hour}}}
	for name, script := range scripts {
		s.Handle(name+"/*", script)
		ctx, cancel := context.WithCancel(t.Context())
		var polls sync.WaitGroup
		for i := range 3 {
			polls.Go(func() {
				answer, err := poll(ctx, s, client, name, strconv.Itoa(i))
				if err == nil {
					_, err = io.Copy(io.Discard, answer.Body)
					answer.Body.Close()
				}
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		if err := s.WaitPolls(t.Context(), name, 3); err != nil {
			t.Fatal(err)
		}
		cancel()
		polls.Wait()
		if err := s.Wait(t.Context(), name, func(seen *Stats) bool { return seen.Answered == 3 }); err != nil {
			t.Fatal(err)
		}
		if seen := s.Stats(name); seen.MaxInFlight != 3 || s.Stats(name+"/1").MaxInFlight != 1 {
			t.Errorf("%s: %d at once", name, seen.MaxInFlight)
		}
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	s, _ := start(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.WaitPolls(ctx, "acme", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if len(s.waiters) != 0 {
		t.Error("the waiter was left behind")
	}
}

func TestNetworkFaults(t *testing.T) {
	tests := map[string]struct {
		inflict func(s *Server, host int)
		want    string
	}{
		"cut":        {func(s *Server, h int) { s.Cut(h) }, ""}, // reset or EOF: as the kernel's timing will have it
		"expired":    {func(s *Server, h int) { s.BreakTLS(TLSExpired, h) }, "certificate has expired"},
		"untrusted":  {func(s *Server, h int) { s.BreakTLS(TLSUntrusted, h) }, "unknown authority"},
		"wrong name": {func(s *Server, h int) { s.BreakTLS(TLSWrongName, h) }, "127.0.0.1"},
		"old":        {func(s *Server, h int) { s.BreakTLS(TLSOld, h) }, "protocol version"},
		"no TLS":     {func(s *Server, h int) { s.BreakTLS(TLSNone, h) }, "does not look like a TLS handshake"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, client := start(t, Options{Hosts: 2})
			try := func(host int) error {
				answer, err := pollAt(t.Context(), s, client, host, "acme", "1")
				if err == nil {
					answer.Body.Close()
				}
				return err
			}
			if err := try(1); err != nil {
				t.Fatal(err)
			}
			test.inflict(s, 1)
			if err := try(1); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if err := try(0); err != nil {
				t.Errorf("the other host: %v", err)
			}
			s.Restore(1)
			s.BreakTLS(TLSSound, 1)
			if err := try(1); err != nil {
				t.Errorf("restored: %v", err)
			}
		})
	}
}

func TestBlackholeIsSilentUntilRestored(t *testing.T) {
	s, _ := start(t, Options{})
	s.Blackhole()
	failed := make(chan error, 1)
	go func() {
		c, err := tls.Dial("tcp", s.Address(0), &tls.Config{RootCAs: s.CAPool(), ServerName: "127.0.0.1"})
		if err == nil {
			c.Close()
		}
		failed <- err
	}()
	for s.Traffic().Connections == 0 {
		runtime.Gosched()
	}
	s.Restore()
	if err := <-failed; err == nil {
		t.Error("the handshake went on")
	}
}

func TestSessionsAreResumed(t *testing.T) {
	for name, options := range map[string]Options{"scripted": {}, "bench": {Bench: []byte(`{"status":"processing"}`)}} {
		t.Run(name, func(t *testing.T) {
			s, client := start(t, options)
			for range 3 {
				if _, body, _ := ask(t, s, client, "acme", "1"); body != `{"status":"processing"}` {
					t.Errorf("got %s", body)
				}
				client.CloseIdleConnections()
			}
			if got, want := s.Traffic(), (Traffic{Connections: 3, Handshakes: 3, Resumptions: 2, Requests: 3}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			s.Reset()
			if got := s.Traffic(); got != (Traffic{}) {
				t.Errorf("after Reset: %+v", got)
			}
		})
	}
}

func TestCloseEndsEverything(t *testing.T) {
	before := runtime.NumGoroutine()
	s, client := start(t, Options{Hosts: 60})
	s.Handle("acme/*", Hang())
	broken := make(chan error, 1)
	go func() {
		_, err := poll(t.Context(), s, client, "acme", "1")
		broken <- err
	}()
	if err := s.WaitPolls(t.Context(), "acme", 1); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if <-broken == nil {
		t.Error("the poll was answered")
	}
	s.Close()
	client.CloseIdleConnections()
	for runtime.NumGoroutine() > before {
		runtime.Gosched() // the last ones are past everything that can be waited for
	}
}

func TestPauseKeepsItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !pause(t.Context(), time.Minute) || time.Since(began) != time.Minute {
			t.Error("the pause was cut short")
		}
	})
}

func TestCAFile(t *testing.T) {
	s, _ := start(t, Options{Names: []string{"*.sellers.example"}})
	path, err := s.CAFile(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != string(s.CAPEM()) {
		t.Errorf("%v: %s", err, content)
	}
}

func BenchmarkBenchMode(b *testing.B) {
	s, err := Start(b.Context(), Options{Bench: []byte(`{"status":"processing","progress":50}`)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.RunParallel(func(pb *testing.PB) {
		c, err := tls.Dial("tcp", s.Address(0), &tls.Config{RootCAs: s.CAPool()})
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		in, request := make([]byte, 4096), []byte("GET /acme/status/1 HTTP/1.1\r\nHost: x\r\n\r\n")
		for pb.Next() {
			if _, err := c.Write(request); err != nil {
				b.Error(err)
				return
			}
			if _, err := c.Read(in); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
