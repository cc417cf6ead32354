package api

import (
	"context"
	"io"
	"time"

	"poller/order"
)

// Store is what the API needs of the store. Every change is durable when its
// method returns without an error. Errors are those of package order, wrapped.
type Store interface {
	// ID is the store's own id, made at its creation; event cursors carry it.
	ID() string
	SellerStore
	OrderStore
	FeedStore
	OutboxStore
}

// SellerStore keeps sellers.
type SellerStore interface {
	// PutSeller creates (true) or replaces a seller; Number, Paused and Cancelling stay as they were.
	PutSeller(ctx context.Context, s order.Seller) (order.Seller, bool, error)
	// UpdateSeller changes a seller; an error of fn leaves it as it was and comes back. ErrNotFound.
	UpdateSeller(ctx context.Context, id string, fn func(*order.Seller) error) (order.Seller, error)
	// Seller: ErrNotFound.
	Seller(ctx context.Context, id string) (order.Seller, error)
	// Sellers lists by id; the second result is the cursor of the next page, "" at the end. ErrCursor.
	Sellers(ctx context.Context, after string, limit int) ([]order.Seller, string, error)
	// DeleteSeller: ErrActive while it has orders in processing, ErrNotFound.
	DeleteSeller(ctx context.Context, id string) error
	// SellerUsage is answered from memory: orders in processing, bytes of kept results.
	SellerUsage(number uint32) (activeOrders, resultBytes int64)
	// CancelSeller cancels at most limit orders of a seller; more is false when
	// none is left, and then Cancelling is cleared.
	CancelSeller(ctx context.Context, number uint32, limit int, now time.Time) (refs []order.Ref, more bool, err error)
}

// OrderStore keeps orders.
type OrderStore interface {
	// Submit stores new orders in one commit. The error means that nothing was stored.
	Submit(ctx context.Context, subs []order.Submission, defaultDeadline time.Duration, now time.Time) ([]order.Submitted, error)
	// Order: ErrNotFound, ErrDamaged.
	Order(ctx context.Context, id string) (order.Order, error)
	// Orders lists; the second result is the cursor of the next page, "" at the end. ErrCursor, ErrUnknownSeller.
	Orders(ctx context.Context, f order.Filter, after string, limit int) ([]order.Order, string, error)
	// UpdateOrder commits what fn decides; an error of fn leaves the order as it was and comes back. ErrNotFound.
	UpdateOrder(ctx context.Context, id string, fn func(order.Order) (order.Decision, error)) (order.Order, error)
	// Erase deletes a buyer's data of an order that has ended. ErrNotFound, ErrActive while it is in processing,
	// ErrErased if that was done already.
	Erase(ctx context.Context, id string) error
	// History lists an order's events, oldest first. ErrNotFound.
	History(ctx context.Context, id string) ([]order.Event, error)
	// Release ends at most limit held orders of a seller, "" for all; more: call again.
	Release(ctx context.Context, sellerID string, limit int, now time.Time) (n int, more bool, err error)
	// Held counts the orders that are held, from memory.
	Held() int64
}

// FeedStore keeps events and the records of sweeps.
type FeedStore interface {
	// Events lists events with numbers above after, in order. ErrGone if the next one is no longer kept.
	Events(ctx context.Context, after uint64, limit int) ([]order.Event, error)
	// EventRange: the numbers of the oldest event kept and of the newest; first is last+1 when none is kept.
	EventRange() (first, last uint64)
	// EventsChanged is closed at the next commit that adds an event.
	EventsChanged() <-chan struct{}
	// Sweeps lists sweeps, newest first. ErrCursor.
	Sweeps(ctx context.Context, after string, limit int) ([]order.Sweep, string, error)
}

// OutboxStore queues ends of orders for the webhook once more, whatever became of them before. They go out with the same id and body.
type OutboxStore interface {
	// ReplayOrder queues the end of one order; n is 0 if it has not ended. ErrNotFound, ErrDamaged.
	ReplayOrder(ctx context.Context, id string, now time.Time) (n int, err error)
	// ReplayAfter queues at most limit ends that the feed holds after a number, in short steps; more: go on
	// after last. ErrGone as Events; a number above the newest too.
	ReplayAfter(ctx context.Context, after uint64, now time.Time, limit int) (n int, last uint64, more bool, err error)
}

// Uploads prepares uploads of result files.
type Uploads interface {
	// Prepare gives out a key and a signed URL for one PUT of a file with exactly this size and type, for
	// an order in processing. ErrNotFound, ErrEnded, ErrErased; ErrConflict if the order or its seller would have
	// too much; ErrNoSpace.
	Prepare(ctx context.Context, o order.Order, filename, mimeType string, size int64) (Upload, error)
}

// BackupInfo says what belongs to a copy of the database and is not in it.
type BackupInfo struct {
	KeyID  string // of the key in secrets.key_file that seals the sellers' headers
	Bucket string // results.bucket; no credentials
}

// Scheduler is what the API needs of the scheduler.
type Scheduler interface {
	// PollNow polls an order or joins a poll of it in flight; it returns when the decision is durable.
	// ErrNotFound, ErrEnded, ErrNoSpace, ErrStopping.
	PollNow(ctx context.Context, orderID string) (order.Observation, order.Order, error)
	// StartSweep: ErrConflict while one started by hand still has orders that wait for nobody, ErrNoSpace, ErrStopping.
	StartSweep(ctx context.Context, dueOnly bool) (order.Sweep, error)
	// LiveSweep is the running sweep with its books as of now.
	LiveSweep() (order.Sweep, bool)
	// NextPoll is when the order will be polled next; zero: it won't, or nobody knows.
	NextPoll(o *order.Order) time.Time
	// SellerHealth says how the seller answers and whether it is left alone.
	SellerHealth(number uint32) (order.Health, order.Breaker)
	// SellerChanged is called after every durable change of a seller.
	SellerChanged(s order.Seller)
	// SellerDeleted is called after a seller was deleted.
	SellerDeleted(number uint32)
	// ClockDoubted reports whether the wall clock is doubted (GUARANTEES, G12).
	ClockDoubted() bool
	// ConfirmClock says that the wall clock is right.
	ConfirmClock(ctx context.Context) error
}

// Files opens the files of results.
type Files interface {
	// Open opens a file that an order names. order.ErrNotFound; order.ErrDamaged
	// if it has another size. A file whose SHA-256 is another one is order.ErrDamaged from
	// the last Read, which gives nothing: nobody gets a whole file that is damaged.
	Open(ctx context.Context, f order.File) (io.ReadCloser, error)
}
