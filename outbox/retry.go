package outbox

import "time"

// retries are the pauses after the first attempt, the second, ... that failed (SPEC §6).
var retries = [...]time.Duration{
	5 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 10 * time.Hour,
}

// jitter is the part of a pause that chance adds or takes, so that what failed together does not come back together.
const jitter = 0.1

// retry says after which pause an event is tried again of which so many
// attempts failed (from 1); again is false when it is set aside. chance is 0…1.
func retry(attempts int, chance float64) (after time.Duration, again bool) {
	if attempts > len(retries) {
		return 0, false
	}
	pause := float64(retries[attempts-1])
	return time.Duration(pause * (1 - jitter + 2*jitter*chance)), true
}
