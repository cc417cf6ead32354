package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
)

func (p *program) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "serve", Short: "Run the daemon", Args: cobra.NoArgs,
		Long: `Run the daemon: poll the sellers on schedule, and serve the API and the metrics.

SIGHUP makes it read its configuration again; SIGTERM and SIGINT stop it within
shutdown_timeout, and a second one at once. Nothing that was acknowledged is
lost either way. The log goes to standard error.`,
		Example: examples("poller serve", "poller --config /etc/poller/config.yaml serve"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.serve(cmd.Context()) },
	}
}

func (p *program) serve(ctx context.Context) error {
	if p.jsonOutput() {
		return usagef("serve prints nothing; log.format says how it logs")
	}
	c, err := loadConfig(p.configFile, p.env)
	if err != nil {
		return err
	}
	if err := harden(); err != nil {
		return err
	}
	leanMemory(p.env)
	hangup := make(chan os.Signal, 1) // from the start: uncaught, it would end the program
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	log := newLogger(p.stderr)
	defer log.Sync() //nolint:errcheck // a terminal or pipe cannot be synced
	defer redirectLibraries(log.Logger)()
	a, err := openApp(ctx, c, p.configFile, p.env, log)
	if err != nil {
		return fmt.Errorf("not started: %w", err)
	}
	watch, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { a.reloadOn(watch, hangup) })
	err = a.run(ctx)
	stop()
	wg.Wait()
	if err != nil {
		return fmt.Errorf("stopped: %w", err)
	}
	return nil
}
