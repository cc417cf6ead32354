package fetcher

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"runtime/pprof"
	"testing"

	"poller/order"
)

// benchAnswer is an everyday answer: a head of the usual length and a small body.
func benchAnswer() []byte {
	const body = `{"status":"processing","progress":45,"message":"half done","order_id":"o-1","eta_seconds":120}`
	return []byte("HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sat, 01 Aug 2026 09:00:00 GMT\r\nContent-Type: application/json\r\n" +
		"Content-Length: " + itoa(len(body)) + "\r\nConnection: keep-alive\r\nCache-Control: no-store\r\n\r\n" + body)
}

// benchSeller answers every request alike and costs next to nothing itself, so
// that what is measured is the client. Profiles: -tagignore=server leaves it out.
func benchSeller(b *testing.B) *testSeller {
	answer := benchAnswer()
	return rawServer(b, func(conn net.Conn) {
		pprof.Do(context.Background(), pprof.Labels("side", "server"), func(context.Context) {
			r := bufio.NewReader(conn)
			for {
				line, err := r.ReadSlice('\n')
				if err != nil {
					return
				}
				if len(line) > 2 {
					continue
				}
				if _, err := conn.Write(answer); err != nil {
					return
				}
			}
		})
	})
}

// BenchmarkFetch is a poll over a kept connection.
func BenchmarkFetch(b *testing.B) {
	s := benchSeller(b)
	ask := s.ask()
	b.ReportAllocs()
	for b.Loop() {
		if obs := s.c.Fetch(b.Context(), ask); obs.Outcome != order.Processing {
			b.Fatalf("%+v", obs)
		}
	}
}

// BenchmarkBare is the same request by net/http alone, read and thrown away: what BenchmarkFetch is to be held against.
func BenchmarkBare(b *testing.B) {
	s := benchSeller(b)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.opts.RootCAs, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	b.ReportAllocs()
	for b.Loop() {
		resp, err := client.Get(s.URL + "/status/o-1")
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}
