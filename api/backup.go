package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"poller/order"
)

// maxBackups is how many backups are made or sent at once: each takes the space of a copy.
const maxBackups = 2

// backupPrefix names a copy while it is being made. A name of this kind is
// removed at the next start, if a kill left it, and does not count as somebody else's.
const backupPrefix = ".poller-new-backup-"

// Headers that tell what belongs to a backup beside the database. Characters
// that a header can't have are percent-encoded, the percent sign too.
const (
	headerKeyID  = "X-Poller-Key-Id"
	headerBucket = "X-Poller-Bucket"
	headerStore  = "X-Poller-Store"
)

func (a *API) routeBackup() {
	const path = "/v1/backup"
	handleRaw(a, operation{
		method: http.MethodGet, path: path, id: "backup", tag: "operations",
		summary: "A consistent copy of the database, made while running. The key file and the result files are not in it",
		errors:  []int{http.StatusNotImplemented, http.StatusServiceUnavailable, http.StatusInsufficientStorage},
	}, a.backup)
	a.answers(http.MethodGet, path, "application/octet-stream", &huma.Schema{Type: "string", Format: "binary"})
	text := func(doc string, example string) *huma.Param {
		return &huma.Param{Description: doc, Schema: &huma.Schema{Type: "string"}, Example: example}
	}
	a.documented(http.MethodGet, path).Responses["200"].Headers = map[string]*huma.Param{
		"Repr-Digest": text("SHA-256 of the copy (RFC 9530)", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"),
		headerStore:   text("The store's id", "9f86d081884c7d65"),
		headerKeyID:   text("Which key in secrets.key_file seals the sellers' headers", "1930817442"),
		headerBucket:  text("Where the result files are; percent-encoded", "file:///var/lib/poller/results"),
	}
}

// A dump is a copy of the database in a file that has no name any more.
type dump struct {
	file   *os.File
	size   int64
	digest [sha256.Size]byte
	info   BackupInfo
}

// backup answers with a copy that was complete before the first byte is sent, so
// that a slow reader holds up nothing, and the digest can go first.
func (a *API) backup(w http.ResponseWriter, r *http.Request, _ *none) {
	if a.opt.Backup == nil {
		writeProblem(w, problem(http.StatusNotImplemented, "this store makes no backups"))
		return
	}
	select {
	case a.backups <- struct{}{}:
		defer func() { <-a.backups }()
	default:
		w.Header().Set("Retry-After", "60")
		writeProblem(w, problem(http.StatusServiceUnavailable, strconv.Itoa(maxBackups)+" backups are under way; try again later"))
		return
	}
	begun := time.Now()
	ctx, cancel := a.untilStopped(r.Context())
	defer cancel()
	d, err := a.dump(ctx)
	if err != nil {
		if stopped := a.errStopped(); stopped != nil {
			err = stopped
		}
		writeProblem(w, a.fail("make a backup", err))
		return
	}
	defer d.file.Close() // it was only read, and has no name: its space is given back
	made := time.Since(begun)
	a.describeDump(w.Header(), d)
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := io.Copy(w, ending{ctx, d.file}); err != nil {
		a.log.Warn("a backup was not taken whole", zap.Error(err))
		panic(http.ErrAbortHandler) // cut short
	}
	a.log.Info("backup sent", zap.Int64("bytes", d.size), zap.Duration("making", made), zap.Duration("sending", time.Since(begun)-made))
}

// dump makes a copy and takes its digest. Nothing is left of it after an error.
func (a *API) dump(ctx context.Context) (_ *dump, err error) {
	path := filepath.Join(a.tempDir(), backupPrefix+rand.Text())
	d := &dump{}
	defer func() {
		if e := os.Remove(path); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
		if err != nil && d.file != nil {
			err = errors.Join(err, d.file.Close())
		}
	}()
	if d.info, err = a.opt.Backup(ctx, path); err != nil {
		return nil, err
	}
	if d.file, err = os.Open(path); err != nil {
		return nil, err
	}
	h := sha256.New()
	if d.size, err = io.Copy(h, ending{ctx, d.file}); err != nil {
		return nil, err
	}
	h.Sum(d.digest[:0])
	_, err = d.file.Seek(0, io.SeekStart)
	return d, err
}

// describeDump says in an answer's headers what it brings, and what belongs to it.
func (a *API) describeDump(h http.Header, d *dump) {
	name := fmt.Sprintf("poller-%s-%s.db", order.Clip(a.opt.Store.ID(), maxName), a.opt.Now().UTC().Format("20060102T150405Z"))
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", disposition(name))
	h.Set("Content-Length", strconv.FormatInt(d.size, 10))
	h.Set("Accept-Ranges", "none")
	h.Set("Repr-Digest", reprDigest(d.digest[:]))
	h.Set(headerStore, a.opt.Store.ID())
	h.Set(headerKeyID, headerText(d.info.KeyID))
	h.Set(headerBucket, headerText(d.info.Bucket))
}

// reprDigest is the value of a Repr-Digest header (RFC 9530).
func reprDigest(sha256 []byte) string {
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sha256) + ":"
}

// headerText percent-encodes what a header can't have.
func headerText(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c > ' ' && c <= '~' && c != '%' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func (a *API) tempDir() string {
	if a.opt.TempDir == "" {
		return os.TempDir()
	}
	return a.opt.TempDir
}

// untilStopped is ctx, but ends at Stop too. cancel waits until nothing is left of it.
func (a *API) untilStopped(ctx context.Context) (_ context.Context, cancel func()) {
	ctx, end := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-a.stopped:
			end()
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		end()
		watch.Wait()
	}
}

// ending reads until ctx ends.
type ending struct {
	ctx context.Context //nolint:containedctx // a reader of one request
	r   io.Reader
}

func (e ending) Read(b []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.r.Read(b)
}
