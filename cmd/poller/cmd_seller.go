package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"poller/order"
)

// sellerView is a seller as the API shows it, as far as it is printed here.
type sellerView struct {
	SellerID       string            `json:"seller_id"`
	StatusURL      string            `json:"status_url"`
	Headers        map[string]string `json:"headers"`
	MaxConcurrency int               `json:"max_concurrency"`
	MaxPerMinute   int               `json:"max_per_minute"`
	Note           string            `json:"note"`
	ActiveOrders   int64             `json:"active_orders"`
	ResultBytes    int64             `json:"result_bytes"`
	Paused         bool              `json:"paused"`
	Health         struct {
		LastOutcome    *order.Outcome `json:"last_outcome"`
		LastPolledAt   *time.Time     `json:"last_polled_at"`
		LastAnsweredAt *time.Time     `json:"last_answered_at"`
		FailuresInARow int            `json:"failures_in_a_row"`
		Breaker        order.Breaker  `json:"breaker"`
	} `json:"health"`
}

func (p *program) sellerCommand() *cobra.Command {
	simple := func(verb, method, path, short, done string) *cobra.Command {
		return &cobra.Command{
			Use: verb + " SELLER", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeSellers,
			RunE: func(cmd *cobra.Command, args []string) error {
				return show(cmd.Context(), p, method, sellerPath(args[0])+path, nil, func(struct{}) error {
					_, err := fmt.Fprintf(p.stdout, "%s: %s\n", printable(args[0]), done)
					return err
				})
			},
		}
	}
	return group("seller", "Register, look at and pause sellers",
		p.sellerWrite("put", http.MethodPut, "Create or replace a seller"),
		p.sellerWrite("patch", http.MethodPatch, "Change some of a seller"),
		p.sellerList(),
		p.sellerShow(),
		simple("pause", http.MethodPost, "/pause", "Poll none of its orders until resumed", "paused"),
		simple("resume", http.MethodPost, "/resume", "Poll its orders again", "resumed"),
		simple("cancel", http.MethodPost, "/cancel", "Cancel all its orders, in the background", "its orders are being cancelled"),
		simple("delete", http.MethodDelete, "", "Delete a seller that has no order in processing", "deleted"),
	)
}

func sellerPath(id string) string { return "/v1/sellers/" + url.PathEscape(id) }

// sellerWrite is put and patch: the same members, all of them or those given.
func (p *program) sellerWrite(verb, method, short string) *cobra.Command {
	var statusURL, note, file string
	var headers []string
	var unauthenticated bool
	var concurrency, perMinute int
	cmd := &cobra.Command{
		Use: verb + " SELLER", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeSellers,
		Long: short + `.

A header given as --header 'Name: value' can be seen by other users of this
machine while the command runs; --header @FILE reads "Name: value" lines from a
file instead, @- from standard input. Header values are never shown again.`,
		Example: examples(
			`poller seller `+verb+` acme --url 'https://acme.example/jobs/{order_id}' --header @acme.header`,
			`poller seller `+verb+` acme --file acme.json`,
		),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{}
			if file != "" {
				if err := p.readJSON(file, &body); err != nil {
					return err
				}
			}
			given := cmd.Flags().Changed
			for name, v := range map[string]any{
				"url": statusURL, "note": note, "allow-unauthenticated": unauthenticated,
				"max-concurrency": orNull(concurrency), "max-per-minute": orNull(perMinute),
			} {
				if given(name) {
					member := strings.ReplaceAll(name, "-", "_")
					if name == "url" {
						member = "status_url"
					}
					body[member] = v
				}
			}
			if given("header") {
				h, err := p.readHeaders(headers)
				if err != nil {
					return err
				}
				body["headers"] = h
			}
			if len(body) == 0 {
				return usagef("nothing given: want --url and --header, or --file")
			}
			return show(cmd.Context(), p, method, sellerPath(args[0]), body, p.printSeller)
		},
	}
	f := cmd.Flags()
	f.StringVar(&statusURL, "url", "", "the status `URL`, with {order_id} in it")
	f.StringArrayVarP(&headers, "header", "H", nil, "a header to send, `'Name: value'`, or @FILE; can be repeated")
	f.BoolVar(&unauthenticated, "allow-unauthenticated", false, "the seller needs no header")
	f.IntVar(&concurrency, "max-concurrency", 0, "polls at once; 0: fetch.per_seller")
	f.IntVar(&perMinute, "max-per-minute", 0, "polls in any 60 s; 0: no limit")
	f.StringVar(&note, "note", "", "for humans")
	f.StringVarP(&file, "file", "f", "", "a JSON `FILE` with the members of the API; - is standard input")
	return cmd
}

// readHeaders reads headers as given on the command line: 'Name: value' or @FILE.
func (p *program) readHeaders(given []string) (map[string]string, error) {
	headers := make(map[string]string)
	add := func(line, where string) error {
		name, v, found := strings.Cut(line, ":")
		if !found || name == "" {
			return usagef("%s: want 'Name: value'", where) // the line may be a secret
		}
		headers[name] = strings.TrimSpace(v)
		return nil
	}
	for _, h := range given {
		file, isFile := strings.CutPrefix(h, "@")
		if !isFile {
			if err := add(h, "--header"); err != nil {
				return nil, err
			}
			continue
		}
		r, err := p.open(file)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(r)
		for n := 1; lines.Scan(); n++ {
			if strings.TrimSpace(lines.Text()) == "" {
				continue
			}
			if err := add(lines.Text(), fmt.Sprintf("--header %s, line %d", h, n)); err != nil {
				return nil, errors.Join(err, r.Close())
			}
		}
		if err := errors.Join(lines.Err(), r.Close()); err != nil {
			return nil, err
		}
	}
	return headers, nil
}

// open opens a file named on the command line; - is standard input.
func (p *program) open(file string) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(p.stdin), nil
	}
	return os.Open(file)
}

// readJSON reads a JSON object from a file named on the command line.
func (p *program) readJSON(file string, to *map[string]any) error {
	r, err := p.open(file)
	if err != nil {
		return err
	}
	defer r.Close() // only read
	if err := json.NewDecoder(io.LimitReader(r, 1<<20)).Decode(to); err != nil {
		return fmt.Errorf("%s: want a JSON object: %w", file, err)
	}
	return nil
}

func (p *program) sellerList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List the sellers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showList(cmd.Context(), p, "/v1/sellers", nil, limit,
				[]string{"seller", "active", "kept", "breaker", "last outcome", "failures", "last polled", ""},
				func(s sellerView) []string {
					return []string{
						s.SellerID, strconv.FormatInt(s.ActiveOrders, 10), humanBytes(s.ResultBytes), string(s.Health.Breaker),
						string(deref0(s.Health.LastOutcome)), strconv.Itoa(s.Health.FailuresInARow),
						showTime(s.Health.LastPolledAt), yesNo(s.Paused, "paused"),
					}
				})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 1000, "at most so many; 0: all")
	return cmd
}

func (p *program) sellerShow() *cobra.Command {
	return &cobra.Command{
		Use: "show SELLER", Short: "Show a seller and how it answers", Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeSellers,
		RunE: func(cmd *cobra.Command, args []string) error {
			return show(cmd.Context(), p, http.MethodGet, sellerPath(args[0]), nil, p.printSeller)
		},
	}
}

func (p *program) printSeller(s sellerView) error {
	return p.printFields(
		"seller", s.SellerID,
		"status URL", s.StatusURL,
		"headers", strings.Join(slices.Sorted(maps.Keys(s.Headers)), ", "),
		"max concurrency", orNone(s.MaxConcurrency),
		"max per minute", orNone(s.MaxPerMinute),
		"note", s.Note,
		"active orders", strconv.FormatInt(s.ActiveOrders, 10),
		"kept results", humanBytes(s.ResultBytes),
		"paused", yesNo(s.Paused, "yes"),
		"breaker", string(s.Health.Breaker),
		"last outcome", string(deref0(s.Health.LastOutcome)),
		"last polled", showTime(s.Health.LastPolledAt),
		"last answered", showTime(s.Health.LastAnsweredAt),
		"failures in a row", orNone(s.Health.FailuresInARow),
	)
}

func orNone(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// orNull is nil for 0: no value of its own, in the API's terms.
func orNull(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}

func humanBytes(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// completeSellers offers the ids of sellers to the shell.
func (p *program) completeSellers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := p.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := c.list(cmd.Context(), "/v1/sellers", nil, 1000)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	for _, item := range all.Items {
		var s sellerView
		if json.Unmarshal(item, &s) == nil {
			ids = append(ids, s.SellerID)
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
