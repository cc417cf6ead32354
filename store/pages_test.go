package store

import (
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"poller/order"
)

// A bit flipped anywhere in the pages: the store opens (it was a record, or a free page), or says
// that the file is damaged; bbolt never gets to a page that would end the process.
func TestFlippedPages(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, testOptions(dir))
	putSeller(t, s, "a")
	list := submit(t, s, "a", ids("o", 1500)...)
	for i := 0; i < len(list); i += 100 {
		record(t, s, complete(list[i].Ref, "orders/"+list[i].ID))
	}
	must(t, s.Close())
	whole, err := os.ReadFile(testOptions(dir).Path)
	must(t, err)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	const page = 4096
	refused, stopped := 0, 0
	for i := range 60 {
		at := 2*page + rnd.IntN(len(whole)-2*page)
		if i%2 == 0 { // where heads and lists of elements are
			at = (2+rnd.IntN(len(whole)/page-2))*page + rnd.IntN(128)
		}
		bit := byte(1) << rnd.IntN(8)
		whole[at] ^= bit
		// A new file each time: when bbolt panics on the way, a goroutine of it may go on reading the old one.
		must(t, os.Remove(testOptions(dir).Path))
		must(t, os.WriteFile(testOptions(dir).Path, whole, 0o600))
		whole[at] ^= bit
		s, err := Open(t.Context(), testOptions(dir))
		switch {
		case err == nil:
			// A key that moved a little is seen by no check, but by the commit that comes across it: it stops all writing (G6).
			if err := useAll(t, s); err != nil {
				if !errors.Is(err, order.ErrBroken) {
					t.Errorf("bit %d of byte %d: %v", bit, at, err)
				}
				stopped++
			}
			if err := s.Close(); err != nil && !errors.Is(err, order.ErrBroken) {
				t.Errorf("bit %d of byte %d: close: %v", bit, at, err)
			}
		case errors.Is(err, errDamaged), errors.Is(err, ErrForeign), errors.Is(err, ErrKey):
			refused++
		default:
			t.Errorf("bit %d of byte %d: %v", bit, at, err)
		}
	}
	t.Logf("%d of 60 refused, %d stopped writing", refused, stopped)
	if refused == 0 || stopped > 6 {
		t.Error("most that is wrong with pages should be found before they are used")
	}
}

func TestCheckPagesTakesWholeStores(t *testing.T) {
	dir := t.TempDir()
	fullStore(t, dir)
	must(t, checkPages(testOptions(dir).Path))
	s := mustOpen(t, testOptions(dir))
	putSeller(t, s, "big") // a record that flows over
	text := make([]byte, 64<<10)
	for i := range text {
		text[i] = 'x'
	}
	c := complete(submit(t, s, "big", "big-1")[0].Ref)
	decide := c.Decide
	c.Decide = func(o order.Order) order.Decision {
		d := decide(o)
		s := string(text)
		d.Order.Result.Text = &s
		return d
	}
	record(t, s, c)
	must(t, s.Close())
	must(t, checkPages(testOptions(dir).Path))
}
