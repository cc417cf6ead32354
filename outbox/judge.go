package outbox

import (
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"poller/order"
)

// judge ends an attempt and says what follows from it: for the event, and for all others (SPEC §6, "Webhook").
func (o *Outbox) judge(s *sender, d *order.Delivery, a answer) order.Attempt {
	now := o.wall()
	log := o.log.With(zap.Uint64("number", d.Event.Number), zap.String("order_id", d.Event.OrderID))
	log.Debug("webhook attempt", zap.String("result", string(a.result)), zap.String("reason", a.reason), zap.Duration("took", a.took))

	o.mu.Lock()
	defer o.mu.Unlock()
	o.inFlight--
	o.poke()
	current := o.sender == s // else it says nothing about where events go now
	if !current {
		s.close() // it may have been the last that used these connections
	}
	if a.result == Taken {
		if current {
			o.taken()
		}
		return order.Attempt{Number: d.Event.Number, Taken: true}
	}
	if !current || o.resting {
		// Counts against no event. Due again at once, but behind what waits already: so one event that is never taken can't be every probe.
		return order.Attempt{Number: d.Event.Number, Attempts: d.Attempts, DueAt: now}
	}
	if o.failures++; o.failures >= restAfter {
		o.resting, o.probeAt = true, time.Now().Add(probeEvery)
		o.log.Warn("webhook is down; resting", zap.Int("failures_in_a_row", o.failures), zap.Duration("probe_every", probeEvery), zap.String("reason", a.reason))
	}
	return o.failed(d, a, now, log)
}

// taken: the platform is well. After a rest it is not stormed: one attempt at a time first, and one more with each that is taken. The lock is held.
func (o *Outbox) taken() {
	if o.resting {
		o.log.Info("webhook is taken again")
		o.width = 1
	} else {
		o.width = min(o.width+1, maxInFlight)
	}
	o.failures, o.resting, o.takenAt = 0, false, time.Now()
}

// failed is what follows for an event from a failure that counts. The lock is held.
func (o *Outbox) failed(d *order.Delivery, a answer, now time.Time, log *zap.Logger) order.Attempt {
	chance := rand.Float64()
	n := d.Attempts + 1
	due, dead := retry(n, now, chance)
	if dead && (o.takenAt.IsZero() || time.Since(o.takenAt) > lastPause) {
		// Nothing was taken since the attempt before: that is an outage, and an outage sets nothing aside (G4).
		n = d.Attempts
		due, dead = retry(min(n, len(pauses)), now, chance)
	}
	if dead {
		log.Warn("webhook delivery set aside", zap.Int("attempts", n), zap.String("reason", a.reason))
		return order.Attempt{Number: d.Event.Number, Attempts: n, Dead: true}
	}
	return order.Attempt{Number: d.Event.Number, Attempts: n, DueAt: due}
}
