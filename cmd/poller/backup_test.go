package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// runAt runs a client command against an API, and returns the exit code and what was printed.
func runAt(t *testing.T, address string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	env := map[string]string{"POLLER_URL": address, "POLLER_TOKEN": "token"}
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &errs, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	return code, out.String(), errs.String()
}

// fakeAPI answers one path, as the handler does.
func fakeAPI(t *testing.T, path string, h http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc(path, h)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// sendBackup answers with a copy of the database, and with what is said to be its digest.
func sendBackup(content []byte, digestOf string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		sum := sha256.Sum256([]byte(digestOf))
		h := w.Header()
		h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
		h.Set("Content-Length", strconv.Itoa(len(content)))
		h.Set("X-Poller-Store", "st0re")
		h.Set("X-Poller-Key-Id", "17")
		h.Set("X-Poller-Bucket", "file:///srv/r%C3%A9sults%20100%25")
		_, _ = w.Write(content)
	}
}

// SPEC §8: backup writes a new file, and says what else belongs to it.
func TestBackupCommand(t *testing.T) {
	t.Parallel()
	const content = "a database"
	at := fakeAPI(t, "GET /v1/backup", sendBackup([]byte(content), content))
	dir := t.TempDir()
	file := filepath.Join(dir, "a.db")
	code, stdout, stderr := runAt(t, at, "backup", file)
	if code != exitDone || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{file, "10 B", fmt.Sprintf("%x", sha256.Sum256([]byte(content))), "st0re", "17, in secrets.key_file", "file:///srv/résults 100%"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != content {
		t.Errorf("%q, %v", b, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}

	code, stdout, _ = runAt(t, at, "backup", filepath.Join(dir, "b.db"), "-o", "json")
	var b backup
	if err := json.Unmarshal([]byte(stdout), &b); err != nil || code != exitDone || b.KeyID != "17" || b.Bytes != 10 || b.Bucket != "file:///srv/résults 100%" {
		t.Errorf("%d, %v, %+v", code, err, b)
	}
	code, stdout, stderr = runAt(t, at, "backup", "-")
	if code != exitDone || stdout != content || !strings.Contains(stderr, "secrets.key_file") {
		t.Errorf("to standard output: %d, %q, %q", code, stdout, stderr)
	}
	left(t, dir, "a.db", "b.db")
}

// left fails unless a folder holds just these files.
func left(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the folder holds %q, not %q", got, want)
	}
}

// Nothing is overwritten, and what did not come whole has no name.
func TestBackupCommandRefuses(t *testing.T) {
	t.Parallel()
	const content = "a database"
	whole := sendBackup([]byte(content), content)
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		there  string // a file that is in the way
		want   string
	}{
		"it exists":    {whole, "a.db", "a.db exists, and a backup overwrites nothing"},
		"under way":    {whole, "a.db.partial", "a.db.partial exists: another backup"},
		"another":      {sendBackup([]byte(content), "another"), "", "it was changed on the way"},
		"too many":     {answerProblem(503, "2 backups are under way; try again later"), "", "(HTTP 503): 2 backups are under way"},
		"no digest":    {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, content) }, "", "is it poller that answers?"},
		"it broke off": {cutOff(content), "", "the backup broke off"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var want []string
			if tc.there != "" {
				write(t, filepath.Join(dir, tc.there), "mine")
				want = []string{tc.there}
			}
			code, stdout, stderr := runAt(t, fakeAPI(t, "GET /v1/backup", tc.answer), "backup", filepath.Join(dir, "a.db"))
			if code != exitFailed || !strings.Contains(stderr, tc.want) || stdout != "" {
				t.Errorf("exit code %d: %s%s", code, stdout, stderr)
			}
			left(t, dir, want...)
			if tc.there != "" {
				if b, err := os.ReadFile(filepath.Join(dir, tc.there)); err != nil || string(b) != "mine" {
					t.Errorf("%q, %v", b, err)
				}
			}
		})
	}
}

func answerProblem(status int, detail string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"title":%q,"status":%d,"detail":%q,"first":3,"store":"st0re"}`, http.StatusText(status), status, detail)
	}
}

// cutOff sends all but the last byte, and leaves.
func cutOff(content string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		sendBackup([]byte(content), content)(discardLast{w}, r)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

type discardLast struct{ http.ResponseWriter }

func (d discardLast) Write(b []byte) (int, error) { return d.ResponseWriter.Write(b[:len(b)-1]) }

// Interrupted in the middle: nothing is left.
func TestBackupCommandInterrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	at := fakeAPI(t, "GET /v1/backup", func(w http.ResponseWriter, r *http.Request) {
		sendBackup(make([]byte, 1<<20), "")(discardLast{w}, r)
		interrupt()
		<-r.Context().Done()
	})
	dir := t.TempDir()
	var errs bytes.Buffer
	env := map[string]string{"POLLER_URL": at, "POLLER_TOKEN": "token"}
	code := run(ctx, []string{"backup", filepath.Join(dir, "a.db")}, strings.NewReader(""), io.Discard, &errs, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if code != exitFailed || errs.String() != "poller: interrupted\n" {
		t.Errorf("exit code %d: %s", code, &errs)
	}
	left(t, dir)
}

func TestReprSHA256(t *testing.T) {
	t.Parallel()
	const sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	const encoded = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"
	for header, want := range map[string]string{
		encoded: sum, "md5=:1B2M2Y8AsgTpgAmY7PhCfg==:, " + encoded: sum,
		"": "", "sha-256=": "", "sha-256=:AAAA:": "", "sha-512=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:": "",
	} {
		if got, err := reprSHA256(header); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", header, got, err)
		}
	}
}

// SPEC §8: webhook replay asks for what its flags say, and says from where the feed can be replayed.
func TestWebhookReplayCommand(t *testing.T) {
	t.Parallel()
	var asked []string
	at := fakeAPI(t, "POST /v1/webhook/replay", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked = append(asked, string(b))
		if strings.Contains(string(b), `"0"`) {
			answerProblem(410, "after lies outside what the feed holds")(w, r)
			return
		}
		fmt.Fprint(w, `{"replayed":3}`)
	})
	for _, args := range [][]string{{"--after", "4711"}, {"--after", "st0re-5"}, {"--order", "o-1"}} {
		code, stdout, stderr := runAt(t, at, append([]string{"webhook", "replay"}, args...)...)
		if code != exitDone || stdout != "3 ends of orders will be delivered again\n" {
			t.Errorf("%v: exit code %d: %s%s", args, code, stdout, stderr)
		}
	}
	if got := strings.Join(asked, " "); got != `{"after":"4711"} {"after":"st0re-5"} {"order_id":"o-1"}` {
		t.Errorf("asked %s", got)
	}
	code, _, stderr := runAt(t, at, "webhook", "replay", "--after", "0")
	if code != exitFailed || !strings.Contains(stderr, "store st0re has events from 3 on: --after 2") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
