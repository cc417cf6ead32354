//go:build ci

package results

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"poller/internal/s3test"
	"poller/order"
)

// options are for the server's bucket; limits are short, since tests wait for them.
func options(t *testing.T, server *s3test.Server) S3Options {
	return S3Options{
		Bucket: s3test.Bucket, Region: regionOfOthers, Endpoint: server.URL, SpoolDir: t.TempDir(),
		Keys: NewS3Keys(s3test.AccessKey, s3test.SecretKey, ""),
		limits: &s3Limits{
			attempts: 3, backoff: 10 * time.Millisecond,
			dial: 5 * time.Second, stall: 10 * time.Second, request: 20 * time.Second, perMiB: time.Second,
		},
	}
}

func openS3(t *testing.T, o S3Options) *S3 {
	t.Helper()
	s, err := OpenS3(t.Context(), o, storeID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// s3Place is an S3 server of its own for a test.
func s3Place(server *s3test.Server, o S3Options) *place {
	return &place{
		open: func(id string) (fileStore, error) {
			s, err := OpenS3(context.Background(), o, id)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
		create: func(s fileStore, ctx context.Context, id string) (fileWriter, error) { return s.(*S3).Create(ctx, id) },
		path:   server.File,
	}
}

func TestS3KeepsTheContract(t *testing.T) {
	t.Run("http", func(t *testing.T) {
		contract(t, func(t *testing.T) *place {
			server := s3test.Start(t)
			return s3Place(server, options(t, server))
		})
	})
	t.Run("https", func(t *testing.T) {
		server := s3test.StartTLS(t)
		o := options(t, server)
		if _, err := OpenS3(t.Context(), o, storeID); err == nil || !strings.Contains(err.Error(), "its certificate is not to be trusted") {
			t.Errorf("an unknown CA: %v", err)
		}
		o.RootCAs = server.RootCAs()
		contractKept(t, s3Place(server, o))
	})
}

// Of two databases that find a bucket empty at the same moment one gets it.
func TestS3BucketIsClaimedOnce(t *testing.T) {
	server := s3test.Start(t)
	o := options(t, server)
	var (
		work sync.WaitGroup
		won  atomic.Int32
	)
	for i := range 8 {
		work.Go(func() {
			s, err := OpenS3(t.Context(), o, fmt.Sprintf("store-%d", i))
			switch {
			case err == nil:
				won.Add(1)
				s.Close()
			case !errors.Is(err, ErrForeign):
				t.Error(err)
			}
		})
	}
	work.Wait()
	if won.Load() != 1 {
		t.Errorf("%d databases have the bucket", won.Load())
	}
}

// What an operator gets wrong is said so that it can be put right, without the keys.
func TestS3SaysWhatIsWrong(t *testing.T) {
	server := s3test.Start(t)
	for name, test := range map[string]struct {
		change func(*S3Options)
		want   string
	}{
		"secret": {func(o *S3Options) { o.Keys.secret = "wrong-secret-1" }, "refuses the keys (HTTP 403 SignatureDoesNotMatch): check AWS_ACCESS_KEY_ID"},
		"key id": {func(o *S3Options) { o.Keys.id = "WRONGKEYID" }, "refuses the keys (HTTP 404 XAdminUserNotFound)"},
		"bucket": {func(o *S3Options) { o.Bucket = "no-such-bucket" }, "there is no such bucket: create it, or correct results.bucket"},
		"region": {func(o *S3Options) { o.Region = "eu-north-1" }, "the bucket is elsewhere (HTTP 400 AuthorizationHeaderMalformed): correct region and endpoint in results.bucket"},
		"port":   {func(o *S3Options) { o.Endpoint = "http://127.0.0.1:1" }, "the S3 server can't be reached (connection refused): check endpoint"},
		"name":   {func(o *S3Options) { o.Endpoint = "http://s3.invalid" }, "can't be reached (its name"},
		"spool":  {func(o *S3Options) { o.SpoolDir = "/does/not/exist" }, "folder for files on their way to the bucket"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, server)
			test.change(&o)
			_, err := OpenS3(t.Context(), o, storeID)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v", err)
			}
			for _, hidden := range []string{o.Keys.id, o.Keys.secret, "127.0.0.1"} {
				if strings.Contains(err.Error(), hidden) {
					t.Errorf("%v shows %s", err, hidden)
				}
			}
		})
	}
}

// More than one page, and more than one request can delete.
func TestS3ListsAndRemovesInPages(t *testing.T) {
	server := s3test.Start(t)
	s := openS3(t, options(t, server))
	const n = maxDelete + 50
	if err := os.MkdirAll(server.File("orders/many"), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := os.WriteFile(server.File(fmt.Sprintf("orders/many/%d", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	asked := make(map[string]bool)
	removed, err := s.SweepOrphans(t.Context(), time.Now().Add(time.Hour), func(_ context.Context, key string) (bool, error) {
		asked[key] = true
		return len(asked) > n-10, nil
	})
	if err != nil || removed != n-10 || len(asked) != n {
		t.Errorf("removed %d of %d, %v", removed, len(asked), err)
	}
	var all []string
	for key := range asked {
		all = append(all, key)
	}
	if err := s.Remove(t.Context(), all...); err != nil {
		t.Error(err)
	}
	if left := s3Place(server, S3Options{}).keys(t); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// A server without DeleteObjects gets single deletes.
func TestS3RemovesOneByOneIfNeedBe(t *testing.T) {
	server := s3test.Start(t)
	s := openS3(t, options(t, server))
	p := s3Place(server, S3Options{})
	a, b := p.put(t, s, "order-1", "a"), p.put(t, s, "order-1", "b")
	server.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusNotImplemented)
			return
		}
		next.ServeHTTP(w, r)
	})
	if err := s.Remove(t.Context(), a.ObjectKey, b.ObjectKey, "orders/none/x"); err != nil {
		t.Error(err)
	}
	if left := p.keys(t); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// Bytes that change on the way to the server are refused by it.
func TestS3PutIsCheckedByTheServer(t *testing.T) {
	server := s3test.Start(t)
	s := openS3(t, options(t, server))
	content := []byte("hello")
	err := s.put(t.Context(), "orders/1/x", bytes.NewReader(content), 5, sha256.Sum256([]byte("other")), onlyNew())
	if err == nil || !strings.Contains(err.Error(), "HTTP 400") {
		t.Errorf("got %v", err)
	}
	if left := s3Place(server, S3Options{}).keys(t); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// Many workers at once; the spool is empty all the time, to the eye.
func TestS3ManyAtOnce(t *testing.T) {
	server := s3test.Start(t)
	o := options(t, server)
	s := openS3(t, o)
	var work sync.WaitGroup
	for range 16 {
		work.Go(func() {
			w, err := s.Create(t.Context(), "order-1")
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := w.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			if names, err := os.ReadDir(o.SpoolDir); err != nil || slices.ContainsFunc(names, func(e os.DirEntry) bool { i, err := e.Info(); return err == nil && i.Size() > 0 }) {
				t.Errorf("the spool shows %v, %v", names, err)
			}
			key, _, _, err := w.Close()
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Remove(t.Context(), key); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
}

// Big files are streams: what a file costs in memory does not grow with it.
func TestS3BigFileIsAStream(t *testing.T) {
	server := s3test.Start(t)
	s := openS3(t, options(t, server))
	const size, most = 128 << 20, 16 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w, err := s.Create(t.Context(), "order-1")
	if err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 64<<10)
	for range size / len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	key, n, sum, err := w.Close()
	if err != nil || n != size {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if err := s.Verify(t.Context(), order.File{ObjectKey: key, Size: n, SHA256: sum}); err != nil {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > most { // with what the proxy of the test takes
		t.Errorf("%d bytes were allocated", used)
	}
}
