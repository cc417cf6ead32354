package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"poller/order"
)

const ndjson = "Content-Type: application/x-ndjson"

// lines reads the answer to a submission.
func lines(t *testing.T, body []byte) (all []SubmitLine, sum SubmitSummary) {
	t.Helper()
	rows := bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
	for _, row := range rows[:len(rows)-1] {
		var l SubmitLine
		if err := json.Unmarshal(row, &l); err != nil {
			t.Fatalf("line %q: %v", row, err)
		}
		all = append(all, l)
	}
	if err := json.Unmarshal(rows[len(rows)-1], &sum); err != nil {
		t.Fatal(err)
	}
	return all, sum
}

// SPEC §6: one line for each, with the status that it would have had alone; a
// line too long or broken is its own problem, and the rest goes on; last the sums.
func TestSubmitMany(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	g.order("old", "s")
	good := func(id string) string { return `{"order_id":"` + id + `","seller_id":"s"}` }
	body := strings.Join([]string{
		good("o1"),
		good("old"),
		`{"order_id":"old","seller_id":"s","remote_id":"other"}`,
		`{"order_id":"o2","seller_id":`,
		"",
		`{"order_id":"o2","seller_id":"s","metadata":{"a":"` + strings.Repeat("x", 64<<10) + `"}}`,
		`{"order_id":"o2","seller_id":"nobody"}`,
		`{"order_id":"o2","seller_id":"s","x":1}`,
		good("o1"),
		good("o3") + "\r",
		`[1]`,
		good("o4") + strings.Repeat(" ", 64<<10-len(good("o4"))),
		good("o5") + strings.Repeat(" ", 64<<10-len(good("o5"))+1),
		good("last"),
	}, "\n")
	a := g.do("POST", "/v1/orders", body, ndjson).want(t, 200)
	if ct := a.header.Get("Content-Type"); ct != "application/x-ndjson" {
		t.Errorf("content type %q", ct)
	}
	all, sum := lines(t, a.body)
	want := []struct {
		line   int64
		id     string
		status int
	}{
		{1, "o1", 201},
		{2, "old", 200},
		{3, "old", 409},
		{4, "", 400},
		{6, "", 413},
		{7, "o2", 422},
		{8, "o2", 422},
		{9, "o1", 200},
		{10, "o3", 201},
		{11, "", 422},
		{12, "o4", 201},
		{13, "", 413},
		{14, "last", 201},
	}
	if len(all) != len(want) {
		t.Fatalf("%d lines: %s", len(all), a.body)
	}
	for i, w := range want {
		l := all[i]
		if l.Line != w.line || l.OrderID != w.id || l.Status != w.status || (l.Problem != nil) != (w.status >= 400) {
			t.Errorf("line %+v, not %+v", l, w)
		}
		if l.Problem != nil && l.Problem.Status != l.Status {
			t.Errorf("problem of line %d: %+v", l.Line, l.Problem)
		}
	}
	if sum != (SubmitSummary{Lines: 13, Created: 4, Existing: 2, Refused: 7}) {
		t.Errorf("sum %+v", sum)
	}
	// Prefer: return=minimal: only problems and the last.
	a = g.do("POST", "/v1/orders", body, ndjson, "Prefer: respond-async, Return=\"minimal\"").want(t, 200)
	all, sum = lines(t, a.body)
	if len(all) != 7 || sum.Existing != 6 || a.header.Get("Preference-Applied") != "return=minimal" {
		t.Errorf("minimal: %s", a.body)
	}
	all, sum = lines(t, g.do("POST", "/v1/orders", "\n \n", ndjson).want(t, 200).body)
	if len(all) != 0 || sum.Lines != 0 {
		t.Error("blank lines count")
	}
}

// SPEC §6: read as a stream: a client that reads nothing before it has sent
// all gets its answer, and memory stays bounded whatever the number.
// It looks at the heap, so it does not run beside others.
func TestSubmitManyInBoundedMemory(t *testing.T) {
	g := newRig(t)
	g.seller("s")
	const n = 50_000
	// Every order exists already, so that the fake store does not grow.
	g.order("order-that-exists-already", "s")
	line := []byte(`{"order_id":"order-that-exists-already","seller_id":"s"}` + "\n")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	sent := 0
	body := readerFunc(func(p []byte) (int, error) {
		if sent == n {
			runtime.GC() // all is read but for a bounded rest; the answer waits
			runtime.ReadMemStats(&after)
			return 0, io.EOF
		}
		sent++
		return copy(p, line), nil
	})
	res, err := http.DefaultTransport.RoundTrip(g.request("POST", "/v1/orders", body, ndjson))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	rows := bufio.NewScanner(res.Body)
	count, last := 0, ""
	for rows.Scan() {
		count, last = count+1, rows.Text()
	}
	if rows.Err() != nil || count != n+1 || last != fmt.Sprintf(`{"lines":%d,"created":0,"existing":%d,"refused":0}`, n, n) {
		t.Errorf("%d lines, the last %s, %v", count, last, rows.Err())
	}
	if g.store.commits > n/20 {
		t.Errorf("%d commits for %d lines", g.store.commits, n)
	}
	if left, _ := os.ReadDir(g.api.opt.TempDir); len(left) != 0 {
		t.Errorf("the spool left %v", left)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// What has come is stored after a moment, although the client has not ended.
func TestSubmitManyDoesNotWaitForTheEnd(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	pr, pw := io.Pipe()
	done := make(chan answer)
	r := g.request("POST", "/v1/orders", pr, ndjson)
	go func() { done <- g.send(r) }()
	fmt.Fprintf(pw, "%s\n", `{"order_id":"o1","seller_id":"s"}`)
	for {
		if _, err := g.store.Order(t.Context(), "o1"); err == nil {
			break
		}
		runtime.Gosched()
	}
	pw.Close()
	(<-done).want(t, 200)
}

// At shutdown (Stop) a submission ends: what was not stored is said to be so.
func TestSubmitManyStops(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	pr, pw := io.Pipe()
	done := make(chan answer)
	r := g.request("POST", "/v1/orders", pr, ndjson)
	go func() { done <- g.send(r) }()
	fmt.Fprintf(pw, "%s\n", `{"order_id":"o1","seller_id":"s"}`)
	for g.store.orderCount() == 0 {
		runtime.Gosched()
	}
	g.api.Stop()
	all, sum := lines(t, (<-done).want(t, 200).body)
	pw.Close()
	if sum.Created != 1 || sum.Refused != 1 || all[1].Status != 503 {
		t.Errorf("%+v %+v", all, sum)
	}
	g.do("POST", "/v1/orders", `{"order_id":"o2","seller_id":"s"}`).want(t, 503).problem(t)
}

func (f *fakeStore) orderCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.orders)
}

// A store that fails in the middle: the lines before are acknowledged, those after are not.
func TestSubmitManyStoreFailsInTheMiddle(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.seller("s")
	pr, pw := io.Pipe()
	done := make(chan answer)
	r := g.request("POST", "/v1/orders", pr, ndjson)
	go func() { done <- g.send(r) }()
	fmt.Fprintln(pw, `{"order_id":"o1","seller_id":"s"}`)
	for g.store.orderCount() == 0 {
		runtime.Gosched()
	}
	g.full.Store(true)
	fmt.Fprintln(pw, `{"order_id":"o2","seller_id":"s"}`)
	pw.Close()
	all, _ := lines(t, (<-done).want(t, 200).body)
	if all[0].Status != 201 || all[1].Status != 507 {
		t.Errorf("%+v", all)
	}
}

func collectLines(r io.Reader) (all []line) {
	readLines(r, func() time.Time { return start }, func(p []line) bool { all = append(all, p...); return true })
	return all
}

// A body that breaks off: its last line may be cut anywhere and is not taken, even if it looks whole.
func TestReadLinesBrokenOff(t *testing.T) {
	t.Parallel()
	const o = `{"order_id":"o1","seller_id":"s"}`
	for _, tc := range []struct {
		name   string
		err    error
		status int
	}{
		{"cut", io.ErrUnexpectedEOF, 400},
		{"too slow", os.ErrDeadlineExceeded, 408},
		{"stopping", order.ErrStopping, 503},
	} {
		all := collectLines(io.MultiReader(strings.NewReader(o+"\n"+o), iotest.ErrReader(tc.err)))
		if len(all) != 2 || all[0].problem != nil || all[1].problem == nil || all[1].problem.Status != tc.status {
			t.Errorf("%s: %+v", tc.name, all)
		}
	}
}

// Reading in any pieces gives the same lines.
func FuzzReadLines(f *testing.F) {
	f.Add([]byte(`{"order_id":"o1","seller_id":"s"}` + "\n\n" + `{"a"` + "\r\n{}"))
	f.Add([]byte(`{"order_id":"o1","seller_id":"s","metadata":{"a":"b"},"deadline":"2027-01-01T00:00:00Z"}`))
	f.Add(bytes.Repeat([]byte("x"), maxLine+1))
	f.Add(append(bytes.Repeat([]byte(" "), maxLine), '\n'))
	f.Fuzz(func(t *testing.T, data []byte) {
		all := collectLines(bytes.NewReader(data))
		small := collectLines(iotest.HalfReader(bytes.NewReader(data)))
		if len(all) != len(small) {
			t.Fatalf("%d and %d lines", len(all), len(small))
		}
		physical := bytes.Split(data, []byte("\n"))
		last := int64(0)
		for i, l := range all {
			if l.number != small[i].number || (l.problem == nil) != (small[i].problem == nil) || l.order.OrderID != small[i].order.OrderID {
				t.Fatalf("%+v and %+v", l, small[i])
			}
			if l.number <= last || l.number > int64(len(physical)) {
				t.Fatalf("line number %d after %d", l.number, last)
			}
			last = l.number
			text := physical[l.number-1]
			if (len(text) > maxLine) != (l.problem != nil && l.problem.Status == 413) {
				t.Fatalf("a line of %d bytes: %+v", len(text), l.problem)
			}
			if l.problem == nil && (!order.ValidID(l.order.OrderID) || !json.Valid(text)) {
				t.Fatalf("taken: %q", text)
			}
		}
	})
}

// The fast way to read an order takes nothing that decode refuses, and reads the same.
func FuzzWellFormed(f *testing.F) {
	f.Add([]byte(`{"order_id":"o","seller_id":"s","remote_id":"r","deadline":"2027-01-01T00:00:00.5+02:00","metadata":{"a":"b","c":"\u0064"}}`))
	f.Add([]byte(`{"order_id":"o","seller_id":null,"remote_id":null,"deadline":null,"metadata":null}`))
	f.Add([]byte(`{"order_id":"o","metadata":{"a":null,"a\u0000":"x"}} `))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, body []byte) {
		fast, ok := wellFormed(body)
		if !ok {
			return
		}
		var slow SubmitBody
		if _, p := decode(body, slow.members()); p != nil {
			t.Fatalf("%q: %v", body, p)
		}
		if a, b := fmt.Sprintf("%q", asSubmission(fast)), fmt.Sprintf("%q", asSubmission(slow)); a != b {
			t.Fatalf("%q: %s, not %s", body, a, b)
		}
	})
}

func asSubmission(b SubmitBody) []byte {
	text, err := json.Marshal(b)
	if err != nil {
		panic(err)
	}
	return text
}

// The spool keeps lines in order, beyond its memory too, and says when the disk is full.
func TestSpool(t *testing.T) {
	t.Parallel()
	s := newSpool(t.TempDir())
	defer s.Close()
	var want bytes.Buffer
	for i := range 60_000 {
		l := SubmitLine{Line: int64(i), OrderID: "order-with-some-id", Status: 201}
		if err := s.Put(l); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&want, `{"line":%d,"order_id":"order-with-some-id","status":201}`+"\n", i)
	}
	if s.file == nil {
		t.Fatal("nothing was spooled to a file")
	}
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := s.Copy(&got); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("another answer, %v", err)
	}
	gone := newSpool("/nonexistent")
	var err error
	for err == nil {
		err = gone.Put(SubmitLine{OrderID: strings.Repeat("x", 1000)})
	}
	if errors.Is(err, order.ErrNoSpace) {
		t.Errorf("%v is not for want of space", err)
	}
}
