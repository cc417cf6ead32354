package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"poller/api"
	"poller/fetcher"
	"poller/metrics"
	"poller/order"
	"poller/outbox"
	"poller/results"
	"poller/scheduler"
	"poller/store"
)

// An app is the daemon as a value: open it on :0, run it, poke it, stop it.
type app struct {
	file    string // of the configuration, "" for none: reload fails
	env     func(string) (string, bool)
	started *Config                // what cannot change while running is as it was here
	live    atomic.Pointer[Config] // what can is as it is here

	log       *logger
	now       func() time.Time
	world     outside
	openFiles int

	store     *store.Store
	files     resultStore
	fetcher   *fetcher.Client
	scheduler *scheduler.Scheduler
	outbox    *outbox.Outbox
	api       *api.API
	metrics   *metrics.Metrics
	dataDisk  *disk
	fileDisk  *disk // that of the result folder; the same with results in S3

	uploads     *uploads         // nil: there are none
	uploadTaker *results.Uploads // nil: poller itself takes none

	tokens atomic.Pointer[[][32]byte]
	cert   atomic.Pointer[tls.Certificate]

	apiListener, metricsListener, uploadListener net.Listener // the last may be nil
	apiServer, metricsServer, uploadServer       *http.Server
	// handlers is held for reading by every request: the store may be closed once it can be taken.
	handlers sync.RWMutex
	ready    atomic.Bool

	reloading sync.Mutex
}

// openApp opens the store and the result folder, builds every part and listens;
// nothing is served or polled before run. The caller calls run or close. Errors
// say what to do (store.ErrInUse and the like).
func openApp(ctx context.Context, c *Config, file string, env func(string) (string, bool), log *logger) (*app, error) {
	return openAppIn(ctx, outside{now: time.Now}, c, file, env, log)
}

// outside is what the daemon has of the world around it. Tests put a world of their own in its place.
type outside struct {
	now func() time.Time // the wall clock
	// sellers are polled instead of those that the network leads to; files is where they bring results. nil: the network.
	sellers func(files fetcher.Files) scheduler.Fetcher
	// dial leads to the platform; nil: the network.
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// openAppIn is openApp in a world.
func openAppIn(ctx context.Context, world outside, c *Config, file string, env func(string) (string, bool), log *logger) (_ *app, err error) {
	a := &app{file: file, env: env, started: c, log: log, now: world.now, world: world}
	a.live.Store(c)
	log.set(c)
	if a.openFiles, err = raiseFiles(); err != nil {
		return nil, err
	}
	if err := checkFiles(a.openFiles, c.Fetch.Workers); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	registry := prometheus.NewPedanticRegistry()
	a.metrics = metrics.New(registry)
	if err := a.openData(ctx); err != nil {
		return nil, err
	}
	if err := a.build(); err != nil {
		return nil, err
	}
	a.metrics.Watch(metrics.Source{
		Orders: a.store.Counts, Held: a.store.Held, Bytes: a.store.Size, Damaged: a.store.Damaged,
		DiskFree: a.disks(),
		Outbox:   a.store.OutboxCounts, OutboxOldest: a.store.OutboxOldest, Now: a.now,
		Version: version, GoVersion: runtime.Version(),
	})
	if err := a.listen(ctx, registry); err != nil {
		return nil, err
	}
	return a, nil
}

// openData opens what is kept on disk. The database comes first: a kill in a
// first start then leaves nothing to repair (GUARANTEES, G8).
func (a *app) openData(ctx context.Context) (err error) {
	c := a.started
	if err := store.MakeDir(c.DataDir); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	a.store, err = store.Open(ctx, store.Options{
		Path: c.Store.BBolt, KeyFile: c.Secrets.KeyFile, DataDir: c.DataDir,
		ObserveCommit: func(d time.Duration) { a.metrics.CommitDuration.Observe(d.Seconds()) },
		ObserveEnd:    a.metrics.Ended,
		WebhookEvents: webhookEvents(c),
		Log:           a.log.Named("store"), Now: a.now,
	})
	if err != nil {
		return err
	}
	a.files, err = openResults(ctx, c, a.store.ID(), a.env)
	if _, restoredAt := a.store.Restored(); errors.Is(err, results.ErrForeign) && !restoredAt.IsZero() {
		err = fmt.Errorf("%w; if it is that of the database that this one was restored from, its mark was not set yet: give the same \"poller restore\" again with --force", err)
	}
	if err != nil {
		return fmt.Errorf("results.bucket: %w", err)
	}
	if ended := a.store.Counts()[order.StateCompleted]; a.files.Created() && ended > 0 {
		a.log.Warn("the result store is new and empty, the database is not: is a file system not mounted, or results.bucket another one?",
			zap.String("bucket", c.Results.Bucket), zap.Int64("completed_orders", ended))
	}
	a.dataDisk = newDisk(c.DataDir, a.now, a.log.Logger)
	if a.fileDisk = a.dataDisk; c.resultsDir() != "" {
		a.fileDisk = newDisk(c.resultsDir(), a.now, a.log.Logger)
	}
	digests, made, err := loadTokens(c.API.TokenFile)
	if err != nil {
		return err
	}
	if made {
		a.log.Info("token for the API made", zap.String("file", c.API.TokenFile))
	}
	a.tokens.Store(&digests)
	a.warnOfWideFiles()
	return a.loadCertificate()
}

// warnOfWideFiles tells of files with orders or tokens in them that every user of the machine may read; the store tells
// of its key. They are made for the owner alone: someone has opened them since, or put them there.
func (a *app) warnOfWideFiles() {
	for _, path := range []string{a.started.Store.BBolt, a.started.API.TokenFile} {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o007 != 0 {
			a.log.Warn("every user may read or write the file; chmod o-rwx it", zap.String("path", path))
		}
	}
}

// loadCertificate reads api.tls_cert, if there is one.
func (a *app) loadCertificate() error {
	c := a.started
	if c.API.TLSCert == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.API.TLSCert, c.API.TLSKey)
	if err != nil {
		return fmt.Errorf("api.tls_cert: %w", err)
	}
	a.cert.Store(&pair)
	return nil
}

// build makes the parts that work on the data.
func (a *app) build() error {
	c := a.started
	opt, err := a.fetcherOptions(c)
	if err != nil {
		return err
	}
	opt.Files = wholeUploads{a.files, a.store}
	a.fetcher = fetcher.New(opt)
	var sellers scheduler.Fetcher = a.fetcher
	if a.world.sellers != nil {
		sellers = a.world.sellers(opt.Files)
	}
	a.scheduler, err = scheduler.New(scheduler.Options{
		Store: a.store, Fetcher: sellers, Files: a.files, Metrics: a.metrics,
		Log: a.log.Named("scheduler"), Config: schedulerConfig(c), Wall: a.now, Enough: a.enough,
	})
	if err != nil {
		return err
	}
	webhook, err := outboxConfig(c)
	if err != nil {
		return err
	}
	a.outbox, err = outbox.New(outbox.Options{
		Store: a.store, StoreID: a.store.ID(), Version: version, Config: webhook,
		Observe: func(r outbox.Result) { a.metrics.WebhookAttempts.WithLabelValues(string(r)).Inc() },
		Dial:    a.world.dial, Now: a.now, Log: a.log.Named("outbox"),
	})
	if err != nil {
		return err
	}
	if err := a.openUploads(); err != nil {
		return err
	}
	a.apiListener, err = api.Listen(c.API.Listen)
	if err != nil {
		return fmt.Errorf("api.listen: %w", err)
	}
	listen := c.API.Listen
	if a.apiListener.Addr().Network() == "tcp" {
		listen = a.apiListener.Addr().String() // the port may have been 0
	}
	options := api.Options{
		Store: a.store, Scheduler: a.scheduler, Files: a.files,
		CheckSeller:     func(s *order.Seller) []api.FieldError { return fieldErrors(a.fetcher.CheckSeller(s)) },
		MaxHostCap:      func(host string) int { return hostCap(a.live.Load(), host) },
		DefaultDeadline: func() time.Duration { return a.live.Load().Orders.Deadline },
		Tokens:          func() [][32]byte { return *a.tokens.Load() },
		Listen:          listen, Hosts: func() []string { return a.live.Load().API.Hosts },
		Enough: a.enough, DiskFree: a.dataDisk.Free, TempDir: c.DataDir,
		Webhook: func() api.WebhookView {
			pending, dead := a.store.OutboxCounts()
			return api.WebhookView{Pending: pending, Dead: dead}
		},
		Delivering: func() bool { return a.live.Load().Webhook.URL != "" },
		Backup:     a.backup,
		Version:    version, StartedAt: a.now(), Now: a.now, Log: a.log.Named("api"),
	}
	if a.uploads != nil { // an interface that holds nil is not nil
		options.Uploads = a.uploads
	}
	a.api, err = api.New(options)
	return err
}

// backup writes a copy of the database, if there is room for it.
func (a *app) backup(ctx context.Context, path string) (api.BackupInfo, error) {
	if a.dataDisk.Free() < a.store.Size()+int64(a.live.Load().MinFree) {
		return api.BackupInfo{}, fmt.Errorf("%w for a copy of the database beside min_free", order.ErrNoSpace)
	}
	bucket := a.started.Results.Bucket
	if dir := a.started.resultsDir(); dir != "" {
		whole, err := filepath.Abs(dir) // who takes the backup may be elsewhere
		if err != nil {
			return api.BackupInfo{}, err
		}
		bucket = "file://" + whole
	}
	return api.BackupInfo{KeyID: a.store.KeyID(), Bucket: bucket}, a.store.Backup(ctx, path)
}

// disks are the disks that poller writes to, by what for.
func (a *app) disks() map[string]func() int64 {
	disks := map[string]func() int64{"data": a.dataDisk.Free}
	if a.fileDisk != a.dataDisk {
		disks["results"] = a.fileDisk.Free
	}
	return disks
}

func (a *app) fetcherOptions(c *Config) (fetcher.Options, error) {
	return fetcherOptions(c, a.openFiles)
}

// enough reports whether at least min_free is free wherever poller writes, and the store has its reserve.
func (a *app) enough() bool {
	if a.store.Full() {
		return false
	}
	least := int64(a.live.Load().MinFree)
	return a.dataDisk.Free() >= least && a.fileDisk.Free() >= least
}

// close closes what openApp opened. run does it by itself.
func (a *app) close() error {
	var errs []error
	for _, l := range []net.Listener{a.apiListener, a.metricsListener, a.uploadListener} {
		if l != nil {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	if a.fetcher != nil {
		a.fetcher.Close()
	}
	if a.files != nil {
		errs = append(errs, a.files.Close())
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	return errors.Join(errs...)
}
