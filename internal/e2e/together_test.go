package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"poller/internal/fakeseller"
)

// together has n requests sent at the same moment, and returns their answers in the order of their numbers.
func (d *daemon) together(n int, request func(i int) (method, path string, body any)) []answer {
	d.t.Helper()
	answers, errs := make([]answer, n), make([]error, n)
	begin := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			method, path, body := request(i)
			<-begin
			answers[i], errs[i] = d.do(method, path, body)
		})
	}
	close(begin)
	all.Wait()
	for i, err := range errs {
		noError(d.t, err, fmt.Sprint("request ", i))
	}
	return answers
}

// counts says how many answers have each status.
func counts(answers []answer) string {
	n := map[int]int{}
	for _, a := range answers {
		n[a.status]++
	}
	return fmt.Sprint(n)
}

// SPEC §6: of 100 submissions of one id at the same moment one creates the
// order and the others are told of the same one; with other content they are
// refused, as is another order under its remote_id. GUARANTEES G1: what they were told is what is kept.
func TestAHundredSubmissionsAtOnce(t *testing.T) {
	t.Parallel()
	const n = 100
	s := newSite(t, 1)
	s.set("log.level", "info")
	d := s.start()
	d.register(0, "a")
	post := func(body func(i int) object) []answer {
		return d.together(n, func(i int) (string, string, any) { return http.MethodPost, "/v1/orders", body(i) })
	}
	for round := range 3 * tortureFactor(t) {
		id := func(kind string) string { return fmt.Sprint(kind, "-", round) }

		same := post(func(int) object {
			return object{"order_id": id("same"), "seller_id": "a", "metadata": object{"k": "v"}}
		})
		equal(t, "the same 100 times", counts(same), fmt.Sprint(map[int]int{200: n - 1, 201: 1}))
		for _, a := range same[1:] {
			var one, other orderView
			noError(t, json.Unmarshal(same[0].body, &one), "decoding an order")
			noError(t, json.Unmarshal(a.body, &other), "decoding an order")
			if fmt.Sprintf("%+v", one) != fmt.Sprintf("%+v", other) {
				t.Fatalf("not the same order:\n%s\n%s", same[0].body, a.body)
			}
		}

		others := post(func(i int) object {
			return object{"order_id": id("other"), "seller_id": "a", "metadata": object{"k": fmt.Sprint(i)}}
		})
		equal(t, "100 different ones", counts(others), fmt.Sprint(map[int]int{201: 1, 409: n - 1}))
		two := post(func(i int) object {
			return object{"order_id": id("two"), "seller_id": "a", "metadata": object{"k": fmt.Sprint(i % 2)}}
		})
		equal(t, "two contents 50 times each", counts(two), fmt.Sprint(map[int]int{200: n/2 - 1, 201: 1, 409: n / 2}))
		for kind, answers := range map[string][]answer{"other": others, "two": two} {
			for i, a := range answers {
				if a.status == http.StatusCreated {
					var kept struct{ Metadata map[string]string }
					d.call(http.MethodGet, "/v1/orders/"+id(kind), nil, http.StatusOK, &kept)
					if want := map[string]int{"other": i, "two": i % 2}[kind]; kept.Metadata["k"] != fmt.Sprint(want) {
						t.Errorf("%s: the content of %d was acknowledged, that of %s is kept", id(kind), want, kept.Metadata["k"])
					}
				}
			}
		}

		remote := post(func(i int) object {
			return object{"order_id": fmt.Sprint(id("remote"), "-", i), "seller_id": "a", "remote_id": id("r")}
		})
		equal(t, "100 orders of one remote_id", counts(remote), fmt.Sprint(map[int]int{201: 1, 409: n - 1}))

		lines := d.together(n, func(int) (string, string, any) {
			var text bytes.Buffer
			for i := range 20 {
				fmt.Fprintf(&text, `{"order_id":"%s-%d","seller_id":"a"}`+"\n", id("line"), i)
			}
			return http.MethodPost, "/v1/orders", text.Bytes()
		})
		created := 0
		for _, a := range lines {
			var sum struct{ Lines, Created, Existing, Refused int }
			noError(t, json.Unmarshal([]byte(lastLine(a.body)), &sum), "reading the sums")
			if created += sum.Created; sum.Created+sum.Existing != 20 {
				t.Errorf("of 20 lines: %+v", sum)
			}
		}
		equal(t, "created by 20 lines 100 times", created, 20)

		sellers := d.together(n, func(i int) (string, string, any) {
			return http.MethodPut, "/v1/sellers/" + id("s"), object{"status_url": d.sellers.StatusURL(0, "s"), "allow_unauthenticated": true, "note": fmt.Sprint(i)}
		})
		equal(t, "a seller put 100 times", counts(sellers), fmt.Sprint(map[int]int{200: n - 1, 201: 1}))
	}
	before := len(d.orders())
	d.checkEvents()
	d.kill()
	d = s.start()
	equal(t, "orders after kill -9", len(d.orders()), before)
	d.checkEvents()
}

// end is what may come to an order at the same moment.
type end struct {
	kind   string
	answer answer
}

// GUARANTEES G2: a cancel beside a completed answer beside the deadline beside
// an erasure beside polls by hand: an order ends once, and every answer agrees
// with that end: nobody was told of another one, before or after.
func TestAllEndsAtOnce(t *testing.T) {
	t.Parallel()
	rnd := seed(t)
	s := newSite(t, 2)
	s.set("log.level", "info", "fetch.per_host", "100", "fetch.per_seller", "100")
	d := s.start()
	orders := names("o", 60*tortureFactor(t))
	for i, seller := range []string{"files", "texts", "fails", "never"} {
		d.register(i%2, seller)
	}
	s.sellers.Handle("files/*", fakeseller.FileBase64(fakeseller.File{Name: "f.bin", Bytes: bytes.Repeat([]byte("file"), 50_000)}))
	s.sellers.Handle("texts/*", fakeseller.Quick("done"))
	s.sellers.Handle("fails/*", fakeseller.Failed("no"))
	s.sellers.Handle("never/*", fakeseller.Processing())
	const batch = 20
	told := map[string][]end{}
	var mu sync.Mutex
	for len(told) < len(orders) {
		ids := orders[len(told) : len(told)+batch]
		for i, id := range ids {
			seller := []string{"files", "texts", "fails", "never"}[i%4]
			deadline := time.Now().Add(time.Duration(300+rnd.IntN(200)) * time.Millisecond)
			d.call(http.MethodPost, "/v1/orders", object{"order_id": id, "seller_id": seller, "deadline": deadline}, http.StatusCreated, nil)
			told[id] = nil
		}
		var all sync.WaitGroup
		for _, id := range ids {
			for kind, request := range map[string][2]string{
				"cancel": {http.MethodPost, "/cancel"}, "poll": {http.MethodPost, "/poll"}, "poll again": {http.MethodPost, "/poll"}, "erase": {http.MethodDelete, ""},
				"get": {http.MethodGet, ""}, "get again": {http.MethodGet, ""}, "deadline": {http.MethodPatch, ""},
			} {
				wait := time.Duration(200+rnd.IntN(300)) * time.Millisecond
				var body any
				if kind == "deadline" {
					body = object{"deadline": time.Now().Add(450 * time.Millisecond)}
				}
				all.Go(func() {
					time.Sleep(wait) // when it comes is what the seed decides
					a, err := d.do(request[0], "/v1/orders/"+id+request[1], body)
					if err != nil {
						t.Errorf("%s of %s: %v", kind, id, err)
					}
					mu.Lock()
					defer mu.Unlock()
					told[id] = append(told[id], end{kind, a})
				})
			}
		}
		for range 3 { // sweeps decide over deadlines
			wait := time.Duration(rnd.IntN(500)) * time.Millisecond
			all.Go(func() {
				time.Sleep(wait)
				if a, err := d.do(http.MethodPost, "/v1/sweeps", nil); err != nil || a.status != http.StatusAccepted && a.status != http.StatusConflict {
					t.Errorf("a sweep: %d, %v", a.status, err)
				}
			})
		}
		all.Wait()
	}
	time.Sleep(time.Second) // all deadlines are over
	d.sweep()

	ends := d.checkEvents()
	kinds := map[string]int{}
	named, erased := map[string]bool{}, map[string]bool{}
	for _, id := range orders {
		kinds[ends[id]]++
		d.agree(id, ends[id], told[id])
		a, err := d.do(http.MethodGet, "/v1/orders/"+id, nil)
		noError(t, err, "reading an order")
		if a.status == http.StatusGone {
			erased[id] = true // its files go later
			continue
		}
		o := d.order(id)
		if o.State != ends[id] || ends[id] == "" {
			t.Errorf("%s is %s, the feed says %q", id, o.State, ends[id])
		}
		if o.Result != nil {
			for i, f := range o.Result.Files {
				if content := d.file(id, i).body; digest(content) != f.SHA256 {
					t.Errorf("%s: file %d has another digest", id, i)
				}
				named[filepath.Base(f.ObjectKey)] = true
			}
		}
	}
	for _, end := range []string{"completed", "failed", "cancelled"} {
		if kinds[end] == 0 {
			t.Errorf("no order of %d was %s: %v", len(orders), end, kinds)
		}
	}
	t.Logf("ends: %v", kinds)
	d.stop()
	noError(t, filepath.WalkDir(s.data("results"), func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && strings.Contains(path, "/orders/") && !named[e.Name()] && !erased[filepath.Base(filepath.Dir(path))] {
			t.Errorf("%s belongs to no order", path)
		}
		return err
	}), "walking through the results")
	checkDatabase(t, s.data("poller.db"))
}

// agree checks each answer about an order against the end that it came to.
func (d *daemon) agree(id, end string, told []end) {
	d.t.Helper()
	erased := false
	for _, e := range told {
		erased = erased || e.kind == "erase" && e.answer.status == http.StatusNoContent
	}
	for _, e := range told {
		var o orderView
		switch e.kind {
		case "poll", "poll again":
			var v struct{ Order orderView }
			_ = json.Unmarshal(e.answer.body, &v) // a problem has none
			o = v.Order
		default:
			_ = json.Unmarshal(e.answer.body, &o)
		}
		status, wrong := e.answer.status, false
		switch status {
		case http.StatusOK:
			switch {
			case strings.HasPrefix(e.kind, "get"), strings.HasPrefix(e.kind, "poll"):
				wrong = o.State != "processing" && o.State != end
			case e.kind == "cancel":
				wrong = end != "cancelled" || o.State != end
			case e.kind == "deadline":
				wrong = o.State != "processing"
			}
		case http.StatusNoContent:
			wrong = e.kind != "erase"
		case http.StatusGone:
			wrong = !erased
		case http.StatusUnprocessableEntity:
			wrong = e.kind != "deadline" // it was over when it arrived
		case http.StatusConflict:
			wrong = strings.HasPrefix(e.kind, "get") || e.kind == "cancel" && end == "cancelled"
		default:
			wrong = true
		}
		if wrong {
			d.t.Errorf("%s, which was %s (erased: %v): %s was answered %d %s", id, end, erased, e.kind, status, e.answer.body)
		}
	}
}
