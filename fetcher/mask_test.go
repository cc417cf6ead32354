package fetcher

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"poller/order"
)

// Sellers that echo what they were sent: the credential is in nothing that poller says (GUARANTEES, G19).
func TestEchoedCredentialsAreMasked(t *testing.T) {
	const key = "sentinel-7f3a" // of sentinel
	long := strings.Repeat("x", order.MaxMessage-10)
	for name, c := range map[string]struct {
		body string
		want order.Outcome
		says string
	}{
		"message":         {`{"status":"processing","message":"you sent Bearer sentinel-7f3a."}`, order.Processing, "you sent ***."},
		"without scheme":  {`{"status":"failed","error":"bad key sentinel-7f3a!"}`, order.SellerFailed, "bad key ***!"},
		"code":            {`{"status":"failed","error":{"code":"Bearer sentinel-7f3a","message":"sentinel-7f3a, sentinel-7f3a"}}`, order.SellerFailed, "***, ***"},
		"cut off":         {`{"status":"failed","error":"` + long + key + `"}`, order.SellerFailed, long + "***"},
		"with characters": {`{"status":"failed","error":"Bearer sen\u200btinel-7f3a"}`, order.SellerFailed, "***"},
	} {
		s := newSeller(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, c.body) })
		obs := s.fetch(t, s.ask()) // which looks for the credential
		if obs.Outcome != c.want || !strings.Contains(obs.Message+obs.SellerError.Message, c.says) {
			t.Errorf("%s: %+v", name, obs)
		}
		if strings.Contains(fmt.Sprintf("%+v", obs), key[:leastSecret]) {
			t.Errorf("%s: a part is left: %+v", name, obs)
		}
	}
}

// Values that are no secrets, or too short to be any, change no text.
func TestWordsAreNotMasked(t *testing.T) {
	obs := order.Observation{Outcome: order.SellerFailed, Message: "version 2: send application/json"}
	was := obs.Message
	mask(&obs, []order.Header{{Name: "accept", Value: "application/json"}, {Name: "X-Version", Value: "2"}, {Name: "User-Agent", Value: "version 2"}})
	if obs.Message != was {
		t.Errorf("%q", obs.Message)
	}
}
