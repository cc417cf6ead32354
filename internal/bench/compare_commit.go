//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
)

// commitTask is what a plain Go program is to do: to ask once for each order with net/http, and to
// put each answer into a database in a transaction of its own.
type commitTask struct {
	CAFile   string        `json:"ca_file"`
	Database string        `json:"database"`
	Orders   []commitOrder `json:"orders"`
}

type commitOrder struct {
	ID  string `json:"id"`
	URL string `json:"url"`
	Key string `json:"key"` // the Authorization header
}

// commitCommand is the argument with which this program is that plain program, as a child of itself.
const commitCommand = "commit-loop"

func (c *comparison) commitLoop(ctx context.Context) (tally, error) {
	self, err := os.Executable()
	if err != nil {
		return tally{}, err
	}
	task := commitTask{CAFile: c.fakes.CAFile, Database: filepath.Join(c.dir, "commit.db")}
	for i := range c.orders {
		task.Orders = append(task.Orders, commitOrder{orderID(i), c.url(i), c.key(i)})
	}
	in, err := json.Marshal(task)
	if err != nil {
		return tally{}, err
	}
	command := exec.CommandContext(ctx, self, commitCommand)
	command.Stdin, command.Stderr = bytes.NewReader(in), os.Stderr
	return c.program(command, c.orders)
}

// commitMain is the child.
func commitMain(ctx context.Context, stdin io.Reader) (err error) {
	var task commitTask
	if err := json.NewDecoder(stdin).Decode(&task); err != nil {
		return err
	}
	pem, err := os.ReadFile(task.CAFile)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
	}}
	db, err := bolt.Open(task.Database, 0o600, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	bucket := []byte("answers")
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket(bucket)
		return err
	})
	if err != nil {
		return err
	}
	var next atomic.Int64
	errs := make([]error, atOnce)
	var all sync.WaitGroup
	for g := range atOnce {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(task.Orders)) && errs[g] == nil; i = next.Add(1) - 1 {
				o := &task.Orders[i]
				var answer []byte
				if answer, errs[g] = o.ask(ctx, client); errs[g] == nil {
					errs[g] = db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucket).Put([]byte(o.ID), answer) })
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (o *commitOrder) ask(ctx context.Context, client *http.Client) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.URL, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", o.Key)
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", o.URL, resp.Status)
	}
	return io.ReadAll(resp.Body)
}
