//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// maxProcesses is how many orders xargs asks for: with a process and a handshake each, more only take longer.
const maxProcesses = 1000

// xargs is a curl for each order, each answer in a file.
func (c *comparison) xargs(ctx context.Context) (tally, error) {
	xargs, err := find("xargs")
	if err != nil {
		return tally{}, err
	}
	curl, err := find("curl")
	if err != nil {
		return tally{}, err
	}
	dir, err := c.folder("xargs")
	if err != nil {
		return tally{}, err
	}
	n := min(c.orders, maxProcesses)
	var lines []byte
	for i := range n {
		lines = fmt.Appendf(lines, "-o %s -H %q %q\n", orderID(i), "Authorization: "+c.key(i), c.url(i))
	}
	command := exec.CommandContext(ctx, xargs, "-P", strconv.Itoa(atOnce), "-L", "1", curl, "-q", "-sSf", "--cacert", c.fakes.CAFile)
	command.Dir, command.Stdin, command.Stderr = dir, bytes.NewReader(lines), os.Stderr
	return c.program(command, n)
}

// curl is one curl for all orders, each answer in a file.
func (c *comparison) curl(ctx context.Context) (tally, error) {
	curl, err := find("curl")
	if err != nil {
		return tally{}, err
	}
	dir, err := c.folder("curl")
	if err != nil {
		return tally{}, err
	}
	var text []byte
	for i := range c.orders {
		if i > 0 {
			text = append(text, "next\n"...) // headers are an operation's
		}
		text = fmt.Appendf(text, "url = %q\nheader = %q\noutput = %q\ncacert = %q\n", c.url(i), "Authorization: "+c.key(i), orderID(i), c.fakes.CAFile)
	}
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return tally{}, err
	}
	command := exec.CommandContext(ctx, curl, "-q", "-sS", "--parallel", "--parallel-max", strconv.Itoa(atOnce), "-K", config)
	var said bytes.Buffer // also its progress, which it shows although it is told not to
	command.Dir, command.Stderr = dir, &said
	t, err := c.program(command, c.orders)
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, said.Bytes())
	}
	return t, err
}
