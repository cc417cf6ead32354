// Webhook is an example of the platform's side of poller's webhooks, with the
// library of Standard Webhooks. It verifies each one, keeps it once, and only then says that it has it.
//
//	WEBHOOK_SECRETS="whsec_… whsec_…" go run ./docs/examples/webhook 127.0.0.1:9000
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// maxBody is more than poller ever sends.
const maxBody = 2 << 20

// Message is the body of a webhook.
type Message struct {
	Type      string          `json:"type"`      // order.completed, order.failed, order.cancelled
	Timestamp time.Time       `json:"timestamp"` // when it happened
	Store     string          `json:"store"`
	Number    uint64          `json:"number"`
	Data      json.RawMessage `json:"data"` // the order, or {"erased": true}
}

// Receiver verifies webhooks and has each of them kept once.
type Receiver struct {
	secrets []*standardwebhooks.Webhook
	keep    func(Message) error

	// In real life this is a column with a unique index, written in the same transaction as what follows from
	// the message, so that it outlives a restart and holds for all your servers.
	mu   sync.Mutex
	seen map[string]bool
}

// NewReceiver takes the secrets in use: one, or two during a rotation.
func NewReceiver(secrets []string, keep func(Message) error) (*Receiver, error) {
	if len(secrets) == 0 {
		return nil, errors.New("there is no secret")
	}
	r := &Receiver{keep: keep, seen: make(map[string]bool)}
	for _, s := range secrets {
		w, err := standardwebhooks.NewWebhook(s)
		if err != nil || len(s) < len("whsec_")+32 { // the library takes an empty secret
			return nil, errors.New("a secret is not whsec_ and base64 of 24 bytes or more")
		}
		r.secrets = append(r.secrets, w)
	}
	return r, nil
}

// ServeHTTP answers 2xx only when the message is kept: anything else has poller try again.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		http.Error(w, "POST only", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody)) // the bytes as they came: the signature is over them
	if err != nil {
		http.Error(w, "no whole body", http.StatusBadRequest)
		return
	}
	if !r.verified(body, req.Header) {
		http.Error(w, "not verified", http.StatusUnauthorized)
		return
	}
	var m Message
	if err := json.Unmarshal(body, &m); err != nil {
		http.Error(w, "not the JSON expected", http.StatusBadRequest)
		return
	}
	if err := r.keepOnce(req.Header.Get(standardwebhooks.HeaderWebhookID), m); err != nil {
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// verified reports whether one of the secrets signed these very bytes, with this id, within the last five minutes. The
// library compares in constant time.
func (r *Receiver) verified(body []byte, h http.Header) bool {
	for _, s := range r.secrets {
		if s.Verify(body, h) == nil {
			return true
		}
	}
	return false
}

// keepOnce: poller delivers at least once, and an answer may be lost on its way.
func (r *Receiver) keepOnce(id string, m Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[id] {
		return nil
	}
	if err := r.keep(m); err != nil {
		return err
	}
	r.seen[id] = true
	return nil
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: webhook ADDRESS:PORT")
	}
	r, err := NewReceiver(strings.Fields(os.Getenv("WEBHOOK_SECRETS")), func(m Message) error {
		_, err := fmt.Fprintf(os.Stdout, "%s %s-%d %s\n", m.Type, m.Store, m.Number, m.Data)
		return err
	})
	if err != nil {
		log.Fatal("WEBHOOK_SECRETS: ", err)
	}
	server := &http.Server{Addr: os.Args[1], Handler: r, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}
