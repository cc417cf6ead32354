//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"poller/internal/fakeseller"
)

// filesMode measures the daemon's memory while every seller sends a large file
// at the same time. The sellers run in this process: their CPU doesn't matter here.
func (b *bench) filesMode(ctx context.Context) (err error) {
	b.sellers, b.hosts, b.workers = b.orders, b.orders, max(b.workers, b.orders)
	size := b.answer / 4 * 3
	files := fakeseller.GeneratedFiles(b.orders, size)
	server, err := fakeseller.Start(ctx, fakeseller.Options{Hosts: b.hosts})
	if err != nil {
		return err
	}
	defer server.Close()
	caFile, err := server.CAFile(b.dir)
	if err != nil {
		return err
	}
	urls := make([]string, b.hosts)
	gate := newGate(b.orders)
	for i, f := range files {
		urls[i] = server.URL(i)
		server.Handle(sellerID(i)+"/"+orderID(i), gate.before(fakeseller.FileBase64(f)))
	}
	d, err := b.startDaemon(ctx, caFile, urls)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	if err := d.register(ctx, urls, b.sellers); err != nil {
		return err
	}
	if err := d.submit(ctx, b.orders, b.sellers); err != nil {
		return err
	}
	idle, err := d.private()
	if err != nil {
		return err
	}
	idleResident, err := d.resident()
	if err != nil {
		return err
	}
	var done sweep
	c, err := d.measure(ctx, func() (err error) {
		done, err = d.sweep(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if done.Outcomes["completed"] != b.orders {
		return fmt.Errorf("not every order was completed: %+v", done)
	}
	resident, err := d.resident()
	if err != nil {
		return err
	}
	for i, f := range files {
		if err := d.checkFile(ctx, orderID(i), f); err != nil {
			return err
		}
	}
	all := int64(b.orders) * b.answer
	fmt.Fprintf(b.out, "%d sellers sent %s MiB of base64 each, all at once; every file is as it was sent (size and SHA-256, read back)\n\n", b.orders, mib(b.answer))
	fmt.Fprintf(b.out, "%8s MiB more private memory at the peak than idle (%s MiB)\n", mib(c.private-idle), mib(idle))
	fmt.Fprintf(b.out, "%8s MiB more resident memory at the peak than before (%s MiB), mapped files included\n", mib(resident-idleResident), mib(idleResident))
	fmt.Fprintf(b.out, "%8.1f s, %.1f CPU-s of the daemon, %.2f CPU-s for 100 MiB of answers\n", c.wall.Seconds(), c.cpu.Seconds(), c.cpu.Seconds()*float64(100<<20)/float64(all))
	return nil
}

// checkFile compares what the API says of an order's file, and the file itself, with what the seller sent.
func (d *daemon) checkFile(ctx context.Context, id string, sent fakeseller.File) error {
	var o struct {
		Result struct {
			Files []struct {
				Size   int64
				SHA256 string
			}
		}
	}
	if err := d.call(ctx, http.MethodGet, "/v1/orders/"+id, nil, &o); err != nil {
		return err
	}
	resp, err := d.request(ctx, http.MethodGet, "/v1/orders/"+id+"/files/0", "", http.NoBody)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, resp.Body); err != nil {
		return err
	}
	want := sent.SHA256()
	if f := o.Result.Files; len(f) != 1 || f[0].Size != sent.Len() || !strings.EqualFold(f[0].SHA256, want) || hex.EncodeToString(digest.Sum(nil)) != want {
		return fmt.Errorf("the file of %s is not what was sent: %+v", id, f)
	}
	return nil
}

// gate holds answers back until all those asked for have been asked for.
type gate struct{ all *sync.WaitGroup }

func newGate(n int) gate {
	g := gate{new(sync.WaitGroup)}
	g.all.Add(n)
	return g
}

// before puts the gate before an answer, which must be asked for once.
func (g gate) before(s fakeseller.Script) fakeseller.Script {
	answer := s[0].Func
	s[0].Func = func(w http.ResponseWriter, r *http.Request) {
		g.all.Done()
		g.all.Wait()
		answer(w, r)
	}
	return s
}
