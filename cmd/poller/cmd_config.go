package main

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func (p *program) checkConfigCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check-config", Short: "Say what is wrong with the configuration", Args: cobra.NoArgs,
		Long: `Say everything that is wrong with the configuration, with line and column, and
fail if there is anything. Nothing is started or changed.`,
		Example: examples("poller --config /etc/poller/config.yaml check-config"),
		RunE: func(*cobra.Command, []string) error {
			_, err := loadConfig(p.configFile, p.env)
			var ce *configError
			if p.jsonOutput() && (err == nil || errors.As(err, &ce)) {
				report := struct {
					File     string    `json:"file"`
					OK       bool      `json:"ok"`
					Problems []problem `json:"problems"`
				}{p.configFile, err == nil, []problem{}}
				if err != nil {
					report.Problems = ce.Problems
					err = errSilent
				}
				return errors.Join(p.printJSON(report), err)
			}
			if err == nil {
				_, err = fmt.Fprintf(p.stdout, "%s: ok\n", p.configFile)
			}
			return err
		},
	}
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if p.jsonOutput() {
				return p.printJSON(map[string]string{"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			_, err := fmt.Fprintf(p.stdout, "poller %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
