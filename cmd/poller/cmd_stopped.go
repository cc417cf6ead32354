package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"poller/store"
)

// stoppedStore says where the store of the daemon is, for the commands that
// need the daemon stopped. What they find wrong with single records is logged to standard error.
func (p *program) stoppedStore() (*Config, store.Options, error) {
	c, err := loadConfig(p.configFile, p.env)
	if err != nil {
		return nil, store.Options{}, err
	}
	if err := harden(); err != nil {
		return nil, store.Options{}, err
	}
	terse := *c
	terse.Log.Level, terse.Log.Format = "warn", "console"
	log := newLogger(p.stderr)
	log.set(&terse)
	return c, store.Options{
		Path: c.Store.BBolt, KeyFile: c.Secrets.KeyFile, DataDir: c.DataDir,
		Log: log.Named("store"), Now: time.Now,
	}, nil
}

func (p *program) compactCommand() *cobra.Command {
	return &cobra.Command{
		Use: "compact", Short: "Make the database file as small as it can be; the daemon must be stopped", Args: cobra.NoArgs,
		Long: `Replace the database file by a copy of its live records. The daemon must be
stopped. It takes the space of a second database meanwhile; a kill, or an error,
leaves the old file or the new one, whole.

What was deleted stays in the free pages of the file until they are used again:
after an order was erased, or the key was rotated, this is what removes it.`,
		Example: examples("systemctl stop poller && poller compact && systemctl start poller"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, opts, err := p.stoppedStore()
			if err != nil {
				return err
			}
			before, after, err := store.Compact(cmd.Context(), opts)
			if err != nil {
				return err
			}
			if p.jsonOutput() {
				return p.printJSON(map[string]any{"database": opts.Path, "before": before, "after": after})
			}
			_, err = fmt.Fprintf(p.stdout, "%s: %s, was %s\n", printable(opts.Path), humanBytes(after), humanBytes(before))
			return err
		},
	}
}

func (p *program) rotateKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rotate-key", Short: "Seal the sellers' headers with a new key; the daemon must be stopped", Args: cobra.NoArgs,
		Long: `Seal the sellers' headers with a new key, and put it into secrets.key_file in
the place of the old one. The daemon must be stopped. A kill, or an error, does
no harm: the old key stays until nothing needs it; give the command again.

Backups made before need the old key, so the key file of before is kept beside
under another name. Move it to where those backups are safe from, and delete it
when they are gone. "poller compact" removes what the old key sealed from the
database file's free space.`,
		Example: examples("systemctl stop poller && poller rotate-key && poller compact && systemctl start poller"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, opts, err := p.stoppedStore()
			if err != nil {
				return err
			}
			kept, err := rotateKey(cmd.Context(), opts)
			if err != nil {
				return err
			}
			if p.jsonOutput() {
				return p.printJSON(map[string]string{"key_file": opts.KeyFile, "kept": kept})
			}
			return p.printFields(
				"new key", opts.KeyFile+"; back it up",
				"old key", kept+"; backups made before need it",
				"free space", `"poller compact" removes what the old key sealed from the database file`,
			)
		},
	}
}

// rotateKey rotates the key and returns where the key file of before is kept.
// After an error it is kept only if the key file is another one by now.
func rotateKey(ctx context.Context, opts store.Options) (kept string, err error) {
	file, err := filepath.EvalSymlinks(opts.KeyFile)
	if err != nil {
		return "", fmt.Errorf("secrets.key_file: %w", err)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("secrets.key_file: %w", err)
	}
	kept = file + ".before-rotate-" + opts.Now().UTC().Format("20060102T150405Z")
	if err := writeNew(kept, before); err != nil {
		return "", fmt.Errorf("the old key file could not be kept, nothing was changed: %w", err)
	}
	if err = store.RotateKey(ctx, opts); err == nil {
		return kept, nil
	}
	if now, e := os.ReadFile(file); e == nil && bytes.Equal(now, before) {
		return "", errors.Join(err, os.Remove(kept))
	}
	return "", fmt.Errorf("%w\nthe key file of before is kept as %s", err, kept)
}

// writeNew writes a file that must not exist yet, for its owner alone, durably.
func writeNew(file string, content []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = syncDir(filepath.Dir(file))
	}
	if err != nil {
		if e := os.Remove(file); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) {
		err = nil // the file system has no such thing
	}
	return errors.Join(err, d.Close())
}
