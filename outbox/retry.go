package outbox

import "time"

// pauses follow the first failed attempt of an event, the second ... (SPEC §6).
var pauses = [...]time.Duration{
	5 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute,
	2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 10 * time.Hour,
}

// jitter is the share of a pause that chance adds or takes: what failed together is not tried again together.
const jitter = 0.1

// lastPause is the shortest that the last of the pauses can be.
const lastPause = 9 * time.Hour

// retry says when an event is tried again of which so many attempts failed
// (1 or more), or that it is set aside. chance is 0…1, at random.
func retry(attempts int, now time.Time, chance float64) (due time.Time, dead bool) {
	if attempts > len(pauses) {
		return time.Time{}, true
	}
	pause := float64(pauses[attempts-1]) * (1 - jitter + 2*jitter*chance)
	return now.Add(time.Duration(pause)), false
}
