package store

import (
	"context"
	"time"

	bolt "go.etcd.io/bbolt"
)

// clockMark is what was last found out about the wall clock.
type clockMark struct {
	// The newest sweep and event then. What is newer has its times from the clock as the mark found it.
	sweep, event uint64
	at           time.Time     // what time it was then
	off          time.Duration // how far from it the wall clock was; 0: it is trusted
}

func (m *clockMark) encode(e encoder) encoder {
	e.uint(m.sweep)
	e.uint(m.event)
	e.time(m.at)
	e.int(int64(m.off))
	return e
}

func (m *clockMark) decode(d *decoder) bool {
	*m = clockMark{sweep: d.uint(), event: d.uint(), at: d.time(), off: time.Duration(d.int())}
	return d.ok()
}

// SetClock makes durable what is thought of the wall clock: that it is off by so much (0: it is trusted), while it should be at.
func (s *Store) SetClock(ctx context.Context, at time.Time, off time.Duration) error {
	return s.update(ctx, 1, func(t *txn) error {
		m := clockMark{sweep: t.counters.sweeps, event: t.counters.events, at: at, off: off}
		t.put(bMeta, keyClock, m.encode(t.encoder()))
		return nil
	})
}

// Clock returns what time it was at the newest tick or event, by a clock that was right; zero: there was none. off is
// how far from that the wall clock was when it was last doubted; 0: it was not, or was right again.
func (s *Store) Clock(ctx context.Context) (newest time.Time, off time.Duration, err error) {
	latest, _, err := s.Sweeps(ctx, "", 1)
	if err != nil {
		return time.Time{}, 0, err
	}
	err = s.view(ctx, func(tx *bolt.Tx) error {
		var m clockMark
		if rec := tx.Bucket(bMeta.name).Get(keyClock); rec != nil {
			d, ok := s.open(bMeta, keyClock, rec)
			if !ok || !s.whole(m.decode(&d), bMeta, keyClock) {
				m = clockMark{} // then the newest record alone tells
			}
		}
		newest, off = m.at, m.off
		later := func(at time.Time) {
			if at = at.Add(-off); at.After(newest) {
				newest = at
			}
		}
		if len(latest) > 0 && latest[0].ID > m.sweep {
			later(latest[0].StartedAt)
		}
		if k, v := tx.Bucket(bEvents.name).Cursor().Last(); k != nil && parseNumber(k) > m.event {
			if ev, ok := s.reader(tx).event(k, v); ok {
				later(ev.At)
			}
		}
		return nil
	})
	return newest, off, err
}
