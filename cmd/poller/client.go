package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxAnswer is the longest answer that is read whole, in bytes: a page of 1,000
// orders with 64 KiB of text each.
const maxAnswer = 128 << 20

// A client speaks to the daemon's API.
type client struct {
	base  string // http://HOST:PORT
	where string // how a human names it
	token string
	http  *http.Client
}

// client makes the client from POLLER_URL and POLLER_TOKEN, and what is missing of these from the configuration.
func (p *program) client() (*client, error) {
	address, hasURL := p.env("POLLER_URL")
	token, hasToken := p.env("POLLER_TOKEN")
	var c *Config
	if !hasURL || !hasToken {
		var err error
		if c, err = loadConfig(p.configFile, p.env); err != nil {
			return nil, fmt.Errorf("%w\nPOLLER_URL and POLLER_TOKEN work without a configuration", err)
		}
	}
	var roots *x509.CertPool
	serverName := ""
	if !hasURL {
		address = apiAddress(c)
		if c.API.TLSCert != "" {
			var err error
			if roots, serverName, err = ownCertificate(c.API.TLSCert); err != nil {
				return nil, err
			}
		}
	}
	if !hasToken {
		var err error
		if token, err = readToken(c.API.TokenFile); err != nil {
			return nil, err
		}
	}
	return newClient(address, token, roots, serverName)
}

// apiAddress is where a client on this machine reaches api.listen.
func apiAddress(c *Config) string {
	if strings.HasPrefix(c.API.Listen, "unix:") {
		return c.API.Listen
	}
	host, port, _ := net.SplitHostPort(c.API.Listen) // was checked
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	if c.API.TLSCert != "" {
		return "https://" + net.JoinHostPort(host, port)
	}
	return "http://" + net.JoinHostPort(host, port)
}

// firstCertificate is the first certificate of a PEM file: the server's own.
func firstCertificate(pemBytes []byte) (*x509.Certificate, error) {
	for {
		var block *pem.Block
		block, pemBytes = pem.Decode(pemBytes)
		switch {
		case block == nil:
			return nil, errors.New("no PEM certificate in it")
		case block.Type == "CERTIFICATE":
			return x509.ParseCertificate(block.Bytes)
		}
	}
}

// ownCertificate makes the daemon's own certificate trusted under its own name,
// whatever address it is reached at.
func ownCertificate(file string) (*x509.CertPool, string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, "", fmt.Errorf("api.tls_cert: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b)
	leaf, err := firstCertificate(b)
	if err != nil {
		return nil, "", fmt.Errorf("api.tls_cert: %s: %w", file, err)
	}
	switch {
	case len(leaf.DNSNames) > 0:
		return roots, strings.Replace(leaf.DNSNames[0], "*", "poller", 1), nil
	case len(leaf.IPAddresses) > 0:
		return roots, leaf.IPAddresses[0].String(), nil
	}
	return roots, "", nil
}

func newClient(address, token string, roots *x509.CertPool, serverName string) (*client, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	transport := &http.Transport{
		DialContext:         dialer.DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, ServerName: serverName, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 5 * time.Second,
	}
	c := &client{base: strings.TrimSuffix(address, "/"), where: address, token: token}
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		c.base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}
	} else if u, err := url.Parse(address); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, errors.New("POLLER_URL: want http://HOST:PORT, https://HOST:PORT or unix:PATH")
	}
	if strings.ContainsAny(token, "\r\n\x00") || token == "" {
		return nil, errors.New("POLLER_TOKEN: want one line of text")
	}
	c.http = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token is for one host
	}
	return c, nil
}

// readToken reads the first token of api.token_file.
func readToken(file string) (string, error) {
	b, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("no token in %s: \"poller serve\" makes it at its first start; or set POLLER_TOKEN", file)
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("the token in %s is not yours to read: run as the user of the daemon, or set POLLER_TOKEN", file)
	case err != nil:
		return "", fmt.Errorf("token: %w", err)
	}
	if tokens := parseTokens(b); len(tokens) > 0 {
		return tokens[0], nil
	}
	return "", fmt.Errorf("no token in %s: want one a line; or set POLLER_TOKEN", file)
}

// parseTokens reads tokens, one a line; empty lines and those that begin with # don't count.
func parseTokens(b []byte) []string {
	var tokens []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			tokens = append(tokens, line)
		}
	}
	return tokens
}

// send makes a request. The answer is 2xx and its body must be closed, or the error says what went wrong.
func (c *client) send(ctx context.Context, method, path string, header http.Header, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("User-Agent", "poller/"+version)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.refused(resp)
}

// unanswered is a request that got no answer, or not the whole of it. It wraps what ended it.
type unanswered struct {
	text string
	err  error
}

func (u *unanswered) Error() string { return u.text }
func (u *unanswered) Unwrap() error { return u.err }

// unreachable says what to do when there was no answer.
func (c *client) unreachable(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // without the URL, which the message names
	}
	text := c.where + ": " + err.Error()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		text = fmt.Sprintf("nothing listens at %s: is \"poller serve\" running? (--config or POLLER_URL says where)", c.where)
	case errors.Is(err, fs.ErrPermission):
		text = c.where + " is not yours to open: run as the user of the daemon"
	}
	return &unanswered{text, err}
}

// A refusal is an answer other than 2xx.
type refusal struct {
	Status int
	Title  string `json:"title"`
	Detail string `json:"detail"`
	First  uint64 `json:"first"` // of 410 of the event feed, as is the next
	Store  string `json:"store"`
	Errors []struct {
		Field  string `json:"field"`
		Detail string `json:"detail"`
	} `json:"errors"`
}

func (r *refusal) Error() string {
	msg := joined(": ", fmt.Sprintf("%s (HTTP %d)", r.Title, r.Status), r.Detail)
	for _, e := range r.Errors {
		msg += "\n" + joined(": ", e.Field, e.Detail)
	}
	return msg
}

// asRefusal is the refusal that err is made of, if it is.
func asRefusal(err error) (*refusal, bool) {
	var r *refusal
	ok := errors.As(err, &r)
	return r, ok
}

func (c *client) refused(resp *http.Response) error {
	if resp.StatusCode == http.StatusUnauthorized {
		return fmt.Errorf("%s does not take this token: POLLER_TOKEN, or the first one of api.token_file, must be one of the daemon's", c.where)
	}
	r := &refusal{}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || json.Unmarshal(b, r) != nil || r.Title == "" {
		r.Title = http.StatusText(resp.StatusCode)
	}
	r.Status = resp.StatusCode
	return r
}

// call makes a request with a JSON body (nil: none) and returns the answer's body.
func (c *client) call(ctx context.Context, method, path string, body any) ([]byte, error) {
	var r io.Reader
	header := http.Header{}
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(b)
		header.Set("Content-Type", "application/json")
	}
	resp, err := c.send(ctx, method, path, header, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, c.unreachable(err)
	case len(b) > maxAnswer:
		return nil, fmt.Errorf("%s: an answer of more than %s", c.where, Size(maxAnswer))
	}
	return b, nil
}

// show calls and prints the answer: as it is with -o json, else decoded into a T through table.
func show[T any](ctx context.Context, p *program, method, path string, body any, table func(T) error) error {
	c, err := p.client()
	if err != nil {
		return err
	}
	b, err := c.call(ctx, method, path, body)
	if err != nil {
		return err
	}
	if p.jsonOutput() {
		if len(bytes.TrimSpace(b)) == 0 { // 204
			return nil
		}
		return p.printRaw(b)
	}
	var v T
	if len(bytes.TrimSpace(b)) > 0 {
		if err := json.Unmarshal(b, &v); err != nil {
			return fmt.Errorf("%s: an answer that this version does not understand: %w", c.where, err)
		}
	}
	return table(v)
}

// A page is one page of a list.
type page struct {
	Items []json.RawMessage `json:"items"`
	Next  *string           `json:"next"` // nil at the end
}

// list collects at most limit items of a list (0: all) over as many pages as it takes.
func (c *client) list(ctx context.Context, path string, query url.Values, limit int) (page, error) {
	const perPage = 1000
	all := page{Items: []json.RawMessage{}}
	q := url.Values{}
	for k, v := range query {
		q[k] = v
	}
	for {
		n := perPage
		if limit > 0 {
			n = min(n, limit-len(all.Items))
		}
		q.Set("limit", strconv.Itoa(n))
		b, err := c.call(ctx, http.MethodGet, path+"?"+q.Encode(), nil)
		if err != nil {
			return all, err
		}
		var one page
		if err := json.Unmarshal(b, &one); err != nil {
			return all, fmt.Errorf("%s: an answer that this version does not understand: %w", c.where, err)
		}
		all.Items = append(all.Items, one.Items...)
		all.Next = one.Next
		if one.Next == nil || len(one.Items) == 0 || limit > 0 && len(all.Items) >= limit {
			return all, nil
		}
		q.Set("after", *one.Next)
	}
}

// showList prints a list: {items, next} with -o json, else a table with a row for each item.
func showList[T any](ctx context.Context, p *program, path string, query url.Values, limit int, head []string, row func(T) []string) error {
	if limit < 0 {
		return usagef("--limit: want a number from 0")
	}
	c, err := p.client()
	if err != nil {
		return err
	}
	all, err := c.list(ctx, path, query, limit)
	if err != nil {
		return err
	}
	if p.jsonOutput() {
		return p.printJSON(all)
	}
	rows := make([][]string, len(all.Items))
	for i, item := range all.Items {
		var v T
		if err := json.Unmarshal(item, &v); err != nil {
			return fmt.Errorf("%s: an answer that this version does not understand: %w", c.where, err)
		}
		rows[i] = row(v)
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(p.stderr, "none")
		return err
	}
	if err := p.printTable(head, rows); err != nil {
		return err
	}
	if all.Next != nil {
		_, err = fmt.Fprintf(p.stderr, "there are more: --limit 0 lists all\n")
	}
	return err
}
