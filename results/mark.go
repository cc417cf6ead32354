package results

import (
	"context"
	"fmt"
	"strings"
)

// MarkFile is the name, in the folder or bucket, of what says which database the files belong to.
const MarkFile = markFile

// maxMark is the most bytes that a mark has.
const maxMark = 1024

// Mark gives the directory to the database with that store id: from now on
// OpenDir wants that one. It is how a restored database takes over the files of
// the one it was copied from: open the directory as that one, then mark it (SPEC §6).
// A crash leaves the one mark or the other.
func (d *Dir) Mark(_ context.Context, storeID string) error {
	if err := checkStoreID(storeID); err != nil {
		return fmt.Errorf("results folder: %w", err)
	}
	if err := d.mark(storeID); err != nil {
		return fmt.Errorf("results folder: writing %s: %w", markFile, err)
	}
	return nil
}

func checkStoreID(id string) error {
	if id == "" || len(id) >= maxMark || strings.TrimSpace(id) != id || strings.ContainsAny(id, "\r\n") {
		return fmt.Errorf("%.64q can't be a store id", id)
	}
	return nil
}

// What makes a result store a foreign one.

// OwnerError is an ErrForeign that knows which database's result store it is.
type OwnerError struct{ Owner, ours string }

func (e *OwnerError) Error() string {
	return fmt.Sprintf("%v: it belongs to another database, with the store id %.64q; ours is %q", ErrForeign, e.Owner, e.ours)
}

// Unwrap returns ErrForeign.
func (e *OwnerError) Unwrap() error { return ErrForeign }

func foreignOwner(owner, ours string) error { return &OwnerError{owner, ours} }

func foreignContent(name string) error {
	return fmt.Errorf("%w: it is not empty (%.64q), and has no %s", ErrForeign, name, markFile)
}

func foreignMark() error {
	return fmt.Errorf("%w: %s is no store id", ErrForeign, markFile)
}
