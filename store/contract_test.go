package store_test

import (
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"poller/order"
	"poller/store"
	"poller/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Opener {
		dir := t.TempDir()
		return func() storetest.Store {
			s, err := store.Open(t.Context(), store.Options{
				Path: filepath.Join(dir, "poller.db"), KeyFile: filepath.Join(dir, "secrets.key"),
				WebhookEvents: order.EndEvents, MapSize: 1 << 20, Log: zaptest.NewLogger(t),
				Now: func() time.Time { return storetest.Now },
			})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}
