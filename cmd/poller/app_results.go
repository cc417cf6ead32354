package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"poller/api"
	"poller/fetcher"
	"poller/order"
	"poller/results"
	"poller/store"
)

// resultStore is where the files of results are, a folder or a bucket, as every room wants to see it.
type resultStore interface {
	fetcher.Files
	api.Files
	keptFiles
	// Created reports whether nothing was there before.
	Created() bool
	// Mark gives it to the database with that id.
	Mark(ctx context.Context, storeID string) error
	Close() error
}

type folder struct{ *results.Dir }

// Create implements fetcher.Files.
func (f folder) Create(ctx context.Context, remoteID string) (fetcher.FileWriter, error) {
	w, err := f.Dir.Create(ctx, remoteID)
	if err != nil {
		return nil, err
	}
	return w, nil
}

type bucket struct{ *results.S3 }

// Create implements fetcher.Files.
func (b bucket) Create(ctx context.Context, remoteID string) (fetcher.FileWriter, error) {
	w, err := b.S3.Create(ctx, remoteID)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// openResults opens results.bucket as that of the database with this id.
func openResults(ctx context.Context, c *Config, storeID string, env func(string) (string, bool)) (resultStore, error) {
	if dir := c.resultsDir(); dir != "" {
		d, err := results.OpenDir(dir, storeID)
		if err != nil {
			return nil, err
		}
		return folder{d}, nil
	}
	opt, err := results.ParseS3(c.Results.Bucket)
	if err != nil {
		return nil, err
	}
	opt.Keys, err = results.ReadS3Keys(func(name string) string { value, _ := env(name); return value })
	if err != nil {
		return nil, err
	}
	if opt.RootCAs, err = rootCAs(c.Fetch.CAFile); err != nil {
		return nil, err
	}
	opt.SpoolDir = filepath.Join(c.DataDir, "spool")
	if err := os.MkdirAll(opt.SpoolDir, 0o700); err != nil {
		return nil, err
	}
	s, err := results.OpenS3(ctx, opt, storeID)
	if err != nil {
		return nil, err
	}
	return bucket{s}, nil
}

// wholeUploads is a result store in which an upload is there only when it has the size that it was prepared with: some
// S3 servers keep what came of a PUT that was cut off.
type wholeUploads struct {
	resultStore
	slots results.Slots
}

// Stat implements fetcher.Files. Part of an upload is removed, so that its URL can be used again.
func (w wholeUploads) Stat(ctx context.Context, key string) (size int64, sha256 string, err error) {
	size, sha256, err = w.resultStore.Stat(ctx, key)
	if err != nil {
		return 0, "", err
	}
	_, prepared, err := w.slots.Upload(ctx, key)
	switch {
	case errors.Is(err, order.ErrNotFound), errors.Is(err, order.ErrEnded), err == nil && size == prepared:
		return size, sha256, nil
	case err != nil:
		return 0, "", err
	}
	if err := w.Remove(ctx, key); err != nil {
		return 0, "", err
	}
	return 0, "", fmt.Errorf("%w: the upload has %d of %d bytes", order.ErrNotFound, size, prepared)
}

// uploads prepares uploads of result files (SPEC §6).
type uploads struct {
	store  *store.Store
	config func() *Config
	sign   func(ctx context.Context, key string, size int64, mimeType string) (url string, headers map[string]string, err error)
}

// Prepare implements api.Uploads. The key is the order's, durably, before the URL is given out.
func (u *uploads) Prepare(ctx context.Context, o order.Order, filename, mimeType string, size int64) (api.Upload, error) {
	c := u.config()
	if _, kept := u.store.SellerUsage(o.Ref.Seller); size > int64(c.Results.MaxPerSeller)-kept {
		return api.Upload{}, fmt.Errorf("%w: the seller's kept results are at their limit (results.max_per_seller)", order.ErrConflict)
	}
	key := results.NewUploadKey(o.RemoteID, filename, mimeType)
	if _, err := u.store.AddUpload(ctx, o.ID, key, size, int64(c.Results.MaxPerOrder)); err != nil {
		return api.Upload{}, err
	}
	url, headers, err := u.sign(ctx, key, size, mimeType)
	if err != nil {
		return api.Upload{}, err
	}
	return api.Upload{
		ObjectKey: key, UploadURL: url, Headers: headers,
		ExpiresIn: int64(results.UploadExpiry / time.Second), MaxBytes: results.MaxUpload,
	}, nil
}

// openUploads makes what prepares uploads and, for a folder, what takes them; without uploads.listen there is neither.
func (a *app) openUploads() error {
	c := a.started
	u := &uploads{store: a.store, config: a.live.Load}
	switch files := a.files.(type) {
	case bucket:
		u.sign = func(ctx context.Context, key string, size int64, mimeType string) (string, map[string]string, error) {
			return files.PresignPut(ctx, key, size, mimeType, results.UploadExpiry)
		}
	case folder:
		if c.Uploads.Listen == "" {
			return nil
		}
		key, err := uploadKey(filepath.Join(c.DataDir, "uploads.key"))
		if err != nil {
			return err
		}
		a.uploadTaker = results.NewUploads(results.UploadOptions{
			Dir: files.Dir, Key: key, PublicURL: func() string { return c.Uploads.PublicURL },
			Slots: a.store, Enough: a.enough, Now: a.now, Log: a.log.Named("uploads"),
		})
		u.sign = func(_ context.Context, key string, size int64, mimeType string) (string, map[string]string, error) {
			return a.uploadTaker.Sign(key, size, mimeType, a.now())
		}
	}
	a.uploads = u
	return nil
}

// uploadKey returns the key that signs upload URLs, and makes it if there is none: with a new one, URLs given out
// before are void, and nothing else is lost.
func uploadKey(file string) ([]byte, error) {
	const size = 32
	key, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, size)
		_, _ = io.ReadFull(rand.Reader, key) // never fails
		err = writeSecret(file, key)
	}
	if err != nil {
		return nil, fmt.Errorf("key for upload URLs: %w", err)
	}
	if len(key) != size {
		return nil, fmt.Errorf("key for upload URLs: %s is damaged; delete it to have one made", file)
	}
	return key, nil
}

// markResults gives the result store to a restored database: its mark, which is
// that of the database that was backed up (oldID), becomes newID. force: or that
// of any other. created: the result store was empty.
func markResults(ctx context.Context, c *Config, oldID, newID string, force bool, env func(string) (string, bool)) (created bool, err error) {
	files, err := openResults(ctx, c, oldID, env)
	if other := (*results.OwnerError)(nil); force && errors.As(err, &other) {
		files, err = openResults(ctx, c, other.Owner, env)
	}
	if err != nil {
		return false, fmt.Errorf("results.bucket: %w", err)
	}
	if err := errors.Join(files.Mark(ctx, newID), files.Close()); err != nil {
		return false, fmt.Errorf("results.bucket: %w", err)
	}
	return files.Created(), giveMarked(c, files.Created())
}

// giveMarked gives what marking made as root to the daemon, which is not root: whose the folder of the database is.
func giveMarked(c *Config, created bool) error {
	dir := c.resultsDir()
	if dir == "" {
		return giveTo(filepath.Join(c.DataDir, "spool"), c.DataDir)
	}
	if created {
		if err := giveTo(dir, filepath.Dir(c.Store.BBolt)); err != nil {
			return err
		}
	}
	return giveTo(filepath.Join(dir, results.MarkFile), dir)
}

// giveTo gives a file that root made for a daemon which is not root to the owner of another one.
func giveTo(path, like string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return os.Lchown(path, int(s.Uid), int(s.Gid))
}
