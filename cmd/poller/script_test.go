package main

import (
	"context"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"poller/internal/fakeseller"
)

// TestMain lets scripts run this very program as the command poller.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"poller": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.LookupEnv)
			stop()
			os.Exit(code)
		},
	})
}

// The command line, told as scripts (SPEC §8). "daemon" starts a daemon with
// one seller, acme: it completes orders named quick-*, fails those named bad-*,
// sends a file for file-*, and works for ever on the others.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"daemon": func(ts *testscript.TestScript, _ bool, _ []string) { startScriptDaemon(t, ts) },
		},
		RequireExplicitExec: true,
		UpdateScripts:       *update,
	})
}

func startScriptDaemon(t *testing.T, ts *testscript.TestScript) {
	dir := t.TempDir()
	sellers, config := startSellers(t, dir)
	sellers.Handle("acme/quick-*", fakeseller.TextResult("done \x1b[31mred"))
	sellers.Handle("acme/bad-*", fakeseller.Failed("no such model"))
	sellers.Handle("acme/file-*", fakeseller.FileBase64(fakeseller.File{Name: "a.txt", MIME: "text/plain", Bytes: []byte("hello\n")}))
	d := startDaemon(t, dir, config+onPortZero)
	ts.Defer(func() { ts.Check(d.stop()) })
	name, value := sellers.Credentials("acme")
	ts.Check(os.WriteFile(ts.MkAbs("acme.header"), []byte(name+": "+value+"\n"), 0o600))
	ts.Setenv("SELLER_URL", sellers.StatusURL(0, "acme"))
	ts.Setenv("POLLER_URL", d.apiURL())
	ts.Setenv("POLLER_TOKEN", d.client.token)
	resp, err := http.Get(d.metricsURL() + "/readyz")
	ts.Check(err)
	resp.Body.Close()
}
