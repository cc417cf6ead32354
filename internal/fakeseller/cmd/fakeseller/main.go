//go:build unix

// Command fakeseller runs fake sellers as a process of their own, so that a
// benchmark measures the poller and not them. It prints one line of JSON with
// the file of its CA's certificate and the addresses of its hosts, and answers
// requests until standard input ends. For every line that it reads, and at the
// end, it prints one with what it did and the CPU time that it took, both since its start,
// and what it saw of each group of sellers since it was last told to forget that. A line may be
//
//	                          nothing but the account
//	reset                     forgets what was seen of the groups
//	behave GROUP BEHAVIOUR    changes how the sellers of a group answer
//
// A group is the part of the seller's id before its last "-", or "*"; the
// behaviours are those of fakeseller.Server.Behave. What is wrong with a line is told in its answer.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"poller/internal/fakeseller"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "fakeseller:", err)
		os.Exit(1)
	}
}

type hello struct {
	CAFile string   `json:"ca_file"`
	URLs   []string `json:"urls"`
}

type account struct {
	fakeseller.Traffic
	CPUSeconds float64                     `json:"cpu_seconds"`
	Groups     map[string]fakeseller.Group `json:"groups,omitempty"`
	Error      string                      `json:"error,omitempty"` // what was wrong with the line
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("fakeseller", flag.ContinueOnError)
	flags.SetOutput(stderr)
	hosts := flags.Int("hosts", 1, "number of hosts: listeners on 127.0.0.1")
	addresses := flags.Int("addresses", 0, "in place of -hosts: number of loopback addresses, from 127.1.0.0 upward, with one port for all")
	delay := flags.Duration("delay", 0, "time before each answer")
	body := flags.String("body", `{"status":"processing","progress":50}`, "body of every answer")
	scripted := flags.Bool("scripted", false, "answer as the package does by default, credentials included, instead of at the least cost")
	dir := flags.String("dir", os.TempDir(), "folder for the file of the CA's certificate; it is left there")
	if err := flags.Parse(args); err != nil {
		return err
	}
	options := fakeseller.Options{Hosts: *hosts, Addresses: *addresses, Bench: []byte(*body), BenchDelay: *delay}
	if *scripted {
		options.Bench = nil
	}
	s, err := fakeseller.Start(context.Background(), options)
	if err != nil {
		return err
	}
	defer s.Close()
	first := hello{}
	if first.CAFile, err = s.CAFile(*dir); err != nil {
		return err
	}
	for i := range s.Hosts() {
		first.URLs = append(first.URLs, s.URL(i))
	}
	out := json.NewEncoder(stdout)
	if err := out.Encode(first); err != nil {
		return err
	}
	lines := bufio.NewScanner(stdin)
	for more := true; more; {
		more = lines.Scan()
		wrong := obey(s, lines.Text())
		cpu, err := cpuTime()
		if err != nil {
			return err
		}
		answer := account{Traffic: s.Traffic(), CPUSeconds: cpu.Seconds(), Groups: s.Groups()}
		if wrong != nil {
			answer.Error = wrong.Error()
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

// obey does what a line of standard input says.
func obey(s *fakeseller.Server, line string) error {
	command, rest, _ := strings.Cut(line, " ")
	switch command {
	case "":
		return nil
	case "reset":
		return s.Forget()
	case "behave":
		group, behaviour, _ := strings.Cut(rest, " ")
		return s.Behave(group, behaviour)
	}
	return fmt.Errorf("unknown command %q", command)
}

// cpuTime returns the time that the process has spent computing, its own and the kernel's for it.
func cpuTime() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, fmt.Errorf("asking for the CPU time: %w", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}
