package scheduler

import (
	"testing"
	"time"
)

func TestLanesTakeTurns(t *testing.T) {
	level := func(used time.Duration) int64 {
		l := &lane{}
		l.spend(used)
		return l.level
	}
	for _, c := range []struct {
		name          string
		first, second turn
	}{
		{"least worker time first, whatever is in flight", turn{inFlight: 3, oldest: 5, number: 2}, turn{level: level(quantum), number: 1}},
		{"within a quantum what earlier ticks left first", turn{level: level(quantum / 2), oldest: 4, inFlight: 1, number: 2}, turn{oldest: 5, number: 1}},
		{"one that answers before one that did not, whatever it left", turn{level: level(quantum / 2), oldest: 5, number: 2}, turn{silent: true, oldest: 4, number: 1}},
		{"then who has a poll in flight waits for those that have none", turn{level: level(quantum / 2), number: 2}, turn{inFlight: 1, number: 1}},
		{"else one seller after the other", turn{level: level(quantum / 2), inFlight: 1, number: 1}, turn{inFlight: 1, number: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !c.first.before(c.second) || c.second.before(c.first) {
				t.Error("they are the other way round")
			}
		})
	}
}
