package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"poller/order"
)

// RestoreReport says what was restored.
type RestoreReport struct {
	OldID, NewID string    // of the store that the backup was made of, and of the restored one
	KeyID        string    // of the key that seals the headers; "" if there are no sellers
	BackupAt     time.Time // when the backup was made; of a plain copy, the earliest that this can have been
	RestoredAt   time.Time
	Orders       map[order.State]int64 // every state is there
	Sellers      int64
	Events       int64  // kept
	LastEvent    uint64 // numbers go on after it
	Pending      int64  // webhook deliveries, which will be sent (again)
	Dead         int64  // ... that were set aside
	Damaged      int64  // records whose checksum or shape is wrong; they were taken over as they are
	Kept         string // where the database lies that was replaced; "": there was none
}

// Restore makes a database of a backup, or of a copy of a stopped daemon's file, at opts.Path. It is a new store,
// with a new id (SPEC §6): event numbers go on from the backup. from is not changed.
//
// A database that exists is replaced only if force is true, and is then kept beside, as the report says; one that is in
// use never is. All of from is checked, and what was written is read back, before anything is replaced; a kill, or an
// error, leaves the old database or the new one, whole. The key file is not part of a backup: if there are sellers,
// the one of that time must be at opts.KeyFile.
//
// Errors, each saying what to do: ErrExists, ErrInUse, ErrForeign, ErrNewer, ErrKey, order.ErrDamaged, order.ErrNoSpace.
func Restore(ctx context.Context, opts Options, from string, force bool) (report RestoreReport, err error) {
	defer func() {
		if err != nil {
			report, err = RestoreReport{}, fmt.Errorf("restore: %w", err)
		}
	}()
	if err := opts.fill(); err != nil {
		return report, err
	}
	if from, err = filepath.EvalSymlinks(from); err != nil {
		return report, err
	}
	old, err := lockTarget(&opts, from, force)
	if err != nil {
		return report, err
	}
	if old != nil {
		defer old.Close()
	}
	src, err := openBackup(from)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if err := MakeDir(filepath.Dir(opts.Path)); err != nil {
		return report, err
	}
	var temp string
	err = src.View(func(tx *bolt.Tx) (err error) {
		r := restorer{opts: &opts, tx: tx, report: &report}
		if err := r.look(from); err != nil {
			return err
		}
		temp, err = tempCopy(ctx, &opts, tx, "restore", r.keep, r.write)
		return err
	})
	if err != nil {
		return report, asNoSpace(err)
	}
	defer os.Remove(temp)
	if old == nil {
		return report, appear(temp, &opts)
	}
	report.Kept = opts.Path + ".before-restore-" + report.RestoredAt.UTC().Format("20060102T150405Z")
	return report, supplant(temp, old, report.Kept, &opts)
}

// lockTarget locks the database that is to be replaced; nil: there is none.
func lockTarget(o *Options, from string, force bool) (*os.File, error) {
	old, err := lockFile(o.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	switch source, e := os.Stat(from); {
	case e != nil:
		err = e
	case samePlaceAs(old, source):
		err = fmt.Errorf("%s is the database itself; name the backup", from)
	case !force:
		err = fmt.Errorf("%w: %s; give --force to replace it (it is kept beside, under another name)", ErrExists, o.Path)
	default:
		return old, nil
	}
	old.Close()
	return nil, err
}

func samePlaceAs(f *os.File, other fs.FileInfo) bool {
	info, err := f.Stat()
	return err == nil && os.SameFile(info, other)
}

// openBackup opens what is to be restored, once its head and all of its pages are sound.
func openBackup(from string) (*bolt.DB, error) {
	err := inspect(from)
	if err == nil {
		err = checkPages(from)
	}
	if err != nil {
		return nil, fmt.Errorf("%s can't be restored, and nothing was changed; take another backup: %w", from, err)
	}
	db, err := openReading(from)
	if err = inUse(from, err); errors.Is(err, ErrInUse) {
		return nil, fmt.Errorf("%w, or make a backup of it with `poller backup FILE`", err)
	}
	return db, err
}

// restorer makes the new store while its records are copied.
type restorer struct {
	opts   *Options
	tx     *bolt.Tx
	report *RestoreReport
	src    *Store // as much of a store as it takes to read the backup
}

// look reads whose backup it is, and checks the key, before anything is written.
func (r *restorer) look(from string) (err error) {
	p := r.report
	if p.OldID, err = readHead(r.tx, from); err != nil {
		return err
	}
	r.src = &Store{opts: *r.opts, log: r.opts.Log, id: p.OldID, ids: make(map[uint32]string)}
	if err := r.src.loadCounters(r.tx); err != nil {
		return fmt.Errorf("%s can't be restored, and nothing was changed; take another backup: %w", from, err)
	}
	p.LastEvent = r.src.mem.events
	p.RestoredAt = r.opts.Now()
	id := make([]byte, 16)
	rand.Read(id) // never fails
	p.NewID = hex.EncodeToString(id)
	p.Orders = make(map[order.State]int64, len(order.States))
	for _, st := range order.States {
		p.Orders[st] = 0
	}
	mark, marked := readBackupRecord(r.tx)
	p.BackupAt = mark.at
	if !marked {
		if p.BackupAt, err = r.copiedAt(from); err != nil {
			return err
		}
	}
	if k, _ := r.tx.Bucket(bSellers.name).Cursor().First(); k == nil {
		return nil // without sellers any key will do, a new one too
	}
	if err := r.openKey(); err != nil {
		return errors.Join(err, r.hint(mark.key))
	}
	p.KeyID = r.src.KeyID()
	return nil
}

// copiedAt returns when a plain copy was made at the earliest: the time of the newest thing in it, and not later than the file.
func (r *restorer) copiedAt(from string) (time.Time, error) {
	info, err := os.Stat(from)
	if err != nil {
		return time.Time{}, err
	}
	at := r.src.mem.cronAt
	if k, v := r.tx.Bucket(bEvents.name).Cursor().Last(); k != nil {
		if d, ok := open(bEvents.seed, k, v); ok {
			if ev, ok := decodeEvent(&d); ok && ev.At.After(at) {
				at = ev.At
			}
		}
	}
	if at.IsZero() || info.ModTime().Before(at) {
		at = info.ModTime()
	}
	return at, nil
}

// openKey checks that the key file is the one that the backup was made with.
func (r *restorer) openKey() (err error) {
	s := r.src
	s.key, err = readKeyFile(r.opts.KeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is missing, and the sellers' headers can't be read without it", ErrKey, r.opts.KeyFile)
	}
	if err != nil {
		return err
	}
	if _, err := s.keyFits(r.tx, true); err != nil {
		return err
	}
	// Where the record that tells is damaged the headers do.
	sealed, opened := 0, 0
	b := r.tx.Bucket(bSellers.name)
	err = b.ForEach(func(id, v []byte) error {
		if d, ok := open(bSellers.seed, id, v); ok {
			sealed++
			if _, ok := s.decodeSeller(string(id), &d); ok {
				opened++
			}
		}
		return nil
	})
	if err == nil && sealed > 0 && opened == 0 {
		err = fmt.Errorf("%w: %s opens none of the sellers' headers", ErrKey, r.opts.KeyFile)
	}
	r.report.Damaged += int64(sealed - opened)
	return err
}

// hint says which key file is needed.
func (r *restorer) hint(key string) error {
	if key == "" {
		return fmt.Errorf("nothing was changed; put the key file of the time of the backup at %s and restore again", r.opts.KeyFile)
	}
	return fmt.Errorf("nothing was changed; put the key file whose key id is %s at %s and restore again", key, r.opts.KeyFile)
}

// keep counts a record, and says whether it goes into the new store as it is.
func (r *restorer) keep(x *entry) bool {
	p := r.report
	ok := x.sound()
	switch x.kind {
	case bSellers:
		p.Sellers++
	case bEvents:
		p.Events++
	case bOutbox, bTried:
		p.Pending++
	case bDead:
		p.Dead++
	case bHot:
		p.Orders[order.StateProcessing]++
	case bEnded:
		if d, sound := open(bEnded.seed, x.key, x.value); sound {
			p.Orders[readEnum(&d, stateTable)]++
		}
	}
	if !ok {
		p.Damaged++
	}
	return !x.is(keyCheck) && !x.is(keyRestored)
}

// write adds what is new, and returns the head.
func (r *restorer) write(c *copier) (head []byte, err error) {
	p := r.report
	if p.Damaged > 0 {
		r.opts.Log.Error("damaged records were restored as they are", zap.Int64("records", p.Damaged))
	}
	// A restored database may have been restored from in its turn: what is kept for the sake of the first is kept on.
	was, _ := readRestored(r.tx)
	now := restored{backupAt: p.BackupAt, at: p.RestoredAt}
	if !was.at.IsZero() && was.backupAt.Before(now.backupAt) {
		now.backupAt = was.backupAt
	}
	if err := c.add(bMeta.name, keyRestored, now.encode()); err != nil {
		return nil, err
	}
	if r.src.key != nil {
		check, err := sealID(r.src.key, p.NewID)
		if err != nil {
			return nil, err
		}
		if err := c.add(bMeta.name, keyCheck, check); err != nil {
			return nil, err
		}
	}
	return renamedHead(r.tx, p.NewID), nil
}
