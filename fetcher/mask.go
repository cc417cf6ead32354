package fetcher

import (
	"net/http"
	"strings"

	"poller/order"
)

// leastSecret is how many characters what is masked has at least: a shorter value would be found in innocent texts, too.
const leastSecret = 8

// plainHeaders are those a seller may be sent whose values are no secrets, and words of many messages.
var plainHeaders = map[string]bool{"Accept": true, "Accept-Language": true, "Content-Type": true, "User-Agent": true}

// mask takes the seller's own credentials out of what an observation says: an
// endpoint that echoes the request in an error page or a message would have
// them in history, webhooks and logs (GUARANTEES, G19). Results stay as they are.
func mask(obs *order.Observation, headers []order.Header) {
	if obs.Detail == "" && obs.Message == "" && obs.SellerError == (order.SellerError{}) {
		return // most observations
	}
	for _, h := range headers {
		if plainHeaders[http.CanonicalHeaderKey(h.Name)] {
			continue
		}
		whole := order.Clip(h.Value, maxHeaderValue) // as it would stand in a text
		secrets := []string{whole}
		if _, key, ok := strings.Cut(whole, " "); ok {
			secrets = append(secrets, key) // without its scheme
		}
		for _, secret := range secrets {
			if len(secret) < leastSecret {
				continue
			}
			for _, text := range []*string{&obs.Detail, &obs.Message, &obs.SellerError.Code, &obs.SellerError.Message} {
				*text = masked(*text, secret)
			}
		}
	}
}

// masked is a text without a secret, and without the begin of one that was cut off with the text.
func masked(text, secret string) string {
	text = strings.ReplaceAll(text, secret, maskedValue)
	for n := min(len(secret)-1, len(text)); n >= leastSecret; n-- {
		if strings.HasSuffix(text, secret[:n]) {
			return text[:len(text)-n] + maskedValue
		}
	}
	return text
}
