// Command poller asks sellers for the status of their orders until each has
// ended, and serves what it found out. See config.yaml, and poller --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // schedule.timezone works where no zone files are installed
)

// version is set when the binary is linked.
var version = "dev"

func main() {
	// The first signal asks to stop; a second one, being no longer caught, ends the program at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.LookupEnv))
}
