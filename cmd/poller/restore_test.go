package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poller/internal/fakeseller"
)

// command runs a command with a configuration and wants it to be done; it returns what was printed.
func command(t *testing.T, config string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), append([]string{"-c", config}, args...), strings.NewReader(""), &out, &errs, testEnv); code != exitDone {
		t.Fatalf("%v: exit code %d: %s", args, code, &errs)
	}
	return out.String()
}

// A restored backup is another store with the orders of then; the result files are its own, the key opens its
// sellers' headers, before and after it is rotated (SPEC §6, §8).
func TestRestore(t *testing.T) {
	dir := t.TempDir()
	sellers, config := startSellers(t, dir)
	config += onPortZero
	sellers.Handle("acme/file-*", fakeseller.FileBase64(fakeseller.File{Name: "a.txt", MIME: "text/plain", Bytes: []byte("hello\n")}))
	sellers.Handle("acme/quick-*", fakeseller.Quick("done"))
	d := startDaemon(t, dir, config)
	name, value := sellers.Credentials("acme")
	d.call(t, http.MethodPut, "/v1/sellers/acme", map[string]any{
		"status_url": sellers.StatusURL(0, "acme"), "headers": map[string]string{name: value},
	})
	for _, id := range []string{"file-1", "quick-1"} {
		d.call(t, http.MethodPost, "/v1/orders", map[string]string{"order_id": id, "seller_id": "acme"})
	}
	d.call(t, http.MethodPost, "/v1/orders/file-1/poll", nil)
	backup := filepath.Join(dir, "backup.db")
	if err := d.store.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	d.call(t, http.MethodPost, "/v1/orders/quick-1/poll", nil) // after the backup
	id := d.store.ID()
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}

	restore := func(args ...string) string {
		t.Helper()
		var v restored
		if err := json.Unmarshal([]byte(command(t, d.file, append([]string{"restore", "-o", "json", backup}, args...)...)), &v); err != nil {
			t.Fatal(err)
		}
		if v.OldStore != id || v.Store == id || v.Sellers != 1 || v.Orders["completed"] != 1 || v.Orders["processing"] != 1 {
			t.Errorf("%+v", v)
		}
		return v.Store
	}
	restored := restore("--force")
	d = startDaemon(t, dir, config)
	if d.store.ID() != restored {
		t.Errorf("store %s, not %s", d.store.ID(), restored)
	}
	if got := d.call(t, http.MethodGet, "/v1/orders/file-1/files/0", nil); got != "hello\n" {
		t.Errorf("the file is %q", got)
	}
	d.call(t, http.MethodPost, "/v1/orders/quick-1/poll", nil) // it ends again
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}

	// With a new key, and the same result files once more: now they are marked as those of the restored database.
	old, err := os.ReadFile(d.started.Secrets.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	var rotated struct {
		Kept string `json:"kept"`
	}
	if err := json.Unmarshal([]byte(command(t, d.file, "rotate-key", "-o", "json")), &rotated); err != nil {
		t.Fatal(err)
	}
	if kept, err := os.ReadFile(rotated.Kept); err != nil || !bytes.Equal(kept, old) {
		t.Errorf("the old key file is not kept: %v", err)
	}
	command(t, d.file, "compact")
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"-c", d.file, "restore", "--force", backup}, nil, &errs, &errs, testEnv); code != exitFailed || !strings.Contains(errs.String(), "key id") {
		t.Errorf("with the wrong key: exit code %d: %s", code, &errs)
	}
	d = startDaemon(t, dir, config)
	d.call(t, http.MethodPost, "/v1/orders", map[string]string{"order_id": "quick-2", "seller_id": "acme"})
	if got := d.call(t, http.MethodPost, "/v1/orders/quick-2/poll", nil); !strings.Contains(got, `"outcome":"completed"`) {
		t.Errorf("with the new key: %s", got)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(rotated.Kept, d.started.Secrets.KeyFile); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(d.started.Store.BBolt); err != nil { // the disk with the database was lost
		t.Fatal(err)
	}
	errs.Reset()
	code := run(t.Context(), []string{"-c", d.file, "restore", backup}, nil, &errs, &errs, testEnv)
	if code != exitFailed || !strings.Contains(errs.String(), "the database is restored, but") || !strings.Contains(errs.String(), "--force") {
		t.Errorf("result files that were another's since: exit code %d: %s", code, &errs)
	}
	// Two within a second would be kept under one name.
	if left, err := filepath.Glob(d.started.Store.BBolt + ".before-restore-*"); err != nil || len(left) != 1 || os.Remove(left[0]) != nil {
		t.Fatal(left, err)
	}
	restored = restore("--force")
	if d = startDaemon(t, dir, config); d.store.ID() != restored {
		t.Errorf("store %s, not %s", d.store.ID(), restored)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}

	// The disk with the result files was lost as well.
	if err := errors.Join(os.RemoveAll(d.started.resultsDir()), os.Remove(d.started.Store.BBolt)); err != nil {
		t.Fatal(err)
	}
	errs.Reset()
	code = run(t.Context(), []string{"-c", d.file, "restore", backup}, nil, io.Discard, &errs, testEnv)
	if code != exitDone || !strings.Contains(errs.String(), "bring the result files of 1 completed orders back") {
		t.Errorf("without result files: exit code %d: %s", code, &errs)
	}
}
