//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	"poller/internal/fakeseller"
)

// sellers is a process of fake sellers, all of which answer alike.
type sellers struct {
	CAFile string   `json:"ca_file"`
	URLs   []string `json:"urls"` // of the hosts

	command *exec.Cmd
	stdin   io.WriteCloser
	out     *json.Decoder
}

// account is what the sellers have seen and used so far.
type account struct {
	fakeseller.Traffic
	CPUSeconds float64 `json:"cpu_seconds"`
}

// startSellers starts that many hosts, which answer after the delay.
func (b *bench) startSellers(ctx context.Context, hosts int, delay time.Duration) (*sellers, error) {
	command := exec.CommandContext(ctx, b.sellerBinary, "-dir", b.dir, "-hosts", strconv.Itoa(hosts), "-delay", delay.String())
	command.Stderr = os.Stderr
	s := &sellers{command: command}
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.stdin, s.out = stdin, json.NewDecoder(stdout)
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting the sellers: %w", err)
	}
	if err := s.out.Decode(s); err != nil {
		return nil, errors.Join(fmt.Errorf("the sellers did not start: %w", err), s.stop())
	}
	return s, nil
}

// account asks the sellers what they have seen.
func (s *sellers) account() (a account, err error) {
	if _, err := io.WriteString(s.stdin, "\n"); err != nil {
		return a, err
	}
	return a, s.out.Decode(&a)
}

// stop ends the process and waits for it.
func (s *sellers) stop() error {
	err := s.stdin.Close()
	_, discard := io.Copy(io.Discard, s.out.Buffered())
	return errors.Join(err, discard, s.command.Wait())
}

// since is what came between two accounts.
func (a account) since(before account) account {
	a.Connections -= before.Connections
	a.Handshakes -= before.Handshakes
	a.Resumptions -= before.Resumptions
	a.Requests -= before.Requests
	a.CPUSeconds -= before.CPUSeconds
	return a
}
