package api

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"poller/order"
)

// Options is what an API is made of. All but those said to be optional are needed.
type Options struct {
	Store     Store
	Scheduler Scheduler
	Files     Files

	// CheckSeller says what is wrong with a seller's status URL and headers (SPEC §2); it is quick and does no I/O.
	CheckSeller func(*order.Seller) []FieldError
	// MaxHostCap is the most polls at once to a host ("name:port"): the bound of max_concurrency.
	MaxHostCap func(host string) int
	// DefaultDeadline is orders.deadline.
	DefaultDeadline func() time.Duration

	// Tokens are the SHA-256 of the bearer tokens that are valid now. None: every request is refused.
	Tokens func() [][32]byte
	// Listen is the listen address, whose host is accepted in Host.
	Listen string
	// Hosts are further names accepted in Host (api.hosts). Optional.
	Hosts func() []string

	// Enough reports whether at least min_free is free: else submissions and polls by hand are refused (507).
	Enough func() bool
	// DiskFree is what is free on the data disk, in bytes.
	DiskFree func() int64
	// Webhook counts undelivered events. Optional.
	Webhook func() WebhookView
	// Delivering reports whether webhook.url is set now; if not, replays are refused. Optional: it is.
	Delivering func() bool

	// Uploads prepares uploads. Nil: they are off (501).
	Uploads Uploads
	// Backup writes a consistent copy of the database into a new file at path. order.ErrNoSpace
	// too if it would leave less than min_free; it may leave a part of the file after an error. Nil: there are no backups (501).
	Backup func(ctx context.Context, path string) (BackupInfo, error)

	// TempDir takes the answers of long NDJSON submissions and copies of the database, in files without a name
	// (a copy has one while it is being made). Empty: the system's.
	TempDir string

	Version   string
	StartedAt time.Time
	Now       func() time.Time
	Log       *zap.Logger
}

// API is the HTTP API: a handler, and the background work that it accepts.
type API struct {
	opt       Options
	log       *zap.Logger
	mux       *http.ServeMux
	doc       *huma.OpenAPI
	router    huma.API
	document  []byte // doc as JSON
	canceller *Canceller
	backups   chan struct{} // one element for each under way

	stop    sync.Once
	stopped chan struct{}
}

// New makes an API. Run its Canceller, and call Stop before the server shuts down.
func New(opt Options) (*API, error) {
	for name, missing := range map[string]bool{
		"Store": opt.Store == nil, "Scheduler": opt.Scheduler == nil, "Files": opt.Files == nil,
		"CheckSeller": opt.CheckSeller == nil, "MaxHostCap": opt.MaxHostCap == nil, "DefaultDeadline": opt.DefaultDeadline == nil,
		"Tokens": opt.Tokens == nil, "Enough": opt.Enough == nil, "DiskFree": opt.DiskFree == nil,
		"Now": opt.Now == nil, "Log": opt.Log == nil,
	} {
		if missing {
			return nil, fmt.Errorf("api: Options.%s is needed", name)
		}
	}
	if opt.Hosts == nil {
		opt.Hosts = func() []string { return nil }
	}
	if opt.Webhook == nil {
		opt.Webhook = func() WebhookView { return WebhookView{} }
	}
	if opt.Delivering == nil {
		opt.Delivering = func() bool { return true }
	}
	a := &API{opt: opt, log: opt.Log, backups: make(chan struct{}, maxBackups), stopped: make(chan struct{})}
	a.canceller = newCanceller(opt.Store, opt.Scheduler, opt.Now, opt.Log)
	if err := a.route(); err != nil {
		return nil, err
	}
	return a, nil
}

// Canceller is the background work behind POST /v1/sellers/{id}/cancel; the caller runs it.
func (a *API) Canceller() *Canceller { return a.canceller }

// OpenAPI is the document that GET /openapi.json answers.
func (a *API) OpenAPI() []byte { return a.document }

// Stop ends what would hold up a shutdown: readers of the event feed that wait
// are answered, NDJSON submissions take no further lines (503), backups are cut
// off. It may be called more than once.
func (a *API) Stop() { a.stop.Do(func() { close(a.stopped) }) }

// errStopped reports order.ErrStopping once Stop was called.
func (a *API) errStopped() error {
	select {
	case <-a.stopped:
		return order.ErrStopping
	default:
		return nil
	}
}
