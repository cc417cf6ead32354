package outbox

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// What a secret looks like (Standard Webhooks): the library would take an empty one, too.
const (
	secretPrefix   = "whsec_"
	minSecretBytes = 24
	maxSecretBytes = 64
)

// CheckSecret reports what is wrong with a secret of the webhook (SPEC §3,
// webhook.secrets), which must be whsec_ and 24 to 64 bytes in base64. The error never shows any of it.
func CheckSecret(secret string) error {
	_, err := signer(secret)
	return err
}

func signer(secret string) (*standardwebhooks.Webhook, error) {
	text, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok {
		return nil, errors.New("must begin with " + secretPrefix)
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || base64.StdEncoding.EncodeToString(key) != text { // the decoder passes over line breaks and loose bits
		return nil, errors.New("what follows " + secretPrefix + " must be standard base64, padded, and nothing else")
	}
	if len(key) < minSecretBytes || len(key) > maxSecretBytes {
		return nil, fmt.Errorf("must have %d to %d bytes, has %d", minSecretBytes, maxSecretBytes, len(key))
	}
	return standardwebhooks.NewWebhookRaw(key)
}
