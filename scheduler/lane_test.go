package scheduler

import (
	"testing"
	"time"

	"poller/order"
)

func TestLanesTakeTurns(t *testing.T) {
	newLane := func(number uint32, used time.Duration, inFlight int) *lane {
		return &lane{seller: &order.Seller{Number: number}, used: used, inFlight: inFlight}
	}
	for _, c := range []struct {
		name          string
		first, second *lane
	}{
		{"least worker time first, whatever is in flight", newLane(2, 0, 3), newLane(1, quantum, 0)},
		{"within a quantum who has a poll in flight waits for those that have none", newLane(2, quantum/2, 0), newLane(1, 0, 1)},
		{"else one seller after the other", newLane(1, quantum/2, 1), newLane(2, 0, 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !c.first.before(c.second) || c.second.before(c.first) {
				t.Error("they are the other way round")
			}
		})
	}
}
