package main

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the .want files anew")

// secretValue stands for everything that no message may show.
const secretValue = "hunter2"

func testEnv(name string) (string, bool) {
	v, ok := map[string]string{
		"SECRET":  secretValue,
		"WORKERS": "33",
		"FOLDER":  "/srv/poller",
	}[name]
	return v, ok
}

// One broken file per rule, with its exact message (SPEC §3).
func TestBrokenConfig(t *testing.T) {
	t.Chdir("testdata/config")
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		if file == "empty.yaml" {
			continue
		}
		t.Run(strings.TrimSuffix(file, ".yaml"), func(t *testing.T) {
			_, err := loadConfig(file, testEnv)
			if err == nil {
				t.Fatal("accepted")
			}
			got := err.Error() + "\n"
			if strings.Contains(got, secretValue) {
				t.Errorf("shows a secret: %s", got)
			}
			want := strings.TrimSuffix(file, ".yaml") + ".want"
			if *update {
				if err := os.WriteFile(want, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			b, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(b) {
				t.Errorf("got  %swant %s", got, b)
			}
		})
	}
}

func mustParse(t *testing.T, content string) *Config {
	t.Helper()
	c, err := parseConfig("/etc/poller/config.yaml", []byte(content), testEnv)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Every key has a default, so an empty file is valid (SPEC §3).
func TestEmptyConfig(t *testing.T) {
	want := mustParse(t, "")
	for _, content := range []string{"\n", "# only a comment\n", "---\n", "---\n...\n", "fetch:\nlog:\n  # level: debug\n", "{}"} {
		if got := mustParse(t, content); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v", content, got)
		}
	}
	if want.DataDir != "/etc/poller/data" || want.Store.BBolt != "/etc/poller/data/poller.db" || want.resultsDir() != "/etc/poller/data/results" {
		t.Errorf("paths: %+v", want)
	}
}

// The file that is shipped says the defaults, each key of it.
func TestShippedConfig(t *testing.T) {
	const file = "../../config.yaml"
	got, err := loadConfig(file, testEnv)
	if err != nil {
		t.Fatal(err)
	}
	want, err := parseConfig(file, nil, testEnv)
	if err != nil {
		t.Fatal(err)
	}
	if d := Diff(want, got); len(d) > 0 {
		t.Errorf("differs from the defaults: %+v", d)
	}
	if !reflect.DeepEqual(got.hidden, map[string]bool{}) {
		t.Errorf("hidden: %v", got.hidden)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c Config
	for _, k := range c.keys() {
		name := k.path[strings.LastIndexByte(k.path, '.')+1:]
		if !strings.Contains(string(b), name+":") {
			t.Errorf("%s is not in the file", k.path)
		}
	}
}

func TestConfigValues(t *testing.T) {
	tests := []struct {
		content string
		get     func(*Config) any
		want    any
	}{
		{"data_dir: /srv", func(c *Config) any { return c.API.TokenFile }, "/srv/api.token"},
		{"data_dir: ../x", func(c *Config) any { return c.Secrets.KeyFile }, "/etc/x/secrets.key"},
		{"secrets: {key_file: k}", func(c *Config) any { return c.Secrets.KeyFile }, "/etc/poller/k"},
		{`api: {listen: "unix:api.sock"}`, func(c *Config) any { return c.API.Listen }, "unix:/etc/poller/api.sock"},
		{"results: {bucket: file://r}", func(c *Config) any { return c.resultsDir() }, "/etc/poller/r"},
		{"results: {bucket: file:///r}", func(c *Config) any { return c.resultsDir() }, "/r"},
		{"min_free: 0", func(c *Config) any { return c.MinFree }, Size(0)},
		{"min_free: 1.5GiB", func(c *Config) any { return c.MinFree }, gib + gib/2},
		{"min_free: 10MB", func(c *Config) any { return c.MinFree }, Size(10_000_000)},
		{"orders: {deadline: 1d12h}", func(c *Config) any { return c.Orders.Deadline }, 36 * time.Hour},
		{"orders: {give_up_after: {not_found: 0}}", func(c *Config) any { return c.Orders.GiveUpAfter.NotFound }, time.Duration(0)},
		{"orders: {give_up_after: {not_found: 0s}}", func(c *Config) any { return c.Orders.GiveUpAfter.NotFound }, time.Duration(0)},
		{"orders: {give_up_fuse: 0}", func(c *Config) any { return c.Orders.GiveUpFuse }, Share(0)},
		{"orders: {give_up_fuse: 2.5%}", func(c *Config) any { return c.Orders.GiveUpFuse }, Share(0.025)},
		{"fetch: {breaker_probes: []}", func(c *Config) any { return len(c.Fetch.BreakerProbes) }, 0},
		{`fetch: {hosts: {"Hook.example:443": 7}}`, func(c *Config) any { return c.Fetch.Hosts["hook.example:443"] }, 7},
		{"fetch: {allow_networks: [127.0.0.0/8, fd00::/8]}", func(c *Config) any { return c.Fetch.AllowNetworks[1].String() }, "fd00::/8"},
		{"schedule: {cron: '@every 15m', spread: 13m30s}", func(c *Config) any { return c.Schedule.Spread }, 13*time.Minute + 30*time.Second},
		{"schedule: {timezone: Europe/Berlin}", func(c *Config) any { return c.Schedule.Timezone }, "Europe/Berlin"},
		{"fetch: {timeout: &t 5s, body_timeout: *t}", func(c *Config) any { return c.Fetch.BodyTimeout }, 5 * time.Second},

		// ${NAME} inside a string value, after parsing.
		{"data_dir: ${FOLDER}/data", func(c *Config) any { return c.DataDir }, "/srv/poller/data"},
		{"data_dir: $FOLDER", func(c *Config) any { return c.DataDir }, "/etc/poller/$FOLDER"},
		{"fetch: {workers: '${WORKERS}'}", func(c *Config) any { return c.Fetch.Workers }, 33},
		{"fetch: {timeout: '${WORKERS}s'}", func(c *Config) any { return c.Fetch.Timeout }, 33 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.content, func(t *testing.T) {
			if got := test.get(mustParse(t, test.content)); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestExpandFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "name"), []byte("wörk ${SECRET}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"${file:name}", "${file:" + dir + "/name}"} {
		got, err := expand("a"+ref+"b", dir, testEnv)
		if want := "awörk ${SECRET}b"; got != want || err != nil {
			t.Errorf("%s: got %q, %v; want %q", ref, got, err, want)
		}
	}
}

// What a reload says: each changed key, old and new, without secrets.
func TestDiff(t *testing.T) {
	old := mustParse(t, "fetch: {workers: 4}\nlog: {level: info}")
	now := mustParse(t, "fetch: {workers: 8, ca_file: '', max_body: 1MiB}\nlog: {level: info}\ndata_dir: ${FOLDER}\nstore: {bbolt: /a}")
	want := []change{
		{"data_dir", `"/etc/poller/data"`, "***", false},
		{"fetch.workers", "4", "8", true},
		{"fetch.max_body", "64MiB", "1MiB", true},
		{"store.bbolt", `"/etc/poller/data/poller.db"`, `"/a"`, false},
	}
	var got []change
	for _, c := range Diff(old, now) {
		if c.Key != "results.bucket" && !strings.HasSuffix(c.Key, "_file") { // follow from data_dir
			got = append(got, c)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if d := Diff(old, old); len(d) != 0 {
		t.Errorf("no change: %+v", d)
	}
	secret := mustParse(t, "")
	secret.Webhook.Secrets = []string{secretValue}
	for _, c := range Diff(old, secret) {
		if strings.Contains(c.New, secretValue) {
			t.Errorf("shows a secret: %+v", c)
		}
	}
}

// What formatDuration and Size.String write is read again as the same value.
func TestFormats(t *testing.T) {
	for _, d := range []time.Duration{0, time.Millisecond, time.Second, 90 * time.Second, 72 * time.Hour, 30 * day, 36*time.Hour + time.Second} {
		if got, err := parseDuration(formatDuration(d)); got != d || err != nil {
			t.Errorf("%v: %q reads as %v, %v", d, formatDuration(d), got, err)
		}
	}
	for _, s := range []Size{0, 1, 1000, 1 << 10, 3 * mib / 2, gib, 5 << 40} {
		if got, err := parseSize(s.String()); got != s || err != nil {
			t.Errorf("%d: %q reads as %d, %v", s, s, got, err)
		}
	}
}

// Whatever the file holds: no panic, and no message with what ${…} put in.
func FuzzParseConfig(f *testing.F) {
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "../../config.yaml") {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		if strings.Contains(string(content), secretValue) {
			t.Skip("the secret itself stands in the file")
		}
		_, err := parseConfig(filepath.Join(dir, "config.yaml"), content, testEnv)
		if err != nil && strings.Contains(err.Error(), secretValue) {
			t.Errorf("shows a secret: %v", err)
		}
	})
}
