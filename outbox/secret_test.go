package outbox

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// A secret that is accepted signs what every verifier verifies with it; an error shows nothing of one that is not.
func FuzzCheckSecret(f *testing.F) {
	for _, s := range []string{
		"", secretPrefix, testSecret, otherSecret, testSecret[len(secretPrefix):], testSecret + "\n", testSecret + "=",
		secretPrefix + "hunter2hunter2hunter2hunter2hunter2", secretPrefix + strings.Repeat("A", 89) + "=", secretPrefix + strings.Repeat("-_", 20),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, secret string) {
		w, err := signer(secret)
		if err != nil {
			if text := strings.TrimPrefix(secret, secretPrefix); len(text) > 8 && strings.Contains(err.Error(), text) {
				t.Errorf("%v shows the secret", err)
			}
			return
		}
		text, ok := strings.CutPrefix(secret, secretPrefix)
		key, err := base64.StdEncoding.Strict().DecodeString(text)
		if !ok || err != nil || strings.ContainsAny(text, "\r\n") || len(key) < minSecretBytes || len(key) > maxSecretBytes {
			t.Fatalf("%q was accepted", secret)
		}
		other, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(1e9, 0)
		ours, _ := w.Sign("st-1", at, []byte("{}"))
		if theirs, err := other.Sign("st-1", at, []byte("{}")); err != nil || ours != theirs {
			t.Errorf("%q signs %s, and the library %s, %v", secret, ours, theirs, err)
		}
	})
}
