//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// statusError is an answer that is none of 2xx.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return e.text }

// request sends a request; the answer is one of 2xx.
func (d *daemon) request(ctx context.Context, method, path, mediaType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Prefer", "return=minimal")
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return nil, &statusError{resp.StatusCode, fmt.Sprintf("%s %s: %s: %s", method, path, resp.Status, text)}
	}
	return resp, nil
}

// call sends in as JSON, unless it is nil, and decodes the answer into out, unless that is nil.
func (d *daemon) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	resp, err := d.request(ctx, method, path, "application/json", body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// parallel is how many requests register sellers at once.
const parallel = 16

// register makes n sellers, spread evenly over the hosts.
func (d *daemon) register(ctx context.Context, urls []string, n int) error {
	errs := make([]error, parallel)
	var all sync.WaitGroup
	for p := range parallel {
		all.Go(func() {
			for i := p; i < n && errs[p] == nil; i += parallel {
				errs[p] = d.call(ctx, http.MethodPut, "/v1/sellers/"+sellerID(i), map[string]any{
					"status_url": urls[i%len(urls)] + "/" + sellerID(i) + "/status/{order_id}",
					"headers":    map[string]string{"Authorization": "Bearer key-of-" + sellerID(i)},
				}, nil)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func sellerID(i int) string { return fmt.Sprintf("seller-%05d", i) }
func orderID(i int) string  { return fmt.Sprintf("order-%07d", i) }

// submit sends n orders, spread evenly over the sellers and mixed as they
// would come in, in one request, and returns when all are on disk.
func (d *daemon) submit(ctx context.Context, n, sellers int) error {
	body, lines := io.Pipe()
	go func() {
		var text []byte
		for i := range n {
			text = fmt.Appendf(text, `{"order_id":"%s","seller_id":"%s"}`+"\n", orderID(i), sellerID(i%sellers))
			if len(text) > 32<<10 || i == n-1 {
				if _, err := lines.Write(text); err != nil {
					return // the request has ended
				}
				text = text[:0]
			}
		}
		_ = lines.Close() // always nil
	}()
	resp, err := d.request(ctx, http.MethodPost, "/v1/orders", "application/x-ndjson", body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var sum struct{ Created, Refused int }
	if err := json.NewDecoder(resp.Body).Decode(&sum); err != nil {
		return err
	}
	if sum.Created != n {
		return fmt.Errorf("of %d orders %d were created and %d refused", n, sum.Created, sum.Refused)
	}
	return nil
}

// sweep is the record of a sweep.
type sweep struct {
	ID       uint64
	State    string
	Due      int
	Polled   int
	Outcomes map[string]int
}

// sweep starts a sweep by hand and returns its record when it has ended.
func (d *daemon) sweep(ctx context.Context) (s sweep, err error) {
	if err := d.call(ctx, http.MethodPost, "/v1/sweeps", nil, &s); err != nil {
		return s, err
	}
	for {
		var list struct{ Items []sweep }
		if err := d.call(ctx, http.MethodGet, "/v1/sweeps?limit=1", nil, &list); err != nil {
			return s, err // also when ctx has ended
		}
		if s = list.Items[0]; s.State != "running" {
			return s, nil
		}
		pause(ctx)
	}
}

// newestEvent returns the number of the newest event, which is how many there
// have been: it asks what follows certain numbers, and is told that there is no such event beyond the newest.
func (d *daemon) newestEvent(ctx context.Context) (int, error) {
	missing := func(n int) (bool, error) {
		err := d.call(ctx, http.MethodGet, "/v1/events?limit=1&after="+strconv.Itoa(n), nil, nil)
		var refused *statusError
		if errors.As(err, &refused) && refused.code == http.StatusGone {
			return true, nil
		}
		return false, err
	}
	low, high := 0, 1 // low is there, high is not
	for {
		gone, err := missing(high)
		if err != nil {
			return 0, err
		}
		if gone {
			break
		}
		low, high = high, 2*high
	}
	for high-low > 1 {
		middle := low + (high-low)/2
		gone, err := missing(middle)
		if err != nil {
			return 0, err
		}
		if gone {
			high = middle
		} else {
			low = middle
		}
	}
	return low, nil
}

// metric returns the value of one of the daemon's metrics, by its name with its labels.
func (d *daemon) metric(ctx context.Context, name string) (float64, error) {
	text, err := d.scrape(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}

// storeBytes returns the size of the database.
func (d *daemon) storeBytes(ctx context.Context) (int64, error) {
	n, err := d.metric(ctx, "poller_store_bytes")
	return int64(n), err
}

// scrape asks the server of metrics and health.
func (d *daemon) scrape(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.metrics+path, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = &statusError{resp.StatusCode, path + ": " + resp.Status}
	}
	return string(text), err
}
