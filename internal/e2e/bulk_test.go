package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A client that reads nothing before it has sent 20,000 lines gets an answer to
// each of them, in order; broken lines have their own problem and the rest goes on (SPEC §6).
func TestNDJSONManyFromAClientThatReadsNothingFirst(t *testing.T) {
	t.Parallel()
	const lines = 20_000
	s := newSite(t, 1)
	s.set("log.level", "info")
	d := s.start()
	d.register(0, "acme")
	var body bytes.Buffer
	want := make([]int, lines) // the status of each line
	long := strings.Repeat("x", 100)
	for i := range lines {
		want[i] = http.StatusCreated
		switch {
		case i%1000 == 7:
			body.WriteString("{not json\n")
			want[i] = http.StatusBadRequest
		case i%1000 == 8:
			fmt.Fprintf(&body, `{"order_id":"o-%d","seller_id":"nobody"}`+"\n", i)
			want[i] = http.StatusUnprocessableEntity
		case i%1000 == 9 && i > 1000:
			fmt.Fprintf(&body, `{"order_id":"%s-%d","seller_id":"acme"}`+"\n", long, i-3) // sent before
			want[i] = http.StatusOK
		case i == 5000:
			body.WriteString(strings.Repeat("y", 70<<10) + "\n")
			want[i] = http.StatusRequestEntityTooLarge
		default:
			fmt.Fprintf(&body, `{"order_id":"%s-%d","seller_id":"acme"}`+"\n", long, i)
		}
	}

	conn, err := net.Dial("tcp", strings.TrimPrefix(d.api, "http://"))
	noError(t, err, "connecting")
	defer conn.Close()
	noError(t, conn.(*net.TCPConn).SetReadBuffer(64<<10), "keeping the buffer small")
	noError(t, conn.SetDeadline(time.Now().Add(patience)), "setting a deadline")
	_, err = fmt.Fprintf(conn, "POST /v1/orders HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n",
		conn.RemoteAddr(), d.token, body.Len())
	noError(t, err, "sending the head")
	_, err = conn.Write(body.Bytes())
	noError(t, err, "sending the lines")

	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	noError(t, err, "reading the answer")
	defer resp.Body.Close()
	equal(t, "status and type", [2]any{resp.StatusCode, resp.Header.Get("Content-Type")}, [2]any{200, "application/x-ndjson"})
	answers := json.NewDecoder(resp.Body)
	created := 0
	for i := range lines {
		var a struct{ Line, Status int }
		noError(t, answers.Decode(&a), "reading an answer line")
		if a.Line != i+1 || a.Status != want[i] {
			t.Fatalf("answer %d is %+v, want status %d", i+1, a, want[i])
		}
		if a.Status == http.StatusCreated {
			created++
		}
	}
	var sum struct{ Lines, Created, Existing, Refused int }
	noError(t, answers.Decode(&sum), "reading the last line")
	equal(t, "the sums", [3]int{sum.Lines, sum.Created, sum.Existing + sum.Refused}, [3]int{lines, created, lines - created})
	d.checkSamples(map[string]float64{`poller_orders{state="processing"}`: float64(created)})

	d.kill() // acknowledged is on disk
	d = s.start()
	d.checkSamples(map[string]float64{`poller_orders{state="processing"}`: float64(created)})
}
