package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"poller/internal/fakeseller"
)

// apiOp is what a client asked for.
type apiOp struct {
	kind string
	key  string // the order or the seller
	arg  string
}

// apiResult is what it was told.
type apiResult struct {
	pending  bool // nothing: it may have happened or not, or happen later
	status   int
	state    string // of an order
	arg      string // what marks the content
	deadline string
	paused   bool
}

func (r apiResult) String() string {
	if r.pending {
		return "no answer"
	}
	return fmt.Sprintf("%d %s %s %s %v", r.status, r.state, r.arg, r.deadline, r.paused)
}

// A recorder runs requests and writes down when each was sent and answered.
type recorder struct {
	t     *testing.T
	begun time.Time
	now   atomic.Pointer[daemon]
	count atomic.Int64

	mu  sync.Mutex
	ops map[string][]porcupine.Operation // by key
}

// requests are the operations as HTTP.
func (op apiOp) request(statusURL string) (method, path string, body any) {
	order, seller := "/v1/orders/"+op.key, "/v1/sellers/"+op.key
	switch op.kind {
	case "submit":
		return http.MethodPost, "/v1/orders", object{"order_id": op.key, "seller_id": "a", "metadata": object{"k": op.arg}}
	case "get":
		return http.MethodGet, order, nil
	case "cancel", "poll":
		return http.MethodPost, order + "/" + op.kind, nil
	case "erase":
		return http.MethodDelete, order, nil
	case "deadline":
		return http.MethodPatch, order, object{"deadline": op.arg}
	case "put":
		return http.MethodPut, seller, object{"status_url": statusURL, "allow_unauthenticated": true, "note": op.arg}
	case "patch":
		return http.MethodPatch, seller, object{"note": op.arg}
	case "show":
		return http.MethodGet, seller, nil
	case "pause", "resume":
		return http.MethodPost, seller + "/" + op.kind, nil
	case "delete":
		return http.MethodDelete, seller, nil
	}
	panic(op.kind)
}

// do makes one request; false: poller is gone.
func (r *recorder) do(client int, op apiOp) bool {
	d := r.now.Load()
	method, path, body := op.request(d.sellers.StatusURL(0, "s"))
	call := time.Since(r.begun)
	a, err := d.do(method, path, body)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return false // never sent
	}
	o := porcupine.Operation{ClientId: client, Input: op, Call: int64(call), Return: int64(time.Since(r.begun))}
	if err != nil {
		o.Output, o.Return = apiResult{pending: true}, math.MaxInt64
	} else {
		o.Output = resultOf(op, a)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil || op.kind != "get" && op.kind != "show" {
		r.ops[op.key] = append(r.ops[op.key], o)
	}
	r.count.Add(1)
	return err == nil
}

// resultOf reads the part of an answer that the models know of.
func resultOf(op apiOp, a answer) apiResult {
	var v struct {
		State    string
		Metadata map[string]string
		Deadline string
		Note     string
		Paused   bool
	}
	if op.kind == "poll" {
		var poll struct{ Order json.RawMessage }
		if json.Unmarshal(a.body, &poll) == nil && poll.Order != nil {
			a.body = poll.Order
		}
	}
	_ = json.Unmarshal(a.body, &v) // a problem has none of it, and a 204 nothing
	return apiResult{status: a.status, state: v.State, arg: v.Metadata["k"] + v.Note, deadline: v.Deadline, paused: v.Paused}
}

// pick chooses an operation. progress, from 0 to 1, is how far the client has come: all clients work on the same few keys at a time.
func pick(rnd *rand.Rand, progress float64, keys int) apiOp {
	n := min(int(progress*float64(keys))+rnd.IntN(3), keys-1)
	arg := fmt.Sprint("v", rnd.IntN(3))
	if rnd.IntN(4) == 0 {
		kinds := []string{"put", "put", "patch", "show", "show", "pause", "resume", "delete"}
		return apiOp{kinds[rnd.IntN(len(kinds))], fmt.Sprint("s-", n), arg}
	}
	kinds := []string{"submit", "submit", "submit", "get", "get", "get", "cancel", "poll", "poll", "erase", "deadline"}
	op := apiOp{kinds[rnd.IntN(len(kinds))], fmt.Sprint("o-", n), arg}
	if op.kind == "deadline" {
		op.arg = time.Date(2100+rnd.IntN(900), 1, 1, 0, 0, 0, 0, time.UTC).Format(time.RFC3339)
	}
	return op
}

// GUARANTEES G1, G2: what concurrent clients of the API are told can be put
// into one order, in which each request happens at one moment between its being
// sent and its being answered; over kills with SIGKILL too, after which what was not answered has happened or has not.
func TestAnswersAreLinearizable(t *testing.T) {
	t.Parallel()
	rnd := seed(t)
	const clients, steps, keys = 8, 300, 60
	for range 3 * tortureFactor(t) {
		s := newSite(t, 1)
		s.set("log.level", "info")
		r := &recorder{t: t, begun: time.Now(), ops: make(map[string][]porcupine.Operation)}
		d := s.start()
		r.now.Store(d)
		d.register(0, "a")
		for i := range keys {
			s.sellers.Handle(fmt.Sprint("a/o-", i), fakeseller.Progressing(rnd.IntN(4), fakeseller.Quick("done")))
		}
		kills := make([]int64, 5)
		for i := range kills {
			kills[i] = int64(rnd.IntN(clients * steps))
		}
		slices.Sort(kills)
		var restart sync.RWMutex // held for reading by those who ask
		var all sync.WaitGroup
		for c := range clients {
			own := rand.New(rand.NewPCG(rnd.Uint64(), 0))
			all.Go(func() {
				for i := range steps {
					restart.RLock()
					up := r.do(c, pick(own, float64(i)/steps, keys))
					restart.RUnlock()
					if !up { // let whoever restarts it go first
						time.Sleep(10 * time.Millisecond)
					}
				}
			})
		}
		all.Go(func() {
			for _, at := range kills {
				for r.count.Load() < at {
					time.Sleep(time.Millisecond)
				}
				d := r.now.Load()
				d.kill()
				restart.Lock()
				r.now.Store(s.start())
				restart.Unlock()
			}
		})
		all.Wait()
		for i := range keys {
			r.do(0, apiOp{"get", fmt.Sprint("o-", i), ""})
			r.do(0, apiOp{"show", fmt.Sprint("s-", i), ""})
		}
		r.check()
		r.now.Load().checkEvents()
		r.now.Load().stop()
	}
}

// check looks for an order of the operations on each key.
func (r *recorder) check() {
	r.t.Helper()
	total, pending := 0, 0
	kinds := map[string]int{}
	for key, ops := range r.ops {
		total += len(ops)
		for _, o := range ops {
			if o.Output.(apiResult).pending {
				pending++
			}
			kinds[fmt.Sprint(o.Input.(apiOp).kind, " ", o.Output.(apiResult).status)]++
		}
		if wrong := judgeHistory(key, ops); wrong != "" {
			slices.SortFunc(ops, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
			var text strings.Builder
			for _, o := range ops {
				fmt.Fprintf(&text, "%12d … %12d client %d: %s %s -> %s\n", o.Call, min(o.Return, 1e12), o.ClientId, o.Input.(apiOp).kind, o.Input.(apiOp).arg, o.Output)
			}
			r.t.Errorf("%s: %s\n%s", key, wrong, text.String())
		}
	}
	r.t.Logf("%d operations on %d keys, %d without an answer: %v", total, len(r.ops), pending, kinds)
	for _, kind := range []string{"submit 201", "submit 200", "submit 409", "get 200", "get 404", "cancel 200", "poll 200", "erase 204", "deadline 200", "put 201", "delete 204"} {
		if kinds[kind] == 0 {
			r.t.Errorf("no %s", kind)
		}
	}
}

// judgeHistory says what is wrong with the operations on one key; "": nothing.
func judgeHistory(key string, ops []porcupine.Operation) string {
	model := orderModel
	if strings.HasPrefix(key, "s-") {
		model = sellerModel
	} else if late(ops) {
		return "a poll by hand of an order that had ended was answered 200"
	}
	switch porcupine.CheckOperationsTimeout(model.ToModel(), ops, patience) {
	case porcupine.Illegal:
		return "no order of these operations explains the answers"
	case porcupine.Unknown:
		return "no order was found in time"
	}
	return ""
}

// late reports whether a poll that brought an end was asked for after somebody knew of that end: then it can't have joined the poll that brought it.
func late(ops []porcupine.Operation) bool {
	told := int64(math.MaxInt64)
	for _, o := range ops {
		op, r := o.Input.(apiOp), o.Output.(apiResult)
		ended := r.status == http.StatusOK && r.state != "" && r.state != "processing"
		if ended || r.status == http.StatusGone || r.status == http.StatusConflict && (op.kind == "poll" || op.kind == "deadline") {
			told = min(told, o.Return)
		}
	}
	return slices.ContainsFunc(ops, func(o porcupine.Operation) bool {
		r := o.Output.(apiResult)
		return o.Input.(apiOp).kind == "poll" && r.status == http.StatusOK && r.state != "processing" && o.Call > told
	})
}
