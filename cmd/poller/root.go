package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes (SPEC §8).
const (
	exitDone      = 0
	exitFailed    = 1
	exitUsedWrong = 2
)

// defaultConfigFile is read when --config is not given.
const defaultConfigFile = "config.yaml"

// A program is one invocation: where it reads and writes, and the flags that every command has.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) (string, bool)

	configFile string
	output     string // "table" or "json"
	begun      bool   // the command line was understood; what fails from here on is not a wrong use
}

// run is the program: it does what args say and returns the exit code. It ends
// early when ctx does.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) (string, bool)) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, env: env}
	root := p.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	if errors.Is(err, errSilent) {
		return exitFailed
	}
	var wrong *usageError
	if !p.begun || errors.As(err, &wrong) {
		fmt.Fprintf(stderr, "poller: %s\n%s --help says how it is used.\n", printable(err.Error()), cmd.CommandPath())
		return exitUsedWrong
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = errors.New("interrupted")
	}
	p.printError(err)
	return exitFailed
}

// printError says what went wrong. Faults of the configuration begin their
// lines with FILE:LINE:COLUMN, as editors want it.
func (p *program) printError(err error) {
	prefix := "poller: "
	var ce *configError
	if errors.As(err, &ce) {
		prefix = ""
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(p.stderr, prefix+printable(line))
		if ce == nil {
			prefix = "  "
		}
	}
}

// A usageError is a wrong use that is noticed only when the command runs.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// errSilent fails a command that has said everything itself.
var errSilent = errors.New("failed")

// root makes the tree of commands.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "poller",
		Short: "Asks sellers for the status of their orders until each has ended",
		Long: `poller asks sellers for the status of their orders until each has ended.

"poller demo" shows all of it on this machine, with nothing to set up.
"poller serve" is the daemon. The other commands speak to it: they take its
address and token from the same config.yaml, or from POLLER_URL
(http://HOST:PORT, https://HOST:PORT or unix:PATH) and POLLER_TOKEN.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if p.output != "table" && p.output != "json" {
				return usagef("-o %s: want table or json", clipped(p.output))
			}
			p.begun = true
			return nil
		},
	}
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.PersistentFlags().StringVarP(&p.configFile, "config", "c", defaultConfigFile, "the configuration `FILE`")
	root.PersistentFlags().StringVarP(&p.output, "output", "o", "table", "table or json")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp)) // fails only for an unknown flag

	root.AddCommand(
		p.serveCommand(), p.checkConfigCommand(), p.demoCommand(), p.statusCommand(),
		p.sellerCommand(), p.orderCommand(), p.sweepCommand(), p.eventsCommand(),
		p.heldCommand(), p.clockCommand(), p.webhookCommand(),
		p.backupCommand(), p.restoreCommand(), p.compactCommand(), p.rotateKeyCommand(), p.versionCommand(),
	)
	return root
}

// group is a command that only holds others. By itself it prints its help;
// what it does not hold is a wrong use, which the library would let pass.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use:   use,
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %s for %q", clipped(args[0]), cmd.CommandPath())
			}
			return cmd.Help()
		},
	}
	g.AddCommand(commands...)
	return g
}

// examples indents the lines as the help wants them.
func examples(lines ...string) string { return "  " + strings.Join(lines, "\n  ") }
