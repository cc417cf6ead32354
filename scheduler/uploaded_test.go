package scheduler

import (
	"strings"
	"testing"
	"time"

	"poller/order"
)

// An object that a seller uploaded beforehand ends one order. Another that names it is refused, and the object stays:
// it is not this poll's to remove.
func TestAnObjectOfAnotherOrderIsARejectedResult(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.seller("a")
		w.submit("a", 2)
		w.script(func(_, id string, n int) (order.Observation, time.Duration) {
			if id == "a-1" && n == 0 {
				return processing(), 0
			}
			obs := completed("beside")
			obs.Result.Files = []order.File{
				{Filename: "f", MIMEType: "a/b", Size: 1, SHA256: "ab", ObjectKey: "orders/x/uploaded", Uploaded: true},
				{Filename: "g", MIMEType: "a/b", Size: 1, SHA256: "ab", ObjectKey: "orders/x/of-" + id},
			}
			return obs, 0
		})
		w.start()
		w.toTick()
		w.toTick()
		if o := w.order("a-0"); o.State != order.StateCompleted {
			t.Errorf("a-0: %s, %s", o.State, o.LastDetail)
		}
		o := w.order("a-1")
		if o.Ended() || o.LastOutcome != order.RejectedResult || !strings.Contains(o.LastDetail, "object_key: orders/x/uploaded belongs to another order") {
			t.Errorf("a-1: %s, %s, %s", o.State, o.LastOutcome, o.LastDetail)
		}
		if got := strings.Join(w.removed, " "); got != "orders/x/of-a-1" {
			t.Errorf("removed %s", got)
		}
		w.close()
	})
}
