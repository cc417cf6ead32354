package e2e

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// tortureFactor is how many times as much the long forms do: make torture.
func tortureFactor(t *testing.T) int {
	t.Helper()
	text := os.Getenv("POLLER_TORTURE")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	noError(t, err, "POLLER_TORTURE")
	return max(n, 1)
}

// GUARANTEES, G1 to G5: kill -9 at random moments of a poller that does everything at once, in some of the rounds again
// while it recovers. Whatever was acknowledged, seen, sent or read is there afterwards, and the same.
func TestTorture(t *testing.T) {
	t.Parallel()
	random := seed(t)
	c := newTorture(t, random)
	d := c.begin()
	rounds, again := 6*tortureFactor(t), 0
	for round := range rounds {
		moment := c.after(1 + random.IntN(400))
		wait := c.load(d)
		select {
		case <-moment:
		case <-within(t).Done():
			t.Fatal("poller does not get that far")
		}
		pause(random, 2*time.Millisecond)
		d.kill()
		wait()
		for random.IntN(2) == 0 {
			d = c.launch()
			pause(random, 150*time.Millisecond) // about as long as a start takes, with what it catches up on
			d.kill()
			again++
		}
		d = c.launch()
		c.serves(d)
		c.check(d)
		if t.Failed() {
			t.Fatalf("after %d kills, %d while it recovered", round+1, again)
		}
	}
	c.finish(d)
	t.Logf("%d kills, %d of them while it recovered; %d orders, %d events read, %d observations", rounds+again, again, len(c.orders), len(c.feed), c.seen)
}

// pause lets a random time pass.
func pause(random *rand.Rand, most time.Duration) {
	time.Sleep(time.Duration(random.Int64N(int64(most)))) // any moment is as good as another
}
