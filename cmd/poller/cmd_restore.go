package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"poller/order"
	"poller/store"
)

func (p *program) restoreCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Make the database of a backup; the daemon must be stopped", Args: cobra.ExactArgs(1),
		Long: `Make the database of a backup, and give the result files to it. The daemon must
be stopped, and the key file of the time of the backup must be at
secrets.key_file. FILE is checked whole before anything is changed.

A database that exists is refused. With --force it is replaced, and kept beside
under another name; and result files that belong to some other poller database
than the backup's are taken over.

` + restoreMeans,
		Example: examples("poller restore /backup/poller-2026-11-23.db", "poller restore --force /backup/poller-2026-11-23.db"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.restore(cmd.Context(), args[0], force)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace the database that is there")
	return cmd
}

// restoreMeans is what an operator should know of a restored database (SPEC §6, last paragraph).
const restoreMeans = `What a restore means:
- The result is another store. Its id is new, and so are the ids of webhooks and
  the cursors of events: who goes on with a next of before is answered 410, and
  begins anew. Who kept a plain number is not told: numbers go on from the backup.
- What came after the backup is unknown to it. Orders submitted since are gone:
  submit them again. Orders that ended since are in processing again: they are
  polled, end again, and the platform is told of it again, under new ids.
- Deliveries that were pending then are made, perhaps once more.
- Sellers, their headers and pauses are as they were. Orders cancelled since are
  to be cancelled again, orders erased since are to be erased again.
- Result files younger than the backup are kept for orders.retention: their
  orders may come back to them.
`

func (p *program) restore(ctx context.Context, file string, force bool) error {
	c, opts, err := p.stoppedStore()
	if err != nil {
		return err
	}
	report, err := store.Restore(ctx, opts, file, force)
	if err != nil {
		return err
	}
	created, err := markResults(ctx, c, report.OldID, report.NewID, force, p.env)
	if err != nil {
		return fmt.Errorf("the database is restored, but the result files are not its own yet, and \"poller serve\" will refuse them: %w\n"+
			"Mend that, and give the same command with --force", err)
	}
	if n := report.Orders[order.StateCompleted]; created && n > 0 {
		fmt.Fprintf(p.stderr, "poller: %s was empty: bring the result files of %d completed orders back to it before the daemon starts\n", printable(c.Results.Bucket), n)
	}
	if p.jsonOutput() {
		return p.printJSON(restoredView(&report, file, opts.Path, c.Results.Bucket))
	}
	if err := p.printRestored(&report, file, opts.Path, c.Results.Bucket); err != nil {
		return err
	}
	_, err = fmt.Fprint(p.stdout, "\n", restoreMeans)
	return err
}

func (p *program) printRestored(r *store.RestoreReport, file, path, bucket string) error {
	var orders []string
	for _, s := range order.States {
		orders = append(orders, fmt.Sprintf("%d %s", r.Orders[s], s))
	}
	damaged := ""
	if r.Damaged > 0 {
		damaged = fmt.Sprintf("%d records, taken over as they are; they are never acted on", r.Damaged)
	}
	return p.printFields(
		"database", path, "from", file, "made", showTime(&r.BackupAt),
		"store", r.NewID, "was", r.OldID, "key", r.KeyID, "results", bucket,
		"sellers", strconv.FormatInt(r.Sellers, 10), "orders", strings.Join(orders, ", "),
		"events", fmt.Sprintf("%d, the last is %d", r.Events, r.LastEvent),
		"webhook", fmt.Sprintf("%d pending, %d set aside", r.Pending, r.Dead),
		"damaged", damaged, "replaced, kept as", keptName(r.Kept),
	)
}

// keptName is the name of the replaced database without its folder, which is that of the new one.
func keptName(path string) string {
	if path == "" {
		return ""
	}
	return filepath.Base(path)
}

// restored is what -o json says of a restore.
type restored struct {
	Database  string                `json:"database"`
	From      string                `json:"from"`
	BackupAt  time.Time             `json:"backup_at"`
	Store     string                `json:"store"`
	OldStore  string                `json:"old_store"`
	KeyID     string                `json:"key_id"`
	Bucket    string                `json:"bucket"`
	Sellers   int64                 `json:"sellers"`
	Orders    map[order.State]int64 `json:"orders"`
	Events    int64                 `json:"events"`
	LastEvent uint64                `json:"last_event"`
	Webhook   struct {
		Pending int64 `json:"pending"`
		Dead    int64 `json:"dead"`
	} `json:"webhook"`
	Damaged int64  `json:"damaged"`
	Kept    string `json:"kept"` // where the replaced database lies, "" if there was none
}

func restoredView(r *store.RestoreReport, file, path, bucket string) restored {
	v := restored{
		Database: path, From: file, BackupAt: r.BackupAt.UTC(), Store: r.NewID, OldStore: r.OldID, KeyID: r.KeyID, Bucket: bucket,
		Sellers: r.Sellers, Orders: r.Orders, Events: r.Events, LastEvent: r.LastEvent, Damaged: r.Damaged, Kept: r.Kept,
	}
	v.Webhook.Pending, v.Webhook.Dead = r.Pending, r.Dead
	return v
}
