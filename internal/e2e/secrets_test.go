package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"poller/internal/fakeseller"
)

// What is planted.
const (
	plantedHeader   = "sentinel-header-3b1f9c"
	plantedToken    = "sentinel-token-77ad02"
	plantedPassword = "sentinel-password-5e90d1" // of webhook.url
	plantedQuery    = "sentinel-query-91ccf4"    // of webhook.url
)

// Planted secrets are where they belong and nowhere else: in no log line at
// level debug, metric, answer of the API, webhook, output of a command,
// argument, trace of a SIGQUIT, database, backup or other file, whatever
// sellers and the platform echo (GUARANTEES, G19).
func TestNoSecretsAnywhere(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	platform := newEcho(t)
	webhookSecrets := []string{secretOf("sentinel-webhook-old"), secretOf("sentinel-webhook-new")}
	noError(t, os.MkdirAll(s.data(""), 0o700), "making the data folder")
	tokenFile := filepath.Join(s.dir, "token")
	noError(t, os.WriteFile(tokenFile, []byte(plantedToken+"\n"), 0o600), "writing the token")
	both := filepath.Join(s.dir, "both.pem")
	noError(t, os.WriteFile(both, append(s.sellers.CAPEM(), platform.server.CAPEM()...), 0o600), "writing certificates")
	s.set("fetch.timeout", "500ms", "fetch.breaker_failures", "100", // no breaker: each order is polled
		"fetch.ca_file", both, "api.token_file", tokenFile,
		"webhook.url", strconv.Quote(platform.url()), "webhook.secrets", fmt.Sprintf("[%q]", webhookSecrets[0]),
		"uploads.listen", "127.0.0.1:0", "uploads.public_url", "https://uploads.example")
	d := s.startWithToken(plantedToken)
	d.atDaemon()

	secretsRegister(d)
	secretsOrders(d)
	noError(t, platform.journal.wait(within(t), 0, func(line string) bool { return strings.Contains(line, "you sent") }), "waiting for a webhook")
	s.set("webhook.secrets", fmt.Sprintf("[%q, %q]", webhookSecrets[0], webhookSecrets[1]))
	d.reload()
	s.set("webhook.secrets", `[whsec_sentinel-webhook-broken]`)
	d.signal(syscall.SIGHUP)
	d.waitLog("configuration not reloaded: nothing changed", nil)
	_, _, said := s.runPoller("check-config")
	s.set("webhook.secrets", fmt.Sprintf("[%q, %q]", webhookSecrets[0], webhookSecrets[1]))
	backup := filepath.Join(s.dir, "copy.db")
	commands := said + secretsCommands(d, backup)

	for _, path := range []string{"/v1/sellers", "/v1/sellers/acme", "/v1/orders", "/v1/orders/echo", "/v1/orders/echo/history", "/v1/orders/echo-failed/history", "/v1/events",
		"/v1/sweeps", "/v1/status", "/v1/backup", "/openapi.json", "/v1/nonsense?x=" + plantedHeader, "/v1/sellers/" + plantedHeader} {
		if _, err := d.do(http.MethodGet, path, nil); err != nil {
			t.Error(err)
		}
	}
	wrong := *d
	wrong.token = plantedToken + "-not"
	wrong.call(http.MethodGet, "/v1/status", nil, http.StatusUnauthorized, nil)

	proc := filepath.Join("/proc", strconv.Itoa(d.cmd.Process.Pid))
	arguments, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	noError(t, err, "reading the arguments")
	places := map[string][]byte{"the arguments": arguments, "the metrics": d.get("/metrics").body}
	d.signal(syscall.SIGQUIT) // all goroutines are written out
	<-d.exited
	if !strings.Contains(d.log.all(), "goroutine ") {
		t.Error("no trace after SIGQUIT")
	}
	places["the log"], places["an answer of the API"], places["the output of a command"] = []byte(d.log.all()), []byte(s.answers.all()), []byte(commands)
	places["a webhook"] = []byte(platform.journal.all())
	filesOf(t, s.data(""), places)
	filesOf(t, backup, places)
	search(t, plantedSecrets(t, s, tokenFile, webhookSecrets), places)
	if !strings.Contains(string(places[s.data("poller.db")]), "redirect") || !strings.Contains(string(places[backup]), "redirect") || len(places) < 10 {
		t.Errorf("looked into %d places, the database or the backup is not among them, or empty", len(places))
	}
	// Whether the sellers did echo, and were masked.
	if !strings.Contains(string(places["a webhook"]), "you sent ***") {
		t.Errorf("no echo in the webhooks: %s", places["a webhook"])
	}
}

// plantedSecrets is all that is searched for.
func plantedSecrets(t *testing.T, s *site, tokenFile string, webhookSecrets []string) []secret {
	t.Helper()
	all := []secret{
		{name: "a header's value", value: []byte(plantedHeader)}, {name: "an Authorization header", value: []byte("key-of-acme")},
		{name: "the token", value: []byte(plantedToken), home: tokenFile},
		{name: "the webhook's password", value: []byte(plantedPassword)}, {name: "the webhook's query", value: []byte(plantedQuery)},
		{name: "a broken webhook secret", value: []byte("sentinel-webhook-broken")},
	}
	for _, secretText := range webhookSecrets {
		coded := strings.TrimPrefix(secretText, "whsec_")
		raw, err := base64.StdEncoding.DecodeString(coded)
		noError(t, err, "decoding a webhook secret")
		all = append(all, secret{name: "a webhook secret", value: raw})
	}
	for _, name := range []string{"secrets.key", "uploads.key"} {
		content, err := os.ReadFile(s.data(name))
		noError(t, err, "reading a key")
		for word := range strings.FieldsSeq(string(content)) {
			if len(word) > 32 {
				content = []byte(word)
			}
		}
		all = append(all, secret{name, content, s.data(name)})
		if raw, err := base64.StdEncoding.DecodeString(string(content)); err == nil {
			all = append(all, secret{name + ", decoded", raw, s.data(name)})
		}
	}
	return all
}

// secretsRegister registers sellers, well and wrongly, each time with the header's value in what is sent.
func secretsRegister(d *daemon) {
	d.t.Helper()
	s := d.site
	_, own := s.sellers.Credentials("acme")
	headers := object{"Authorization": own, "X-Api-Key": plantedHeader}
	put := func(seller string, host int, headers object, status int) {
		d.call(http.MethodPut, "/v1/sellers/"+seller, object{"status_url": s.sellers.StatusURL(host, "acme"), "headers": headers}, status, nil)
	}
	put("acme", 0, headers, http.StatusCreated)
	put("acme", 0, headers, http.StatusOK)
	put("broken", 1, headers, http.StatusCreated)
	d.call(http.MethodPatch, "/v1/sellers/acme", object{"headers": headers, "note": "patched"}, http.StatusOK, nil)
	put("refused", 0, object{"Host": plantedHeader}, http.StatusUnprocessableEntity)
	put("refused", 0, object{"X-Bad": plantedHeader + "\n"}, http.StatusUnprocessableEntity)
	put("refused", 0, object{"Bad Name": plantedHeader}, http.StatusUnprocessableEntity)
	d.call(http.MethodPut, "/v1/sellers/refused", object{"status_url": "https://user:" + plantedHeader + "@127.0.0.1/{order_id}", "headers": headers}, http.StatusUnprocessableEntity, nil)
	d.call(http.MethodPatch, "/v1/sellers/acme", object{"headers": plantedHeader}, http.StatusUnprocessableEntity, nil)
	a, err := d.do(http.MethodPost, "/v1/orders", []byte("{\"order_id\": \""+plantedHeader+"!\"}\n"+plantedHeader+"\n"))
	noError(d.t, err, "submitting nonsense")
	equal(d.t, "status of nonsense", a.status, http.StatusOK)
}

// secretsOrders has orders polled by which sellers echo, in every way, what they were sent.
func secretsOrders(d *daemon) {
	d.t.Helper()
	s := d.site
	_, own := s.sellers.Credentials("acme")
	echo := func(format string) fakeseller.Script {
		return fakeseller.Script{{Func: func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, format, r.Header.Get("Authorization"), r.Header.Get("X-Api-Key"))
		}}}
	}
	for name, script := range map[string]fakeseller.Script{
		"done": fakeseller.FileBase64(fakeseller.File{Name: "f", Size: 100}), "failed": fakeseller.Failed("no"), "hang": fakeseller.Hang(), "drop": fakeseller.Drop(),
		"unauthorized": fakeseller.Unauthorized("X-Nobody", "has", fakeseller.Quick("never")), "invalid": fakeseller.InvalidJSON(),
		"echo":          {{Status: http.StatusBadGateway, Body: []byte(plantedHeader + " " + own), Header: http.Header{"X-Echo": {plantedHeader}}}},
		"echo-message":  echo(`{"status":"processing","progress":1,"message":"you sent %s, %s"}`),
		"echo-failed":   echo(`{"status":"failed","error":{"code":"%s","message":"you sent %s"}}`),
		"echo-status":   echo(`{"status":"%s %s"}`),
		"echo-order":    echo(`{"status":"processing","order_id":"%s %s"}`),
		"echo-rejected": echo(`{"status":"completed","output_type":"url","result_url":"http://%s:%s@localhost/"}`),
		"echo-key":      echo(`{"status":"completed","output_type":"file","object_key":"%s/%s"}`),
		"echo-twice":    echo(`{"status":"completed","%[2]s":1,"%[2]s":2}%[1]s`),
		"no-http": {{Func: func(w http.ResponseWriter, _ *http.Request) {
			c, rw, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = rw.WriteString("HTTP/1.1 " + plantedHeader + " " + own + "\r\n\r\n") // poller may have hung up, here and below
				_ = rw.Flush()
				_ = c.Close()
			}
		}}},
		"redirect": fakeseller.Redirect(http.StatusFound, s.sellers.URL(1)+"/nobody/status/x?key="+plantedHeader),
		"away":     fakeseller.Redirect(http.StatusFound, "https://127.0.0.1:1/?key="+plantedHeader),
		"garbled":  fakeseller.Redirect(http.StatusFound, "https://%zz"+plantedHeader),
	} {
		s.sellers.Handle("acme/"+name, script)
		d.submit("acme", name)
	}
	d.call(http.MethodPost, "/v1/orders/hang/uploads", object{"filename": "f", "mime_type": "text/plain", "size": 3}, http.StatusOK, nil)
	d.call(http.MethodPost, "/v1/orders/done/poll", nil, http.StatusOK, nil)
	d.call(http.MethodPost, "/v1/orders/redirect/poll", nil, http.StatusOK, nil)
	d.sweep()
	if got := s.sellers.Stats("acme").Header.Get("X-Api-Key"); got != plantedHeader {
		d.t.Fatalf("the seller got the header %q", got)
	}
	if got := s.sellers.Stats("nobody").Header; got.Get("X-Api-Key") != "" || got.Get("Authorization") != "" {
		d.t.Errorf("a redirect led the headers to another host: %v", got)
	}
	s.sellers.BreakTLS(fakeseller.TLSExpired, 1)
	d.submit("broken", "tls")
	d.call(http.MethodPost, "/v1/orders/tls/poll", nil, http.StatusOK, nil)
}

// secretsCommands returns what commands say, with secrets among their arguments too.
func secretsCommands(d *daemon, backup string) (said string) {
	d.t.Helper()
	s := d.site
	for _, c := range []struct {
		code int
		args string
	}{
		{0, "seller show acme"}, {0, "seller list -o json"}, {0, "order show echo"}, {0, "order history echo-failed"}, {0, "order list -o json"}, {0, "events -o json"},
		{0, "check-config"}, {0, "status"}, {0, "sweep list"}, {0, "backup " + backup},
		{2, "seller put acme --header " + plantedHeader}, {1, "serve"}, {1, "compact"},
	} {
		code, stdout, stderr := s.runPoller(strings.Fields(c.args)...)
		if code != c.code {
			d.t.Errorf("poller %s: exit code %d, want %d: %s", c.args, code, c.code, stderr)
		}
		said += stdout + stderr
	}
	return said
}

// echo is a platform that answers every webhook with all that it was sent, as an error at first.
type echo struct {
	server  *fakeseller.Server
	journal *journal // of what it was sent, but for the credentials that belong there
}

func newEcho(t *testing.T) *echo {
	t.Helper()
	e := &echo{journal: &journal{}}
	var err error
	e.server, err = fakeseller.Start(t.Context(), fakeseller.Options{Handler: e})
	noError(t, err, "starting a platform")
	t.Cleanup(e.server.Close)
	return e
}

// url is that of the webhook, with secrets in it.
func (e *echo) url() string {
	return strings.Replace(e.server.URL(0), "https://", "https://user:"+plantedPassword+"@", 1) + "/hook?key=" + plantedQuery
}

// ServeHTTP implements http.Handler.
func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // poller may have hung up
	user, password, _ := r.BasicAuth()
	head := r.Header.Clone()
	head.Del("Authorization") // where the password belongs
	e.journal.add(fmt.Sprint(head, string(body)))
	w.Header().Set("X-Echo", password)
	w.Header().Set("Location", r.URL.String())
	w.WriteHeader(http.StatusInternalServerError)
	fmt.Fprint(w, user, password, r.URL, r.Header)
}
