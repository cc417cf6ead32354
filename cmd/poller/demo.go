package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"poller/internal/fakeseller"
	"poller/order"
)

func (p *program) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "Show all of it on this machine, with nothing to set up", Args: cobra.NoArgs,
		Long: `Show all of it on this machine, with nothing to set up: the daemon as "serve"
runs it, sellers that behave well and badly on loopback (TLS, with a CA of their
own), and an order of every kind. It takes less than half a minute, leaves
nothing behind, and fails if an order did not end as it should.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if p.jsonOutput() {
				return usagef("demo is for the eye: it has no -o json")
			}
			return p.demo(cmd.Context())
		},
	}
}

// A demo is one run of the demo: the cast, their sellers and the daemon.
type demo struct {
	cast    []demoSeller
	sellers *fakeseller.Server
	app     *app
	client  *client
	begun   time.Time
}

func (p *program) demo(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "poller-demo-")
	if err != nil {
		return err
	}
	if err := p.demoIn(ctx, dir); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w\nwhat the daemon logged and kept is in %s", err, dir)
	}
	return errors.Join(ctx.Err(), os.RemoveAll(dir))
}

func (p *program) demoIn(ctx context.Context, dir string) (err error) {
	logFile, err := os.Create(filepath.Join(dir, "poller.log"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logFile.Close()) }()
	d := &demo{cast: demoCast(), begun: time.Now()}
	if err := d.open(ctx, dir, logFile); err != nil {
		return err
	}
	defer d.sellers.Close()
	run, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() {
		stopped <- d.app.run(run)
		stop() // there is nothing left to watch
	}()
	defer func() {
		stop()
		err = errors.Join(err, <-stopped)
	}()

	limit, cancel := context.WithTimeout(run, demoLimit)
	defer cancel()
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer cancel()
	if err := d.submit(limit, &helpers); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, `poller asks sellers, which are AI tools, for the status of their orders until each has ended.
Here are %d sellers, good and bad, on this machine, with %d orders. poller asks about each
every %s (in earnest: every 15 minutes) and gives up after seconds (in earnest: hours, days).

`, len(d.cast), d.orders(), demoTick)
	ended, err := p.watchDemo(limit, d)
	if err != nil {
		if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("not all orders had ended after %s", demoLimit)
		}
		return err
	}
	return p.demoSummary(limit, d, ended)
}

func (d *demo) orders() int {
	n := 0
	for _, s := range d.cast {
		n += len(s.orders)
	}
	return n
}

// open starts the sellers and opens the daemon on ports of its own choice.
func (d *demo) open(ctx context.Context, dir string, log io.Writer) (err error) {
	if d.sellers, err = fakeseller.Start(ctx, fakeseller.Options{Hosts: len(d.cast)}); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			d.sellers.Close()
		}
	}()
	c := defaultConfig()
	c.resolve(dir)
	c.MinFree = 0
	c.Schedule.Cron = "@every " + demoTick
	c.Fetch.Timeout, c.Fetch.BodyTimeout = 2*time.Second, 10*time.Second
	c.Fetch.BreakerProbes = []time.Duration{time.Second}
	c.Fetch.AllowNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	c.Fetch.AllowPorts = nil
	for i := range d.cast {
		c.Fetch.AllowPorts = append(c.Fetch.AllowPorts, d.sellers.Port(i))
	}
	if c.Fetch.CAFile, err = d.sellers.CAFile(dir); err != nil {
		return err
	}
	c.Orders.GiveUpAfter.NotFound = demoGiveUp
	c.Orders.GiveUpAfter.InvalidResponse = demoGiveUp
	c.Orders.GiveUpAfter.RejectedResult = demoGiveUp
	c.API.Listen, c.Metrics.Listen = "127.0.0.1:0", "127.0.0.1:0"
	c.ShutdownTimeout = 5 * time.Second
	if d.app, err = openApp(ctx, &c, "", os.LookupEnv, newLogger(log)); err != nil {
		return err
	}
	token, err := readToken(c.API.TokenFile)
	if err == nil {
		d.client, err = newClient(d.app.apiURL(), token, nil, "")
	}
	if err != nil {
		return errors.Join(err, d.app.close())
	}
	return nil
}

// submit registers the sellers and submits the orders, as the platform would.
// What the spectator does not do himself happens later, in helpers.
func (d *demo) submit(ctx context.Context, helpers *sync.WaitGroup) error {
	later := func(after time.Duration, f func()) {
		helpers.Go(func() {
			t := time.NewTimer(after)
			defer t.Stop()
			select {
			case <-ctx.Done():
			case <-t.C:
				f()
			}
		})
	}
	for i, s := range d.cast {
		name, value := d.sellers.Credentials(s.id)
		if s.locked {
			value = "a wrong key"
		}
		body := map[string]any{"status_url": d.sellers.StatusURL(i, s.id), "headers": map[string]string{name: value}, "note": s.plays}
		if _, err := d.client.call(ctx, http.MethodPut, sellerPath(s.id), body); err != nil {
			return fmt.Errorf("seller %s: %w", s.id, err)
		}
		if s.down > 0 {
			d.sellers.Cut(i)
			later(s.down, func() { d.sellers.Restore(i) })
		}
		for _, o := range s.orders {
			d.sellers.Handle(s.id+"/"+o.id, o.script)
			sub := order.Submission{OrderID: o.id, SellerID: s.id}
			if o.deadline > 0 {
				at := time.Now().Add(o.deadline)
				sub.Deadline = &at
			}
			if _, err := d.client.call(ctx, http.MethodPost, "/v1/orders", sub); err != nil {
				return fmt.Errorf("order %s: %w", o.id, err)
			}
			if o.cancel > 0 {
				later(o.cancel, func() {
					_, _ = d.client.call(ctx, http.MethodPost, orderPath(o.id)+"/cancel", nil) // else it does not end as expected
				})
			}
		}
	}
	_, err := d.client.call(ctx, http.MethodPost, "/v1/sweeps", nil) // not to wait for the first tick
	return err
}

// look returns all orders as the API shows them, by id.
func (d *demo) look(ctx context.Context) (map[string]*order.View, error) {
	all, err := d.client.list(ctx, "/v1/orders", nil, 0)
	if err != nil {
		return nil, err
	}
	orders := make(map[string]*order.View, len(all.Items))
	for _, item := range all.Items {
		o := &order.View{}
		if err := json.Unmarshal(item, o); err != nil {
			return nil, err
		}
		orders[o.OrderID] = o
	}
	return orders, nil
}
