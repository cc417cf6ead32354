package e2e

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poller/internal/fakeseller"
)

// What a seller's header value and the API's token are planted as.
const (
	plantedHeader = "sentinel-header-3b1f9c"
	plantedToken  = "sentinel-token-77ad02"
)

// Planted secrets are in no log line at level debug, no metric, no answer of
// the API, no output of a command and, but for the token's own file, nowhere in
// the data folder (GUARANTEES, G19).
func TestNoSecretsAnywhere(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	s.set("fetch.timeout", "500ms", "fetch.breaker_failures", "100") // no breaker: each order is polled
	noError(t, os.MkdirAll(s.data(""), 0o700), "making the data folder")
	tokenFile := filepath.Join(s.dir, "token")
	noError(t, os.WriteFile(tokenFile, []byte(plantedToken+"\n"), 0o600), "writing the token")
	s.set("api.token_file", tokenFile)
	d := s.startWithToken(plantedToken)

	_, own := s.sellers.Credentials("acme")
	headers := object{"Authorization": own, "X-Api-Key": plantedHeader}
	put := func(seller string, host int, headers object, status int) {
		d.call(http.MethodPut, "/v1/sellers/"+seller, object{"status_url": s.sellers.StatusURL(host, "acme"), "headers": headers}, status, nil)
	}
	put("acme", 0, headers, http.StatusCreated)
	put("acme", 0, headers, http.StatusOK)
	put("broken", 1, headers, http.StatusCreated)
	d.call(http.MethodPatch, "/v1/sellers/acme", object{"headers": headers, "note": "patched"}, http.StatusOK, nil)
	// Refused, each time with the value in what is refused.
	put("refused", 0, object{"Host": plantedHeader}, http.StatusUnprocessableEntity)
	put("refused", 0, object{"X-Bad": plantedHeader + "\n"}, http.StatusUnprocessableEntity)
	put("refused", 0, object{"Bad Name": plantedHeader}, http.StatusUnprocessableEntity)
	d.call(http.MethodPut, "/v1/sellers/refused", object{"status_url": "https://user:" + plantedHeader + "@127.0.0.1/{order_id}", "headers": headers}, http.StatusUnprocessableEntity, nil)
	d.call(http.MethodPatch, "/v1/sellers/acme", object{"headers": plantedHeader}, http.StatusUnprocessableEntity, nil)
	a, err := d.do(http.MethodPost, "/v1/orders", []byte("{\"order_id\": \""+plantedHeader+"!\"}\n"+plantedHeader+"\n"))
	noError(t, err, "submitting nonsense")
	equal(t, "status of nonsense", a.status, http.StatusOK)

	for name, script := range map[string]fakeseller.Script{
		"done": fakeseller.FileBase64(fakeseller.File{Name: "f", Size: 100}), "failed": fakeseller.Failed("no"), "hang": fakeseller.Hang(), "drop": fakeseller.Drop(),
		"unauthorized": fakeseller.Unauthorized("X-Nobody", "has", fakeseller.Quick("never")), "invalid": fakeseller.InvalidJSON(),
		"echo":     {{Status: http.StatusBadGateway, Body: []byte(plantedHeader + " " + own), Header: http.Header{"X-Echo": {plantedHeader}}}},
		"redirect": fakeseller.Redirect(http.StatusFound, s.sellers.URL(1)+"/nobody/status/x?key="+plantedHeader),
		"away":     fakeseller.Redirect(http.StatusFound, "https://127.0.0.1:1/?key="+plantedHeader),
	} {
		s.sellers.Handle("acme/"+name, script)
		d.submit("acme", name)
	}
	s.sellers.BreakTLS(fakeseller.TLSExpired, 1)
	d.submit("broken", "tls")
	d.call(http.MethodPost, "/v1/orders/done/poll", nil, http.StatusOK, nil)
	d.call(http.MethodPost, "/v1/orders/redirect/poll", nil, http.StatusOK, nil)
	d.sweep()
	if got := s.sellers.Stats("acme").Header.Get("X-Api-Key"); got != plantedHeader {
		t.Fatalf("the seller got the header %q", got)
	}
	for _, path := range []string{"/v1/sellers", "/v1/sellers/acme", "/v1/orders", "/v1/orders/echo/history", "/v1/events", "/v1/sweeps", "/v1/status", "/openapi.json", "/v1/nonsense?x=" + plantedHeader} {
		_, err := d.do(http.MethodGet, path, nil)
		noError(t, err, path)
	}
	var commands strings.Builder
	for _, args := range [][]string{{"seller", "show", "acme"}, {"seller", "list", "-o", "json"}, {"order", "show", "echo"}, {"check-config"}, {"status"}} {
		s.set("api.listen", strings.TrimPrefix(d.api, "http://"))
		code, stdout, stderr := s.runPoller(args...)
		equal(t, "exit code of "+strings.Join(args, " "), code, 0)
		commands.WriteString(stdout + stderr)
	}
	wrong := *d
	wrong.token = plantedToken + "-not"
	wrong.call(http.MethodGet, "/v1/status", nil, http.StatusUnauthorized, nil)
	metrics := string(d.get("/metrics").body)
	d.stop()

	places := map[string]string{"the log": d.log.all(), "the metrics": metrics, "an answer of the API": s.answers.all(), "the output of a command": commands.String()}
	noError(t, filepath.WalkDir(s.data(""), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		places[path] = string(content)
		return err
	}), "reading the data folder")
	for place, content := range places {
		for _, secret := range []string{plantedHeader, plantedToken, own} {
			if i := strings.Index(content, secret); i >= 0 {
				t.Errorf("%q is in %s: …%q", secret, place, content[max(0, i-100):min(len(content), i+100)])
			}
		}
	}
	if len(places) < 7 || !strings.Contains(places[s.data("poller.db")], "redirect") {
		t.Errorf("looked into %d places, the database is not among them, or empty", len(places))
	}
}
