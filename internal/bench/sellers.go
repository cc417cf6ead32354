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

// account is what the sellers have seen and used so far; of the groups, since they were last told to forget it.
type account struct {
	fakeseller.Traffic
	CPUSeconds float64                     `json:"cpu_seconds"`
	Groups     map[string]fakeseller.Group `json:"groups"`
	Error      string                      `json:"error"`
}

// startSellers starts that many hosts, each a loopback address of its own, which answer after the delay.
func (b *bench) startSellers(ctx context.Context, hosts int, delay time.Duration) (*sellers, error) {
	command := exec.CommandContext(ctx, b.sellerBinary, "-dir", b.dir, "-addresses", strconv.Itoa(hosts), "-delay", delay.String())
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
func (s *sellers) account() (account, error) { return s.tell("") }

// tell sends the sellers one line, as cmd/fakeseller has them, and returns their account afterwards.
func (s *sellers) tell(line string) (a account, err error) {
	if _, err := io.WriteString(s.stdin, line+"\n"); err != nil {
		return a, err
	}
	if err := s.out.Decode(&a); err != nil {
		return a, err
	}
	if a.Error != "" {
		return a, fmt.Errorf("the sellers: %s", a.Error)
	}
	return a, nil
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
