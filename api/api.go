package api

import (
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

	// TempDir takes the answers of long NDJSON submissions, in files without a name. Empty: the system's.
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
	a := &API{opt: opt, log: opt.Log, stopped: make(chan struct{})}
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
// are answered, NDJSON submissions take no further lines (503). It may be called more than once.
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
