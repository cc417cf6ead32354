package order

import "errors"

// Errors that a store or the scheduler answers with, and that the API turns
// into problems. They are wrapped with what they are about; compare with errors.Is.
var (
	ErrNotFound      = errors.New("not found")                     // no such seller, order, file
	ErrUnknownSeller = errors.New("unknown seller")                // a submission names a seller that is not registered
	ErrConflict      = errors.New("conflict")                      // other content under the same id; a remote_id in use; a sweep by hand at work
	ErrEnded         = errors.New("the order has ended")           // it had its transition already
	ErrActive        = errors.New("still in processing")           // the seller has orders in processing
	ErrErased        = errors.New("erased")                        // the buyer's data is gone
	ErrCursor        = errors.New("unknown cursor")                // after= was not given out by this list
	ErrGone          = errors.New("events are no longer kept")     // after= lies outside what the feed holds
	ErrNoSpace       = errors.New("not enough free disk space")    // below min_free, or the disk refused a write: rolled back, nothing changed
	ErrStopping      = errors.New("shutting down")                 // no new work is taken
	ErrDamaged       = errors.New("the record is damaged")         // checksum or shape is wrong; never acted on (GUARANTEES, G9)
	ErrBroken        = errors.New("the database can't be trusted") // a sync failed: nothing more is written until a restart re-reads (G6)
)
