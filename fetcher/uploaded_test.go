package fetcher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"poller/order"
	"poller/results"
	"poller/store"
)

// dirFiles lets a poll keep files in a directory.
type dirFiles struct{ *results.Dir }

func (f dirFiles) Create(ctx context.Context, remoteID string) (FileWriter, error) {
	return f.Dir.Create(ctx, remoteID)
}

// uploading is a store, a result folder, the server for uploads and a seller: all that an object_key passes.
type uploading struct {
	*testing.T
	store   *store.Store
	uploads *results.Uploads
	seller  *testSeller
	says    string // the seller's answer
}

func newUploading(t *testing.T) *uploading {
	t.Helper()
	u := &uploading{T: t}
	dir := t.TempDir()
	st, err := store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "poller.db"), KeyFile: filepath.Join(dir, "key"), MapSize: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	u.store = st
	files, err := results.OpenDir(filepath.Join(dir, "results"), st.ID())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { files.Close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.uploads = results.NewUploads(results.UploadOptions{
		Dir: files, Key: make([]byte, 32), PublicURL: func() string { return "http://" + l.Addr().String() },
		Slots: st, Enough: func() bool { return true }, Now: time.Now, Log: zap.NewNop(),
	})
	server, done := u.uploads.Server(), make(chan error)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	u.seller = newSeller(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, u.says) }, func(o *Options) { o.Files = dirFiles{files} })
	if _, _, err := st.PutSeller(t.Context(), *u.seller.ask().Seller); err != nil {
		t.Fatal(err)
	}
	return u
}

// submit submits an order.
func (u *uploading) submit(id, remoteID string) order.Order {
	u.Helper()
	out, err := u.store.Submit(u.Context(), []order.Submission{{OrderID: id, SellerID: "s", RemoteID: remoteID}}, time.Hour, time.Now())
	if err != nil || out[0].Err != nil {
		u.Fatal(err, out)
	}
	return out[0].Order
}

// prepare makes a slot and signs its URL.
func (u *uploading) prepare(o order.Order, size int) (key, signedURL string) {
	u.Helper()
	key = results.NewUploadKey(o.RemoteID, "Quarterly report.pdf", "application/pdf")
	if _, err := u.store.AddUpload(u.Context(), o.ID, key, int64(size), 1<<30); err != nil {
		u.Fatal(err)
	}
	signedURL, _, err := u.uploads.Sign(key, int64(size), "application/pdf", time.Now())
	if err != nil {
		u.Fatal(err)
	}
	return key, signedURL
}

// put uploads what body brings.
func (u *uploading) put(signedURL string, size int, body io.Reader) (status int) {
	u.Helper()
	r, err := http.NewRequestWithContext(u.Context(), http.MethodPut, signedURL, body)
	if err != nil {
		u.Fatal(err)
	}
	r.ContentLength = int64(size)
	r.Header.Set("Content-Type", "application/pdf")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		u.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// poll polls an order whose seller answers that it is completed with these fields, and records what follows, as the scheduler does.
func (u *uploading) poll(o order.Order, fields string) order.Order {
	u.Helper()
	u.says = `{"status":"completed",` + fields + `}`
	ask := u.seller.ask()
	ask.RemoteID = o.RemoteID
	obs := u.seller.fetch(u, ask)
	decide := func(obs order.Observation) func(order.Order) order.Decision {
		return func(o order.Order) order.Decision {
			return order.Policy{}.Decide(o, obs, order.Poll{Tick: o.Tick + 1}, time.Now())
		}
	}
	c := &order.Change{Ref: o.Ref, Decide: decide(obs), Rejected: func(o order.Order, key string) order.Decision {
		rejected := obs
		rejected.Reject("object_key: " + key + " belongs to another order")
		return decide(rejected)(o)
	}}
	if obs.Result != nil {
		for _, f := range obs.Result.Files {
			if f.Uploaded {
				c.Uploaded = append(c.Uploaded, f.ObjectKey)
			}
		}
	}
	if err := u.store.Record(u.Context(), &order.Batch{Changes: []*order.Change{c}, Now: time.Now()}); err != nil || c.Err != nil {
		u.Fatal(err, c.Err)
	}
	after, err := u.store.Order(u.Context(), o.ID)
	if err != nil {
		u.Fatal(err)
	}
	return after
}

// rejected polls an order whose answer must be refused for this reason.
func (u *uploading) rejected(o order.Order, fields, why string) {
	u.Helper()
	if after := u.poll(o, fields); after.Ended() || after.LastOutcome != order.RejectedResult || !strings.Contains(after.LastDetail, why) {
		u.Errorf("%s: %s, %s, %q, want %q", fields, after.State, after.LastOutcome, after.LastDetail, why)
	}
}

// An object_key completes its own order once the object is there in full, and no other one, ever.
func TestAnUploadedObjectCompletesItsOrderOnceItIsThere(t *testing.T) {
	u := newUploading(t)
	content := strings.Repeat("%PDF ", 50_000)
	sum := sha256.Sum256([]byte(content))
	o, other := u.submit("first", "job-1"), u.submit("other", "job-2")
	key, signedURL := u.prepare(o, len(content))
	object := fmt.Sprintf(`"output_type":"file","object_key":%q`, key)
	missing, _ := u.prepare(o, 10)

	u.rejected(o, object, "object_key names no object in the result store")
	body, sending := io.Pipe()
	status := make(chan int)
	go func() { status <- u.put(signedURL, len(content), body) }()
	if _, err := io.WriteString(sending, content[:len(content)-1]); err != nil {
		t.Fatal(err)
	}
	u.rejected(o, object, "object_key names no object in the result store")
	if _, err := io.WriteString(sending, content[len(content)-1:]); err != nil {
		t.Fatal(err)
	}
	sending.Close()
	if got := <-status; got != http.StatusCreated {
		t.Fatal(got)
	}

	u.rejected(other, object, "object_key must begin with orders/job-2/")
	u.rejected(o, fmt.Sprintf(`"object_key":%q`, filepath.Dir(key)), "object_key names no object")
	u.rejected(o, fmt.Sprintf(`"object_key":%q`, strings.Replace(key, "job-1/", "job-1/../job-1/", 1)), "object_key has a segment")
	u.rejected(o, fmt.Sprintf(`"files":[{"object_key":%q},{"object_key":%q}]`, key, missing), "files[1].object_key names no object")

	after := u.poll(o, object)
	// The name and the type are those that it was prepared with, as far as the key tells.
	want := order.File{Filename: "Quarterly_report.pdf", MIMEType: "application/pdf", Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), ObjectKey: key, Uploaded: true}
	if after.State != order.StateCompleted || len(after.Result.Files) != 1 || after.Result.Files[0] != want {
		t.Fatalf("%s, %q, %+v", after.State, after.LastDetail, after.Result)
	}
	if got := u.put(signedURL, len(content), strings.NewReader(content)); got != http.StatusConflict {
		t.Errorf("PUT after the end: %d", got)
	}

	// A second attempt at the job has the same remote_id, but not the first one's files.
	again := u.submit("second", "job-1")
	u.rejected(again, object, "belongs to another order")
	own, signedURL := u.prepare(again, 3)
	if got := u.put(signedURL, 3, strings.NewReader("two")); got != http.StatusCreated {
		t.Fatal(got)
	}
	after = u.poll(again, fmt.Sprintf(`"object_key":%q,"filename":"ü.txt","mime_type":"text/plain"`, own))
	if after.State != order.StateCompleted || after.Result.Files[0].Filename != "ü.txt" || after.Result.Files[0].MIMEType != "text/plain" {
		t.Errorf("%s, %q, %+v", after.State, after.LastDetail, after.Result)
	}
}

// What an order does not name is not taken any more once it has ended.
func TestASlotEndsWithItsOrder(t *testing.T) {
	u := newUploading(t)
	o := u.submit("first", "job-1")
	_, signedURL := u.prepare(o, 3)
	if after := u.poll(o, `"result_text":"done"`); after.State != order.StateCompleted {
		t.Fatal(after.State)
	}
	if got := u.put(signedURL, 3, strings.NewReader("one")); got != http.StatusGone {
		t.Errorf("PUT after the end: %d", got)
	}
}
