package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poller/internal/fakeseller"
)

// A crashSite is a poller with a platform, and three orders of acme that
// complete at their next poll: with a text, with a file and with two.
type crashSite struct {
	*site
	platform *receiver
	sent     map[string][]fakeseller.File
	d        *daemon
	sweep    sweepView    // the one that is under way
	victims  chan *daemon // whom the next hand that is to kill kills
}

func newCrashSite(t *testing.T) *crashSite {
	t.Helper()
	c := &crashSite{site: newSite(t, 1), platform: newReceiver(t), victims: make(chan *daemon, 1)}
	c.tells(c.platform)
	c.sent = map[string][]fakeseller.File{
		"text": nil,
		"one":  {{Name: "one.bin", Size: 200 << 10, Seed: 1}},
		"two":  {{Name: "first.bin", Bytes: randomBytes(100<<10, 2)}, {Name: "second.bin", Bytes: randomBytes(24<<20, 3)}},
	}
	c.d = c.start()
	c.d.register(0, "acme")
	for id, files := range c.sent {
		script := fakeseller.Quick("done")
		if len(files) > 0 {
			script = fakeseller.Files(files...)
		}
		c.sellers.Handle("acme/"+id, script)
	}
	return c
}

func randomBytes(n int, seed byte) []byte {
	content := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(content) // never fails
	return content
}

// begins submits the orders and starts a sweep.
func (c *crashSite) begins(orders ...string) {
	c.t.Helper()
	c.d.submitMany("acme", orders...)
	c.d.call(http.MethodPost, "/v1/sweeps", nil, http.StatusAccepted, &c.sweep)
}

// killed waits until somebody has killed poller.
func (c *crashSite) killed() {
	c.t.Helper()
	select {
	case <-c.d.exited:
	case <-within(c.t).Done():
		c.t.Fatal("nobody kills poller")
	}
}

// left looks into a copy of what the kill left: an order's state.
func (c *crashSite) left(order string) string {
	c.t.Helper()
	if o, ok := readCopy(c.t, c.site, []string{order})[order]; ok {
		return string(o.State)
	}
	return "processing"
}

// kept returns the files in an order's folder by their digests, with their sizes.
func (c *crashSite) kept(order string) map[string]int64 {
	c.t.Helper()
	all := make(map[string]int64)
	err := filepath.WalkDir(filepath.Join(c.data("results"), "orders", order), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		all[digest(content)] = int64(len(content))
		return err
	})
	noError(c.t, err, "reading the result folder")
	return all
}

// goesOn starts poller again and lets it do what is left. Then every order has
// one end, and its files; the platform was told of each, at least once and always the same.
func (c *crashSite) goesOn(orders ...string) {
	c.t.Helper()
	t := c.t
	d := c.start()
	c.d = d
	for s := range allPages[sweepView](d, "/v1/sweeps?limit=100") {
		if s.ID == c.sweep.ID && s.State == "running" {
			d.swept(s.ID)
		}
	}
	c.platform.waitTaken(within(t), len(orders))
	d.waitPending(0)
	ends := d.checkEvents()
	equal(t, "orders that have ended", len(ends), len(orders))
	for _, id := range orders {
		equal(t, "the end of order "+id, ends[id], "completed")
		if files := c.sent[id]; len(files) > 0 {
			d.checkFiles(id, files)
		}
	}
	d.checkTold(c.platform)
	d.stop()
	checkDatabase(t, c.data("poller.db"))
}

// once is a script whose first poll is answered by a function.
func once(f http.HandlerFunc, then fakeseller.Script) fakeseller.Script {
	return append(fakeseller.Script{{Func: f}}, then...)
}

// sendHalf sends the answer with the files of order two and kills poller in the middle of the second one.
func (c *crashSite) sendHalf(w http.ResponseWriter, _ *http.Request) {
	files := c.sent["two"]
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"status":"completed","output_type":"file","files":[{"filename":"first.bin","file_base64":%q},{"filename":"second.bin","file_base64":"`, base64.StdEncoding.EncodeToString(files[0].Bytes))
	second := base64.StdEncoding.EncodeToString(files[1].Bytes)
	_, _ = io.Copy(w, strings.NewReader(second[:len(second)*3/4])) // more than all buffers on the way hold
	(<-c.victims).kill()
	panic(http.ErrAbortHandler)
}

// Issue 5, "Shown by": kill -9 between the steps of: file written, synced,
// commit, sent, marked; here those that sellers and the platform can see. TestCrashAtSystemCalls has
// those that only the kernel sees. GUARANTEES, G2, G3, G4 and G5.
func TestCrashBetweenSteps(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(c *crashSite){
		"one file is whole, the next is half written": func(c *crashSite) {
			c.victims <- c.d
			c.sellers.Handle("acme/two", once(c.sendHalf, fakeseller.Files(c.sent["two"]...)))
			c.begins("text", "two")
			c.killed()
			equal(t, "state after the kill", c.left("two"), "processing")
			files, first, part := c.kept("two"), c.sent["two"][0], int64(0)
			for _, size := range files {
				part = max(part, size)
			}
			if _, whole := files[first.SHA256()]; !whole || len(files) != 2 || part <= first.Len() || part >= c.sent["two"][1].Len() {
				t.Errorf("the kill left the files %v, want the first and a part of the second", files)
			}
			c.goesOn("text", "two")
		},
		"committed, not sent": func(c *crashSite) {
			c.platform.server.Blackhole() // it is connected to, and does not say a word
			c.begins("one")
			c.d.call(http.MethodGet, "/v1/events?after=1&wait=60s", nil, http.StatusOK, nil)
			c.d.kill()
			equal(t, "state after the kill", c.left("one"), "completed")
			equal(t, "events told before the kill", len(c.platform.left()), 0)
			c.platform.server.Restore()
			c.goesOn("one")
		},
		"sent, not answered, three times": func(c *crashSite) {
			c.platform.replies(func(a attempt) int {
				select {
				case d := <-c.victims:
					d.kill()
				case <-a.gone:
				}
				return breakOff
			})
			c.begins("one", "two", "text")
			for n := range 3 {
				if n > 0 {
					c.d = c.start()
				}
				c.victims <- c.d
				c.killed()
			}
			c.platform.replies(taken)
			c.goesOn("one", "two", "text")
			tries := 0
			for id := range c.sent {
				tries += c.platform.of(id).tries
			}
			if tries < 3+3 {
				t.Errorf("%d attempts, want one for each kill and one for each event", tries)
			}
		},
		"answered, perhaps not marked": func(c *crashSite) {
			c.victims <- c.d
			c.platform.whenAnswered(func(attempt) { (<-c.victims).kill() })
			c.begins("one")
			c.killed()
			equal(t, "state after the kill", c.left("one"), "completed")
			c.platform.whenAnswered(nil)
			c.goesOn("one")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(newCrashSite(t))
		})
	}
}
