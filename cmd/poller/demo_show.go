package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"poller/order"
)

// demoRefresh is how often the orders are looked at.
const demoRefresh = 200 * time.Millisecond

// watchDemo shows the orders until all have ended, and returns them: in a live
// table on a terminal, else with a line for each change.
func (p *program) watchDemo(ctx context.Context, d *demo) (map[string]*order.View, error) {
	show := p.changes(d)
	if isTerminal(p.stdout) {
		show = p.liveTable(d)
	}
	tick := time.NewTicker(demoRefresh)
	defer tick.Stop()
	for {
		orders, err := d.look(ctx)
		if err != nil {
			return nil, err
		}
		if err := show(orders); err != nil {
			return nil, err
		}
		left := 0
		for _, o := range orders {
			if o.State == order.StateProcessing {
				left++
			}
		}
		if left == 0 && len(orders) == d.orders() {
			return orders, nil
		}
		select {
		case <-ctx.Done():
			return orders, ctx.Err()
		case <-tick.C:
		}
	}
}

// changes prints a line when an order's last poll said something new, or it ended.
func (p *program) changes(d *demo) func(map[string]*order.View) error {
	said := make(map[string]string)
	return func(orders map[string]*order.View) error {
		for _, s := range d.cast {
			for _, want := range s.orders {
				o := orders[want.id]
				if o == nil || o.Polls == 0 && o.State == order.StateProcessing {
					continue
				}
				now := demoState(o)
				if said[o.OrderID] == now {
					continue
				}
				said[o.OrderID] = now
				if _, err := fmt.Fprintf(p.stdout, "%5.1fs  %-10s  %-12s  %s\n", time.Since(d.begun).Seconds(), s.id, o.OrderID, now); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// demoState is how an order is, in a few words.
func demoState(o *order.View) string {
	switch {
	case o.State != order.StateProcessing:
		return joined("  ", strings.ToUpper(string(o.State)), cell(orderRemark(o)))
	case o.Trouble != nil:
		return string(o.Trouble.Outcome) + ": " + cell(deref0(o.LastDetail))
	case o.Progress != nil:
		return "processing " + showProgress(o.Progress)
	}
	if last := deref0(o.LastOutcome); last != order.Processing {
		return joined(" ", string(last), cell(deref0(o.LastDetail)))
	}
	return "processing"
}

// liveTable draws all orders, over what it drew before.
func (p *program) liveTable(d *demo) func(map[string]*order.View) error {
	drawn := 0
	return func(orders map[string]*order.View) error {
		var rows [][]string
		for _, s := range d.cast {
			name, plays := s.id, s.plays
			for _, want := range s.orders {
				o := orders[want.id]
				if o == nil {
					continue
				}
				rows = append(rows, []string{name, plays, o.OrderID, strconv.FormatUint(o.Polls, 10), demoState(o)})
				name, plays = "", ""
			}
		}
		lines := strings.Split(renderTable([]string{"seller", "what it does", "order", "polls", "state"}, rows), "\n")
		lines = append(lines, fmt.Sprintf("%.0f s", time.Since(d.begun).Seconds()))
		width, height := terminalSize(p.stdout)
		if len(lines) >= height {
			lines = lines[len(lines)-height+1:] // what scrolled away can't be drawn over
		}
		var b strings.Builder
		if drawn > 0 {
			fmt.Fprintf(&b, "\x1b[%dA", drawn)
		}
		for _, l := range lines {
			if r := []rune(l); len(r) >= width { // a line that wraps can't be drawn over
				l = string(r[:width-1])
			}
			b.WriteString(l + "\x1b[K\n")
		}
		b.WriteString("\x1b[J")
		drawn = len(lines)
		_, err := io.WriteString(p.stdout, b.String())
		return err
	}
}

func terminalSize(w io.Writer) (width, height int) {
	if f, ok := w.(*os.File); ok {
		if width, height, err := term.GetSize(int(f.Fd())); err == nil && width > 1 && height > 1 {
			return width, height
		}
	}
	return 80, 24
}

// demoSummary says what happened, reads every kept file once more, and fails
// if an order did not end as expected.
func (p *program) demoSummary(ctx context.Context, d *demo, orders map[string]*order.View) error {
	states := make(map[order.State]int)
	var polls uint64
	files, bytes := 0, int64(0)
	var wrong []string
	for _, s := range d.cast {
		for _, want := range s.orders {
			o := orders[want.id]
			states[o.State]++
			polls += o.Polls
			if w := want.judge(o); w != "" {
				wrong = append(wrong, w)
			}
			if o.Result == nil {
				continue
			}
			for n, f := range o.Result.Files {
				if err := d.client.copyFile(ctx, o, n, io.Discard); err != nil {
					wrong = append(wrong, fmt.Sprintf("%s, file %d: %v", o.OrderID, n, err))
				}
				files++
				bytes += deref0(f.Size)
			}
		}
	}
	sweeps, err := d.client.list(ctx, "/v1/sweeps", nil, 0)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, `
%d orders ended in %.0f s, after %d polls in %d sweeps: %d completed, %d failed, %d cancelled.
%d result files (%s) were kept, and their SHA-256 is right.

- An order ends once: by the seller's word, by the platform's cancel, or by its deadline.
- A seller that is down, slow, busy or broken delays nobody else, and ends nothing by itself.
- One order that a healthy seller has lost or garbles is given up after a while.
- Why is on the record: "poller order history ORDER", or /v1/events for the platform.
`, len(orders), time.Since(d.begun).Seconds(), polls, len(sweeps.Items),
		states[order.StateCompleted], states[order.StateFailed], states[order.StateCancelled], files, humanBytes(bytes))
	if len(wrong) > 0 {
		return fmt.Errorf("not as expected:\n%s", strings.Join(wrong, "\n"))
	}
	_, err = fmt.Fprintln(p.stdout, "\nEvery order ended as expected. Next: poller serve, poller --help")
	return err
}
