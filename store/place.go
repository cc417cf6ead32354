package store

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// replace gives a complete, synced file the name of the database, whose file the caller has locked. A lock belongs to
// a file and not to its name, so both files are locked until the new name is on disk:
//
//   - A daemon that opened the old file before the rename and waits for its lock gets it when we are done, finds
//     that the name means another file by then (samePlace), and gives up.
//   - A daemon that opens the new file waits until the folder is synced. Else it might acknowledge
//     writes into a file that a power cut takes the name from.
func replace(temp, path string, h *hooks) error {
	lock, err := lockFile(temp)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	if err := h.reached("renamed"); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%s is new, but its folder could not be synced: do it again before the daemon starts, or a power cut may bring the old file back: %w", path, err)
	}
	return nil
}

// appear puts a new database where there is none.
func appear(temp string, o *Options) error {
	lock, err := lockFile(temp) // see replace
	if err != nil {
		return err
	}
	defer lock.Close()
	err = publish(temp, o.Path)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s appeared meanwhile; stop what made it", ErrExists, o.Path)
	}
	return cmp.Or(err, o.hooks.reached("placed"))
}

// supplant puts a new database in the place of the old one, which is locked and gets a second name first: so there
// is always one at the path.
func supplant(temp string, old *os.File, kept string, o *Options) error {
	if err := keepBeside(o.Path, kept); err != nil {
		return fmt.Errorf("nothing was changed: the database that is there could not be kept as %s: %w", kept, err)
	}
	err := o.hooks.reached("kept")
	if err == nil {
		err = replace(temp, o.Path, &o.hooks)
	}
	if err != nil && samePlace(old, o.Path) == nil {
		return errors.Join(fmt.Errorf("nothing was changed: %w", err), os.Remove(kept))
	}
	if err != nil {
		return fmt.Errorf("the restored database is in its place, the one before is %s: %w", kept, err)
	}
	return o.hooks.reached("placed")
}

// keepBeside gives a file a second name, which must be free, durably. Where the file system has no links it is copied.
func keepBeside(path, kept string) error {
	err := os.Link(path, kept)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = copyWhole(path, kept)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(kept))
}

// copyWhole copies a file into a new one, synced; after an error there is none.
func copyWhole(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	if err = errors.Join(err, w.Sync(), w.Close()); err == nil {
		err = sameOwner(to, from)
	}
	if err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}
