package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func (p *program) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Write a copy of the database, while the daemon runs", Args: cobra.ExactArgs(1),
		Long: `Write a consistent copy of the database into a new file, while the daemon runs;
- is standard output. Nothing is overwritten: the copy is written to FILE.partial,
compared with the digest that the daemon gives, synced, and only then gets its
name.

Two things belong to a backup and are not in it; the end of the output names
them. Without the key file the sellers' headers in the copy can't be read: keep a
copy of it too, and not beside this one. The result files are where
results.bucket says.`,
		Example: examples(
			`poller backup /backup/poller-$(date +%F).db`,
			`poller backup - | age -r age1... > poller.db.age`,
		),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "-" {
				return p.backupToStdout(cmd.Context())
			}
			b, err := p.backupTo(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if p.jsonOutput() {
				return p.printJSON(b)
			}
			return p.printBackup(b)
		},
	}
}

// A backup is a copy of the database that was received whole.
type backup struct {
	File   string `json:"file"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	Store  string `json:"store"`
	KeyID  string `json:"key_id"` // of the key file that belongs to it
	Bucket string `json:"bucket"` // where its result files are
}

func (p *program) printBackup(b backup) error {
	return p.printFields(
		"backup", b.File, "size", humanBytes(b.Bytes), "sha256", b.SHA256, "store", b.Store,
		"not in it: key", joined(", ", b.KeyID, "in secrets.key_file; without it the sellers' headers can't be read"),
		"not in it: results", b.Bucket,
	)
}

// backupToStdout writes the copy to standard output, and what there is to say to standard error.
func (p *program) backupToStdout(ctx context.Context) error {
	switch {
	case p.jsonOutput():
		return usagef("with - the copy itself goes to standard output: there is no -o json")
	case isTerminal(p.stdout):
		return usagef("a database does not go to a terminal: want FILE, or - with a pipe")
	}
	b, err := p.receiveBackup(ctx, p.stdout)
	if err != nil {
		return err
	}
	aside := *p
	aside.stdout = p.stderr
	return aside.printBackup(b)
}

// backupTo writes the copy into a new file. After an error nothing is left.
func (p *program) backupTo(ctx context.Context, file string) (_ backup, err error) {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return backup{}, errors.Join(fmt.Errorf("%s exists, and a backup overwrites nothing", file), err)
	}
	partial := file + ".partial"
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return backup{}, fmt.Errorf("%s exists: another backup is being written there, or one was killed; then delete it", partial)
	}
	if err != nil {
		return backup{}, err
	}
	defer func() {
		if e := os.Remove(partial); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	b, err := p.receiveBackup(ctx, f)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return b, err
	}
	b.File = file
	return b, giveName(partial, file)
}

// giveName gives a complete file its name, which must be free, durably. The old name may stay.
func giveName(from, to string) error {
	err := os.Link(from, to) // unlike a rename it fails if the name was taken meanwhile
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(from, to) // a file system without links
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

// receiveBackup writes the daemon's copy to w. It fails unless all of it came as its digest says.
func (p *program) receiveBackup(ctx context.Context, w io.Writer) (b backup, err error) {
	c, err := p.client()
	if err != nil {
		return b, err
	}
	// The digest is of the bytes as they are: nobody on the way may compress them.
	resp, err := c.send(ctx, http.MethodGet, "/v1/backup", http.Header{"Accept-Encoding": {"identity"}}, nil)
	if err != nil {
		return b, err
	}
	defer resp.Body.Close() // only read
	want, err := reprSHA256(resp.Header.Get("Repr-Digest"))
	if err != nil {
		return b, fmt.Errorf("%s: %w", c.where, err)
	}
	body, done := p.withBar(ctx, "receiving", resp.Body, resp.ContentLength)
	digest := sha256.New()
	b.Bytes, err = io.Copy(io.MultiWriter(w, digest), body)
	done()
	if err != nil {
		return b, fmt.Errorf("the backup broke off: %w", err)
	}
	if b.SHA256 = hex.EncodeToString(digest.Sum(nil)); b.SHA256 != want {
		return b, fmt.Errorf("what came has SHA-256 %s, but %s says %s: it was changed on the way", b.SHA256, c.where, want)
	}
	b.Store = resp.Header.Get("X-Poller-Store")
	for name, to := range map[string]*string{"X-Poller-Key-Id": &b.KeyID, "X-Poller-Bucket": &b.Bucket} {
		if *to, err = url.PathUnescape(resp.Header.Get(name)); err != nil {
			return b, fmt.Errorf("%s: %s: %w", c.where, name, err)
		}
	}
	return b, nil
}

// reprSHA256 reads the SHA-256 of a Repr-Digest header (RFC 9530), in hex.
func reprSHA256(header string) (string, error) {
	for d := range strings.SplitSeq(header, ",") {
		encoded, ok := strings.CutPrefix(strings.TrimSpace(d), "sha-256=:")
		if !ok {
			continue
		}
		sum, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(encoded, ":"))
		if err == nil && len(sum) == sha256.Size {
			return hex.EncodeToString(sum), nil
		}
	}
	return "", errors.New("the answer has no SHA-256 (Repr-Digest): is it poller that answers?")
}
