//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
)

// group is what the sellers call themselves together: sellerID without its number.
const group = "seller"

// stage is sellers and a daemon that knows them and their orders.
type stage struct {
	*bench
	fakes *sellers
	d     *daemon
	left  int // orders that have not ended
}

// open starts sellers and a daemon, and submits all orders.
func (b *bench) open(ctx context.Context, with settings) (*stage, error) {
	s := &stage{bench: b}
	var err error
	if s.fakes, err = b.startSellers(ctx, b.hosts, b.delay); err != nil {
		return nil, err
	}
	if err := s.load(ctx, with, b.orders); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// load starts a daemon with that many orders.
func (s *stage) load(ctx context.Context, with settings, orders int) (err error) {
	if s.d, err = s.startDaemonWith(ctx, s.fakes.CAFile, s.fakes.URLs, with); err != nil {
		s.d = nil
		return err
	}
	if err := s.d.register(ctx, s.fakes.URLs, s.sellers); err != nil {
		return err
	}
	s.left = orders
	return s.d.submit(ctx, orders, s.sellers)
}

// close ends everything.
func (s *stage) close() (err error) {
	if s.d != nil {
		err = s.d.stop()
	}
	return errors.Join(err, s.fakes.stop())
}

// swept is what a sweep did, what it cost the daemon and what the sellers saw of it.
type swept struct {
	cost
	sweep
	seen account
}

// sweep runs a sweep by hand. It is an error if it doesn't poll every order that is left.
func (s *stage) sweep(ctx context.Context) (w swept, err error) {
	before, err := s.fakes.tell("reset")
	if err != nil {
		return w, err
	}
	w.cost, err = s.d.measure(ctx, func() (err error) {
		w.sweep, err = s.d.sweep(ctx)
		return err
	})
	if err != nil {
		return w, err
	}
	after, err := s.fakes.account()
	if err != nil {
		return w, err
	}
	w.seen = after.since(before)
	if asked := w.seen.Groups[group].Orders; w.State != "done" || w.Polled != s.left || asked != int64(s.left) {
		return w, fmt.Errorf("the sweep did not poll all of %d orders; the sellers were asked for %d: %+v", s.left, asked, w.sweep)
	}
	s.left -= w.Outcomes["completed"]
	return w, nil
}

// perPoll returns the daemon's CPU seconds for one poll; 0 without polls.
func (w *swept) perPoll() float64 { return w.cpu.Seconds() / float64(max(1, w.Polled)) }

// outcome is an error unless so many polls had an outcome.
func (w *swept) outcome(name string, want int) error {
	if got := w.Outcomes[name]; got != want {
		return fmt.Errorf("%d polls were %s, want %d: %+v", got, name, want, w.sweep)
	}
	return nil
}

// table is for a row of columns, each ended by a tab.
func (b *bench) table(columns string) *tabwriter.Writer {
	t := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, columns)
	return t
}
