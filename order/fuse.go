package order

import "time"

// fuseWindow is the time over which the fuse counts (SPEC §5, "The fuse").
const fuseWindow = time.Hour

// FuseMinimum is how many sellers may lose orders within an hour however few sellers there are.
const FuseMinimum = 20

// Fuse bounds how many sellers may lose orders to poller's own judgement within
// an hour: a fault of ours then ends few orders. It is kept in the store.
type Fuse struct {
	// Losers: when each seller last lost an order so, by seller number. Once blown, frozen but for them.
	Losers  map[uint32]time.Time
	Blown   bool
	BlownAt time.Time
}

// FuseLimit is how many sellers may lose orders: a share (0…1) of the sellers
// with active orders, but at least FuseMinimum; 0 means no limit.
func FuseLimit(share float64, activeSellers int) int {
	if share <= 0 {
		return 0
	}
	return max(FuseMinimum, int(share*float64(activeSellers)+1e-9)) // 0.29 of 100 is 29
}

// Admit reports whether an order of this seller may be given up now, and
// remembers it; the first seller above limit blows the fuse. limit 0: always.
func (f *Fuse) Admit(seller uint32, limit int, now time.Time) bool {
	if limit <= 0 {
		return true
	}
	if f.Losers == nil {
		f.Losers = make(map[uint32]time.Time)
	}
	if !f.Blown {
		for n, at := range f.Losers {
			if now.Sub(at) >= fuseWindow {
				delete(f.Losers, n)
			}
		}
	}
	if _, ok := f.Losers[seller]; !ok {
		if !f.Blown && len(f.Losers) >= limit {
			f.Blown, f.BlownAt = true, now
		}
		if f.Blown {
			return false
		}
	}
	f.Losers[seller] = now
	return true
}
