package main

import (
	"context"
	"errors"
	"os"

	"go.uber.org/zap"
)

// reloadOn reloads at every signal until ctx ends.
func (a *app) reloadOn(ctx context.Context, hangup <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			_ = a.reload() // has been logged
		}
	}
}

// reload reads the configuration, tokens and certificates again (SPEC §3):
// what can change while running does, what cannot is logged as needing a
// restart, and with anything invalid nothing changes. Whatever comes of it is logged too.
func (a *app) reload() error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	err := a.tryReload()
	if err == nil {
		a.metrics.ConfigReloaded.Set(1)
		a.log.Info("configuration reloaded")
		return nil
	}
	a.metrics.ConfigReloaded.Set(0)
	var ce *configError
	if !errors.As(err, &ce) {
		a.log.Error("configuration not reloaded: nothing changed", zap.Error(err))
		return err
	}
	for _, p := range ce.Problems {
		a.log.Error("configuration not reloaded: nothing changed", zap.String("file", ce.File),
			zap.Int("line", p.Line), zap.Int("column", p.Column), zap.String("key", p.Key), zap.String("problem", p.Text))
	}
	return err
}

func (a *app) tryReload() error {
	if a.file == "" {
		return errors.New("there is no configuration file")
	}
	now, err := loadConfig(a.file, a.env)
	if err != nil {
		return err
	}
	if err := checkFiles(a.openFiles, now.Fetch.Workers); err != nil {
		return err
	}
	// First everything that may fail ...
	options, err := a.fetcherOptions(now)
	if err != nil {
		return err
	}
	webhook, err := outboxConfig(now)
	if err != nil {
		return err
	}
	tokens, _, err := loadTokens(a.started.API.TokenFile)
	if err != nil {
		return err
	}
	if err := a.loadCertificate(); err != nil {
		return err
	}
	if err := a.scheduler.Reload(schedulerConfig(now)); err != nil {
		return err
	}
	if err := a.outbox.Reload(webhook); err != nil {
		return err
	}
	// ... then what cannot.
	a.fetcher.Reload(options)
	a.store.SetWebhookEvents(webhookEvents(now))
	a.tokens.Store(&tokens)
	a.log.set(now)
	was := a.live.Swap(now)
	for _, c := range Diff(was, now) {
		if c.Live {
			a.log.Info("configuration changed", zap.String("key", c.Key), zap.String("old", c.Old), zap.String("new", c.New))
		}
	}
	for _, c := range Diff(a.started, now) {
		if !c.Live {
			a.log.Warn("configuration changed, but this takes a restart", zap.String("key", c.Key), zap.String("old", c.Old), zap.String("new", c.New))
		}
	}
	return nil
}
