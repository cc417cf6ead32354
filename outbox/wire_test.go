package outbox

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// An answer of 101 hands over the connection, so that no deadline holds any more: nothing is read from it, and it is closed.
func TestSwitchingProtocolsIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		closed := make(chan error, 1)
		go func() {
			c, err := network.Accept()
			if err != nil {
				closed <- err
				return
			}
			defer c.Close()
			_, _ = c.Read(make([]byte, 64<<10))
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
			_, err = io.Copy(io.Discard, c)
			closed <- err
		}()
		s, err := newSender(&Config{URL: "http://platform/", Secrets: []string{testSecret}}, "st", "v", network.dial)
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		e := ended(1)
		a := s.send(t.Context(), &e, time.Now())
		if a.result != Refused || a.reason != "HTTP 101" || a.took > readTimeout {
			t.Errorf("%+v", a)
		}
		synctest.Wait()
		select {
		case <-closed:
		default:
			t.Error("the connection is not closed")
		}
	})
}

// Interim answers without end are cut off by the bound of the headers, long before the 15 s.
func TestAFloodOfInterimAnswers(t *testing.T) {
	url := serve(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 64<<10))
		for {
			if _, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"); err != nil {
				return
			}
		}
	})
	e := ended(1)
	a := senderTo(t, Config{URL: url, Secrets: []string{testSecret}}).send(t.Context(), &e, time.Now())
	if a.result != Unreachable || a.took >= attemptTimeout {
		t.Errorf("%+v", a)
	}
}

// A platform that breaks off in the middle of its answer's head has not taken the event.
func TestABrokenHeadIsNotTaken(t *testing.T) {
	for name, says := range map[string]string{"status": "HTTP/1.1 20", "header": "HTTP/1.1 200 OK\r\nContent-", "no end": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"} {
		e := ended(1)
		if a := senderTo(t, Config{URL: raw(t, says), Secrets: []string{testSecret}}).send(t.Context(), &e, time.Now()); a.result != Unreachable {
			t.Errorf("%s: %+v", name, a)
		}
	}
}
