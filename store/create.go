package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"go.uber.org/zap"
)

// On-disk format of the whole store, and the first version of poller that reads it.
const (
	format      = 1
	formatSince = "0.1"
)

// lockWait is how long Open waits for another daemon to let go of the file.
const lockWait = 3 * time.Second

// openFile opens the database, and makes it first if this is a first start
// (GUARANTEES, G8). The database comes before the key.
func openFile(o *Options) (*bolt.DB, error) {
	err := inspect(o.Path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = mayCreate(o); err == nil {
			err = create(o)
		}
		if err == nil {
			o.Log.Info("new database made", zap.String("path", o.Path))
		}
	}
	if err != nil {
		return nil, err
	}
	if err := checkUnused(o.Path); err != nil {
		return nil, err
	}
	db, err := openBolt(o.Path, o)
	return db, inUse(o.Path, err)
}

// checkUnused checks the pages of the file while no daemon has it.
func checkUnused(path string) error {
	// Opened for reading, bbolt takes the lock and looks at nothing but the head.
	reading, err := openReading(path)
	if err != nil {
		return inUse(path, err)
	}
	return errors.Join(checkPages(path), reading.Close())
}

func inUse(path string, err error) error {
	if errors.Is(err, bolterrors.ErrTimeout) {
		return errInUse(path)
	}
	return err
}

func errInUse(path string) error {
	return fmt.Errorf("%w: another daemon uses %s; stop it first", ErrInUse, path)
}

// mayCreate says no, and why, unless this is a first start.
func mayCreate(o *Options) error {
	if o.Create {
		return nil
	}
	if found, err := exists(o.KeyFile); err != nil {
		return err
	} else if found {
		return fmt.Errorf("%w: there is no %s, but the key file %s exists: restore the database from a backup, or remove the key file to begin anew",
			ErrMissing, o.Path, o.KeyFile)
	}
	for _, dir := range []string{o.DataDir, filepath.Dir(o.Path)} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if e.Name() == "lost+found" || isTemp(e.Name()) || e.Name() == filepath.Base(o.Path)+reserveSuffix {
				continue
			}
			return fmt.Errorf("%w: there is no %s, and %w (%s holds %q): restore the database from a backup, or begin in an empty folder",
				ErrMissing, o.Path, errNotFirst, dir, e.Name())
		}
	}
	return nil
}

func isTemp(name string) bool {
	return strings.HasPrefix(name, strings.TrimSuffix(tempPattern, "*"))
}

// create makes a database under another name and gives it its own when it is
// complete, so that a kill leaves a whole one or none.
func create(o *Options) error {
	dir := filepath.Dir(o.Path)
	if err := MakeDir(dir); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, tempPattern)
	if err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	temp.Close()
	defer os.Remove(temp.Name())
	db, err := openBolt(temp.Name(), o)
	if err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	id := make([]byte, 16)
	rand.Read(id) // never fails
	err = db.Update(func(tx *bolt.Tx) error {
		for _, b := range buckets {
			if _, err := tx.CreateBucket(b.name); err != nil {
				return err
			}
		}
		head := encodeHead(format, formatSince, hex.EncodeToString(id))
		return tx.Bucket(bMeta.name).Put(keyFormat, head.seal(bMeta.seed, keyFormat))
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	// If another first start was quicker, its database is as good as ours.
	if err := publish(temp.Name(), o.Path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make database: %w", err)
	}
	return nil
}

// encodeHead says what the file is. Its layout is the one thing that no format may change.
func encodeHead(format uint64, since, id string) encoder {
	e := newEncoder(64)
	e.uint(format)
	e.string(since)
	e.string(id)
	return e
}

// renamedHead returns the head of tx with another id.
func renamedHead(tx *bolt.Tx, id string) []byte {
	d, _ := open(bMeta.seed, keyFormat, tx.Bucket(bMeta.name).Get(keyFormat))
	e := encodeHead(d.uint(), d.string(), id)
	return e.seal(bMeta.seed, keyFormat)
}

// readHead checks that the file is ours and of a format that we know, and returns the store's id.
func readHead(tx *bolt.Tx, path string) (string, error) {
	meta := tx.Bucket(bMeta.name)
	if meta == nil {
		return "", fmt.Errorf("%w: %s is another program's", ErrForeign, path)
	}
	d, ok := open(bMeta.seed, keyFormat, meta.Get(keyFormat))
	if !ok {
		return "", fmt.Errorf("%w: the first record of %s is missing or damaged; restore it from a backup", ErrForeign, path)
	}
	is, since, id := d.uint(), d.string(), d.string()
	if is > format {
		return "", fmt.Errorf("%w: %s has format %d, which needs poller %s or later", ErrNewer, path, is, since)
	}
	if id == "" || is == 0 {
		return "", fmt.Errorf("%w: the first record of %s says nothing; restore it from a backup", ErrForeign, path)
	}
	for _, b := range buckets {
		if tx.Bucket(b.name) == nil {
			return "", fmt.Errorf("%w: %s lacks %q; restore it from a backup", ErrForeign, path, b.name)
		}
	}
	return id, nil
}
