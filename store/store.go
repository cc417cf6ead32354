package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"poller/order"
)

// Options say where the store is. Path and KeyFile are needed.
type Options struct {
	Path    string // of the database file
	KeyFile string // encrypts the sellers' headers
	// DataDir must be empty for a first start, as must the folder of Path. Default: the folder of Path.
	DataDir string
	// Create makes a new database although this is no first start: an operator's explicit
	// command. It never replaces one that exists.
	Create bool

	// WebhookEvents are the types of ends that the webhook is told of; see SetWebhookEvents.
	WebhookEvents []order.EventType
	// ObserveCommit, if not nil, is told how long each commit took, successful or not. It must not block.
	ObserveCommit func(time.Duration)
	// ObserveEnd, if not nil, is told of each transition once it is durable. It must not block or change the order.
	ObserveEnd func(*order.Order)

	// MapSize is how much address space, in bytes, is set aside for the file: as long as the file is smaller no
	// commit waits for readers, a backup among them. It is neither memory nor disk, though VmSize shows it. Default: 64 GiB
	// or twice the file, whichever is more (64 MiB on 32 bits); less if the system refuses that.
	MapSize int
	Log     *zap.Logger      // default: none
	Now     func() time.Time // default: time.Now; only Expire, TrimEvents, Backup and Restore ask

	hooks hooks
}

func (o *Options) fill() error {
	if o.Path == "" || o.KeyFile == "" {
		return errors.New("store: Path and KeyFile are needed")
	}
	if o.DataDir == "" {
		o.DataDir = filepath.Dir(o.Path)
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// Store is an open store. All methods may be called at the same time from any
// goroutine, but for Close, which must come last.
//
// Errors: what a method's comment names; context errors if ctx is done before
// the work began (a write that began is waited for); order.ErrNoSpace if the disk
// refused the write, which then did not happen; order.ErrBroken from the moment
// Failed is closed.
type Store struct {
	opts Options
	log  *zap.Logger
	db   *bolt.DB
	id   string
	key  *headerKey

	// commit is (*bolt.Tx).Commit; tests put a fault there.
	commit func(*bolt.Tx) error

	// durable is the number of the newest transaction that is synced. A commit
	// becomes visible in bbolt a moment before its sync; view keeps such a one
	// from being seen. committing is held meanwhile.
	durable    atomic.Uint64
	committing sync.RWMutex

	requests chan *request
	closing  chan struct{}
	stopped  sync.WaitGroup

	restored restored
	reserve  *reserve

	failed  chan struct{}
	stuck   atomic.Bool // bbolt panicked in a commit and still holds its locks
	failure atomic.Pointer[error]

	webhook atomic.Pointer[map[order.EventType]bool]
	size    atomic.Int64
	damage  damage

	mu     sync.RWMutex
	mem    memory            // as of the newest commit
	ids    map[uint32]string // seller number -> id, deleted ones included
	events chan struct{}     // closed at the next commit that adds an event
	queued chan struct{}     // ... that queues a delivery
}

// Open opens the store, and makes it if this is a first start. Errors:
// ErrInUse, ErrMissing, ErrForeign, ErrNewer, ErrKey, ErrBackup, each saying what to do, or what the system says.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if err := opts.fill(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	db, err := openFile(&opts)
	if err != nil {
		return nil, err
	}
	s := &Store{
		opts: opts, log: opts.Log, db: db, commit: (*bolt.Tx).Commit,
		requests: make(chan *request, maxGroup), closing: make(chan struct{}), failed: make(chan struct{}),
		ids: make(map[uint32]string), events: make(chan struct{}), queued: make(chan struct{}),
	}
	s.SetWebhookEvents(opts.WebhookEvents)
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// start reads what is kept in memory, checks the key, and starts the writer.
func (s *Store) start(ctx context.Context) error {
	sellers := false
	err := s.db.View(func(tx *bolt.Tx) (err error) {
		if s.id, err = readHead(tx, s.opts.Path); err != nil {
			return err
		}
		if err := refuseBackup(tx, s.opts.Path); err != nil {
			return err
		}
		s.loadRestored(tx)
		k, _ := tx.Bucket(bSellers.name).Cursor().First()
		sellers = k != nil
		return s.load(ctx, tx)
	})
	if err != nil {
		return err
	}
	if err := s.openKey(sellers); err != nil {
		return err
	}
	err = s.db.View(func(tx *bolt.Tx) error {
		s.durable.Store(uint64(tx.ID()))
		s.size.Store(tx.Size())
		return nil
	})
	if err != nil {
		return err
	}
	s.removeLeftovers()
	s.reserve = newReserve(&s.opts)
	s.stopped.Go(s.write)
	return nil
}

// openKey opens the key file, makes one if there are no sellers yet, and
// checks that it is the one that this database was used with.
func (s *Store) openKey(sellers bool) (err error) {
	path := s.opts.KeyFile
	s.key, err = readKeyFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && sellers:
		return fmt.Errorf("%w: %s is missing, and the sellers' headers can't be read without it; put it back", ErrKey, path)
	case errors.Is(err, fs.ErrNotExist):
		s.key, err = makeKeyFile(path)
	}
	if err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		s.log.Warn("others may read the key file; chmod 600 it", zap.String("path", path))
	}
	fits := false
	err = s.db.View(func(tx *bolt.Tx) (err error) {
		fits, err = s.keyFits(tx, sellers)
		return err
	})
	if err != nil || fits {
		return err
	}
	return s.db.Update(s.rememberKey)
}

// keyFits reports whether the key is the one that the database remembers. One
// that is not will do as long as nothing is sealed with another.
func (s *Store) keyFits(tx *bolt.Tx, sellers bool) (bool, error) {
	d, ok := open(bMeta.seed, keyCheck, tx.Bucket(bMeta.name).Get(keyCheck))
	if !ok {
		return sellers, nil // a damaged record: the headers themselves will tell
	}
	_, err := s.key.Decrypt([]byte(d.string()), headerContext(s.id, ""))
	if err != nil && sellers {
		return false, fmt.Errorf("%w: %s is another database's key; put the right one back", ErrKey, s.opts.KeyFile)
	}
	return err == nil, nil
}

// rememberKey seals the store's id with the key, so that another key is known at the next start.
func (s *Store) rememberKey(tx *bolt.Tx) error {
	check, err := sealID(s.key, s.id)
	if err != nil {
		return err
	}
	return tx.Bucket(bMeta.name).Put(keyCheck, check)
}

// removeLeftovers removes what a crash in a first start left. We hold the lock.
func (s *Store) removeLeftovers() {
	for _, dir := range []string{filepath.Dir(s.opts.Path), filepath.Dir(s.opts.KeyFile)} {
		left, _ := filepath.Glob(filepath.Join(dir, tempPattern))
		for _, f := range left {
			_ = os.Remove(f)
		}
	}
}

// Close waits for the writes that have begun, refuses the others, and closes
// the file. No other method may be called after it.
func (s *Store) Close() error {
	close(s.closing)
	s.stopped.Wait()
	if s.stuck.Load() {
		return s.Err() // closing would wait for ever; the process is about to end
	}
	return s.db.Close()
}

// ID returns the store's id: random, made at creation, the same ever after.
func (s *Store) ID() string { return s.id }

// Failed is closed when nothing can be written any more: a sync failed, and it
// is not known what is on disk (GUARANTEES, G6). The process must exit, and read again at its next start.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err returns why Failed was closed (order.ErrBroken), or nil.
func (s *Store) Err() error {
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// Size returns the size of the database in bytes.
func (s *Store) Size() int64 { return s.size.Load() }

// SetWebhookEvents sets the types of ends (order.EndEvents) of which a delivery is queued from now on; other types say nothing.
func (s *Store) SetWebhookEvents(types []order.EventType) {
	m := make(map[order.EventType]bool, len(types))
	for _, t := range types {
		m[t] = true
	}
	s.webhook.Store(&m)
}

// view runs fn in a read transaction of what is synced. Whatever fn keeps it must copy.
func (s *Store) view(ctx context.Context, fn func(*bolt.Tx) error) error {
	tx, err := s.beginRead(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // of a read: never fails
	return fn(tx)
}

// beginRead begins a read transaction of what is synced.
func (s *Store) beginRead(ctx context.Context) (*bolt.Tx, error) {
	for {
		if err := errors.Join(ctx.Err(), s.Err()); err != nil {
			return nil, err
		}
		tx, err := s.db.Begin(false)
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		if uint64(tx.ID()) <= s.durable.Load() {
			return tx, nil
		}
		_ = tx.Rollback()
		// A commit is between its last write and its sync.
		s.committing.RLock()
		s.committing.RUnlock() //nolint:staticcheck,gocritic // only waits
	}
}
