package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"poller/order"
)

func (p *program) orderFile() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use: "file ORDER [N]", Short: "Fetch the N-th file of a result, from 0", Args: cobra.RangeArgs(1, 2),
		Long: `Fetch the N-th file of a result, counted from 0, to standard output or into a
new file. It is compared with the size and SHA-256 on the order.`,
		Example: examples("poller order file o-1 > report.pdf", "poller order file o-1 2 --to report.pdf"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			n := 0
			if len(args) == 2 {
				if n, err = strconv.Atoi(args[1]); err != nil || n < 0 {
					return usagef("%s: want the number of a file, from 0", clipped(args[1]))
				}
			}
			if to == "" && isTerminal(p.stdout) {
				return usagef("what a seller sent does not go to a terminal: want --to FILE, or > FILE")
			}
			w := p.stdout
			if to != "" {
				f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
				if err != nil {
					return err
				}
				defer func() {
					if err = errors.Join(err, f.Close()); err != nil {
						err = errors.Join(err, os.Remove(to)) // it is ours, and not what it should be
					}
				}()
				w = f
			}
			return p.fetchFile(cmd, args[0], n, w)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "write to this `FILE`, which must not exist")
	return cmd
}

func (p *program) fetchFile(cmd *cobra.Command, id string, n int, w io.Writer) error {
	c, err := p.client()
	if err != nil {
		return err
	}
	b, err := c.call(cmd.Context(), http.MethodGet, orderPath(id), nil)
	if err != nil {
		return err
	}
	var o order.View
	if err := json.Unmarshal(b, &o); err != nil {
		return fmt.Errorf("an answer that this version does not understand: %w", err)
	}
	switch {
	case o.Result == nil:
		return fmt.Errorf("%s has no result: it is %s", id, o.State)
	case n >= len(o.Result.Files):
		return fmt.Errorf("%s has %d files", id, len(o.Result.Files))
	case o.Result.Files[n].ObjectKey == "":
		return fmt.Errorf("the seller keeps this file itself: %s", o.Result.Files[n].URL)
	}
	return c.copyFile(cmd.Context(), &o, n, w)
}

// copyFile copies the n-th file of the order's result, and fails if it is not what the order says.
func (c *client) copyFile(ctx context.Context, o *order.View, n int, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodGet, orderPath(o.OrderID)+"/files/"+strconv.Itoa(n), nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close() // only read
	digest := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, digest), resp.Body); err != nil {
		return err
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != o.Result.Files[n].SHA256 {
		return fmt.Errorf("the file has SHA-256 %s, but the order says %s", got, o.Result.Files[n].SHA256)
	}
	return nil
}
