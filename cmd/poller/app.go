package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
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
	openFiles int

	store     *store.Store
	files     *results.Dir
	fetcher   *fetcher.Client
	scheduler *scheduler.Scheduler
	api       *api.API
	metrics   *metrics.Metrics
	dataDisk  *disk
	fileDisk  *disk

	tokens atomic.Pointer[[][32]byte]
	cert   atomic.Pointer[tls.Certificate]

	apiListener, metricsListener net.Listener
	apiServer, metricsServer     *http.Server
	// handlers is held for reading by every request: the store may be closed once it can be taken.
	handlers sync.RWMutex
	ready    atomic.Bool

	reloading sync.Mutex
}

// openApp opens the store and the result folder, builds every part and listens;
// nothing is served or polled before run. The caller calls run or close. Errors
// say what to do (store.ErrInUse and the like).
func openApp(ctx context.Context, c *Config, file string, env func(string) (string, bool), log *logger) (_ *app, err error) {
	a := &app{file: file, env: env, started: c, log: log, now: time.Now}
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
		DiskFree: map[string]func() int64{"data": a.dataDisk.Free, "results": a.fileDisk.Free},
		Version:  version, GoVersion: runtime.Version(),
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
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	a.store, err = store.Open(ctx, store.Options{
		Path: c.Store.BBolt, KeyFile: c.Secrets.KeyFile, DataDir: c.DataDir,
		ObserveCommit: func(d time.Duration) { a.metrics.CommitDuration.Observe(d.Seconds()) },
		ObserveEnd:    a.metrics.Ended,
		Log:           a.log.Named("store"), Now: a.now,
	})
	if err != nil {
		return err
	}
	if a.files, err = results.OpenDir(c.resultsDir(), a.store.ID()); err != nil {
		return fmt.Errorf("results.bucket: %w", err)
	}
	if ended := a.store.Counts()[order.StateCompleted]; a.files.Created() && ended > 0 {
		a.log.Warn("the result folder is new and empty, the database is not: is a file system not mounted?",
			zap.String("dir", c.resultsDir()), zap.Int64("completed_orders", ended))
	}
	a.dataDisk = newDisk(c.DataDir, a.now, a.log.Logger)
	a.fileDisk = newDisk(c.resultsDir(), a.now, a.log.Logger)
	digests, made, err := loadTokens(c.API.TokenFile)
	if err != nil {
		return err
	}
	if made {
		a.log.Info("token for the API made", zap.String("file", c.API.TokenFile))
	}
	a.tokens.Store(&digests)
	return a.loadCertificate()
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
	opt.Files = resultFiles{a.files}
	a.fetcher = fetcher.New(opt)
	a.scheduler, err = scheduler.New(scheduler.Options{
		Store: a.store, Fetcher: a.fetcher, Files: a.files, Metrics: a.metrics,
		Log: a.log.Named("scheduler"), Config: schedulerConfig(c), Wall: a.now, Enough: a.enough,
	})
	if err != nil {
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
	a.api, err = api.New(api.Options{
		Store: a.store, Scheduler: a.scheduler, Files: a.files,
		CheckSeller:     func(s *order.Seller) []api.FieldError { return fieldErrors(a.fetcher.CheckSeller(s)) },
		MaxHostCap:      func(host string) int { return hostCap(a.live.Load(), host) },
		DefaultDeadline: func() time.Duration { return a.live.Load().Orders.Deadline },
		Tokens:          func() [][32]byte { return *a.tokens.Load() },
		Listen:          listen, Hosts: func() []string { return a.live.Load().API.Hosts },
		Enough: a.enough, DiskFree: a.dataDisk.Free, TempDir: c.DataDir,
		Version: version, StartedAt: a.now(), Now: a.now, Log: a.log.Named("api"),
	})
	return err
}

func (a *app) fetcherOptions(c *Config) (fetcher.Options, error) {
	return fetcherOptions(c, a.openFiles)
}

// enough reports whether at least min_free is free wherever poller writes.
func (a *app) enough() bool {
	least := int64(a.live.Load().MinFree)
	return a.dataDisk.Free() >= least && a.fileDisk.Free() >= least
}

// close closes what openApp opened. run does it by itself.
func (a *app) close() error {
	var errs []error
	for _, l := range []net.Listener{a.apiListener, a.metricsListener} {
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
