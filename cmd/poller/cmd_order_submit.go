package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"poller/order"
)

func (p *program) orderSubmit() *cobra.Command {
	var id, seller, remote, deadline string
	var metadata map[string]string
	cmd := &cobra.Command{
		Use: "submit [FILE.ndjson]", Short: "Submit one order, or many from a file", Args: cobra.MaximumNArgs(1),
		Long: `Submit one order, given by flags, or many from a file of one JSON object a line;
- is standard input. The same order again changes nothing, so a file that was
cut off can simply be submitted again.`,
		Example: examples(
			"poller order submit --id o-1 --seller acme --deadline +48h --metadata buyer=17",
			"poller order submit orders.ndjson",
		),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if id != "" || seller != "" || remote != "" || deadline != "" || metadata != nil {
					return usagef("want a file, or the flags of one order, not both")
				}
				return p.submitFile(cmd.Context(), args[0])
			}
			if id == "" || seller == "" {
				return usagef("want --id and --seller, or a file")
			}
			s := order.Submission{OrderID: id, SellerID: seller, RemoteID: remote, Metadata: metadata}
			if deadline != "" {
				at, err := parseWhen(deadline, time.Now())
				if err != nil {
					return err
				}
				s.Deadline = &at
			}
			return show(cmd.Context(), p, http.MethodPost, "/v1/orders", s, p.printOrder)
		},
	}
	f := cmd.Flags()
	f.StringVar(&id, "id", "", "the `ORDER` id")
	f.StringVar(&seller, "seller", "", "the `SELLER` that works on it")
	f.StringVar(&remote, "remote-id", "", "the `NAME` under which the seller knows it, if not the order id")
	f.StringVar(&deadline, "deadline", "", "a `TIME` like 2026-12-24T18:00:00Z, or +48h; else orders.deadline")
	f.StringToStringVar(&metadata, "metadata", nil, "`KEY=VALUE`; can be repeated")
	_ = cmd.RegisterFlagCompletionFunc("seller", p.completeSellers) // fails only for an unknown flag
	return cmd
}

// submitLine is one line of the answer to NDJSON, the last one included.
type submitLine struct {
	Line    int64    `json:"line"`
	OrderID string   `json:"order_id"`
	Status  int      `json:"status"`
	Problem *refusal `json:"problem"`

	Lines    *int64 `json:"lines"` // in the last line only
	Created  int64  `json:"created"`
	Existing int64  `json:"existing"`
	Refused  int64  `json:"refused"`
}

// submitFile sends a file of orders and tells of those that were refused. It
// fails if any was, or if the answer was cut off.
func (p *program) submitFile(ctx context.Context, file string) error {
	c, err := p.client()
	if err != nil {
		return err
	}
	in, err := p.open(file)
	if err != nil {
		return err
	}
	defer in.Close() // only read
	body, done := p.withProgress(ctx, in)
	header := http.Header{"Content-Type": {"application/x-ndjson"}}
	if !p.jsonOutput() {
		header.Set("Prefer", "return=minimal")
	}
	resp, err := c.send(ctx, http.MethodPost, "/v1/orders", header, body)
	done()
	if err != nil {
		return err
	}
	defer resp.Body.Close() // only read
	return p.readSubmitted(resp.Body)
}

func (p *program) readSubmitted(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var l submitLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fmt.Errorf("an answer that this version does not understand: %w", err)
		}
		if p.jsonOutput() {
			if err := p.printLine(lines.Bytes()); err != nil {
				return err
			}
		}
		switch {
		case l.Lines != nil:
			return p.submitTotal(&l)
		case l.Problem != nil && !p.jsonOutput():
			l.Problem.Status = l.Status
			text := joined(" ", fmt.Sprintf("line %d:", l.Line), l.OrderID, strings.ReplaceAll(l.Problem.Error(), "\n", "; "))
			if _, err := fmt.Fprintln(p.stderr, printable(text)); err != nil {
				return err
			}
		}
	}
	return errors.Join(errors.New("the answer was cut off; submit the same file again: what is stored already stays as it is"), lines.Err())
}

// submitTotal prints the last line of the answer.
func (p *program) submitTotal(l *submitLine) error {
	if !p.jsonOutput() {
		if _, err := fmt.Fprintf(p.stdout, "%d lines: %d created, %d existed, %d refused\n", *l.Lines, l.Created, l.Existing, l.Refused); err != nil {
			return err
		}
	}
	if l.Refused > 0 {
		return errSilent
	}
	return nil
}

// withProgress shows on a terminal how much of the file has been read; done takes the bar away.
func (p *program) withProgress(ctx context.Context, in io.Reader) (r io.Reader, done func()) {
	f, isFile := in.(*os.File)
	if !isFile {
		return in, func() {}
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return in, func() {}
	}
	return p.withBar(ctx, "submitting", in, info.Size())
}
