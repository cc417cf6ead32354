package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"poller/internal/fakeseller"
)

// A lived is a poller that was stopped after a life with everything in it, with a copy of all that it left.
type lived struct {
	*torture
	whole string // the copy of its data folder
}

// newLived has a poller live under load, and stops it while orders are being processed and webhooks are owed.
// No sweep is open, so that nothing ends by itself when it starts again.
func newLived(t *testing.T) *lived {
	t.Helper()
	c := newTorture(t, seed(t))
	d := c.begin()
	moment := c.after(700)
	wait := c.load(d)
	select {
	case <-moment:
	case <-within(t).Done():
		t.Fatal("poller does not get that far")
	}
	wait()
	c.platform.replies(func(attempt) int { return http.StatusServiceUnavailable })
	until(t, "the end of the sweep", func() bool {
		a, err := d.do(http.MethodPost, "/v1/sweeps", nil)
		noError(t, err, "starting a sweep")
		return a.status == http.StatusAccepted
	})
	// The last sweep is the one that was just started.
	until(t, "the end of the last sweep", func() bool {
		var p pageOf[sweepView]
		d.call(http.MethodGet, "/v1/sweeps?limit=1", nil, http.StatusOK, &p)
		return p.Items[0].State != "running"
	})
	orders := c.check(d)
	states, files := map[string]int{}, 0
	for _, o := range orders {
		states[o.State]++
		if o.Result != nil {
			files += len(o.Result.Files)
		}
	}
	owed := d.status().Webhook.Pending
	if states["processing"] == 0 || files == 0 || owed == 0 {
		t.Fatalf("a poor life: %v, %d files, %d webhooks owed", states, files, owed)
	}
	t.Logf("a life: %v, %d files, %d webhooks owed", states, files, owed)
	d.stop()
	l := &lived{torture: c, whole: filepath.Join(c.dir, "whole")}
	l.copyTree(c.data(""), l.whole)
	return l
}

func (l *lived) copyTree(from, to string) {
	l.t.Helper()
	out, err := exec.CommandContext(l.t.Context(), "cp", "-a", from, to).CombinedOutput()
	noError(l.t, err, "copying a folder: "+string(out))
}

// mend puts everything back as it was.
func (l *lived) mend() {
	l.t.Helper()
	noError(l.t, os.RemoveAll(l.data("")), "removing what is damaged")
	l.copyTree(l.whole, l.data(""))
}

// tree is what a folder holds: name to kind, rights and content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		is := info.Mode().String()
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			is += fmt.Sprintf(" %d bytes %x", len(content), sha256.Sum256(content))
		}
		all[strings.TrimPrefix(path, dir)] = is
		return nil
	})
	noError(t, err, "looking at a folder")
	return all
}

// sameTree compares what a folder holds with what it held.
func sameTree(t *testing.T, after string, was, is map[string]string) {
	t.Helper()
	for name, what := range was {
		if is[name] != what {
			t.Errorf("after %s %s is %q, was %q", after, name, is[name], what)
		}
	}
	for name := range is {
		if _, there := was[name]; !there {
			t.Errorf("%s made %s", after, name)
		}
	}
}

// damages are what may have become of the files of a poller that is stopped, and what its operator is to be told then.
func damages(l *lived) []damageCase {
	db, key := "poller.db", "secrets.key"
	path := func(name string) string { return l.data(name) }
	remove := func(names ...string) func() error {
		return func() error {
			for _, n := range names {
				if err := os.RemoveAll(path(n)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	write := func(name, content string) func() error {
		return func() error { return os.WriteFile(path(name), []byte(content), 0o600) }
	}
	cut := func(name string, to func(size int64) int64) func() error {
		return func() error {
			info, err := os.Stat(path(name))
			if err != nil {
				return err
			}
			return os.Truncate(path(name), to(info.Size()))
		}
	}
	zero := func(from, to int64) func() error {
		return func() error {
			f, err := os.OpenFile(path(db), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt(make([]byte, to-from), from)
			return err
		}
	}
	folder := func(name string) func() error {
		return func() error {
			if err := os.Remove(path(name)); err != nil {
				return err
			}
			return os.Mkdir(path(name), 0o700)
		}
	}
	other := func(names ...string) func() error { // another poller's files
		return func() error {
			s := newSite(l.t, 1)
			d := s.start()
			d.register(0, "acme")
			d.submit("acme", "o")
			d.stop()
			for _, n := range names {
				copyFile(l.t, s.data(n), path(n))
			}
			return nil
		}
	}
	foreign := func() error {
		if err := os.Remove(path(db)); err != nil {
			return err
		}
		f, err := bolt.Open(path(db), 0o600, nil)
		if err != nil {
			return err
		}
		err = f.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err })
		if err != nil {
			return err
		}
		return f.Close()
	}
	const restore = "restore"
	return []damageCase{
		{"database missing", remove(db), db, []string{restore}},
		{"database and key missing", remove(db, key), db, []string{restore}},
		{"nothing left but the results", remove(db, key, "api.token", "uploads.key"), db, []string{restore}},
		{"database empty", write(db, ""), db, []string{"is empty", restore}},
		{"database a few bytes", write(db, "x"), db, []string{"no valid head", restore}},
		{"database another text", write(db, strings.Repeat("hello\n", 1<<14)), db, []string{"no valid head", restore}},
		{"database another program's", foreign, db, []string{"another program"}},
		{"database another poller's", other(db), key, []string{"another database's key", "put the right one back"}},
		{"database and key another poller's", other(db, key), "results", []string{"another"}},
		{"database a folder", folder(db), db, []string{"regular"}},
		{"database cut", cut(db, func(int64) int64 { return 1 << 16 }), db, []string{"is cut", restore}},
		{"database cut within a page", cut(db, func(int64) int64 { return 1<<16 + 1 }), db, []string{"is cut", restore}},
		{"both heads zeroed", zero(0, 8192), db, []string{"no valid head", restore}},
		{"everything zeroed but the heads", zero(8192, 1<<17), db, []string{"page", restore}},
		{"key missing", remove(key), key, []string{"is missing", "put it back"}},
		{"key empty", write(key, ""), key, []string{"empty", "put the right one back"}},
		{"key short", cut(key, func(n int64) int64 { return n - 10 }), key, []string{"cut or damaged", "put the right one back"}},
		{"key of something else", write(key, "-----BEGIN PRIVATE KEY-----\n"), key, []string{"not a key file", "put the right one back"}},
		{"key another poller's", other(key), key, []string{"another database's key", "put the right one back"}},
		{"key a folder", folder(key), key, nil},
		{"token empty", write("api.token", ""), "api.token", []string{"no token", "delete it"}},
		{"token a folder", folder("api.token"), "api.token", nil},
		{"mark of the results another's", write("results/poller-store-id", strings.Repeat("0", 32)+"\n"), "results", nil},
		{"mark of the results missing", remove("results/poller-store-id"), "results", nil},
		{"mark of the results empty", write("results/poller-store-id", ""), "results", nil},
	}
}

type damageCase struct {
	name  string
	spoil func() error
	file  string   // that the message names
	says  []string // what else it says
}

// GUARANTEES, G8: whatever became of the files of a poller that has lived, nothing new takes their place. Serve exits with 1 and says
// which file, what is wrong and what to do; the commands for a stopped poller say it too; all files stay as they are,
// and when they are put back the whole record is there.
func TestDamagedFilesAreRefused(t *testing.T) {
	t.Parallel()
	l := newLived(t)
	backup := l.makeBackup()
	for _, c := range damages(l) {
		t.Run(c.name, func(t *testing.T) {
			noError(t, c.spoil(), "spoiling")
			was := tree(t, l.data(""))
			for _, command := range [][]string{{"serve"}, {"serve"}} { // systemd tries again
				begun := time.Now()
				code, _, stderr := l.runPoller(command...)
				if took := time.Since(begun); took > patience/2 {
					t.Errorf("it took %s", took)
				}
				wrong := code != 1 || !strings.Contains(stderr, l.data(c.file)) || isTrace(stderr)
				for _, s := range c.says {
					wrong = wrong || !strings.Contains(stderr, s)
				}
				if wrong {
					t.Errorf("exit code %d, want 1 and a message with %s and %q: %s", code, l.data(c.file), c.says, stderr)
				}
				sameTree(t, "poller "+command[0], was, tree(t, l.data("")))
			}
			_, _, stderr := l.runPoller("serve")
			t.Log(strings.TrimSpace(stderr))
			if code, _, stderr := l.runPoller("check-config"); code != 0 {
				t.Errorf("check-config, which looks at the configuration alone: exit code %d: %s", code, stderr)
			}
			if c.file == "poller.db" {
				for _, command := range [][]string{{"compact"}, {"rotate-key"}} {
					code, _, stderr := l.runPoller(command...)
					if code != 1 || !strings.Contains(stderr, l.data("")) || isTrace(stderr) {
						t.Errorf("%s: exit code %d: %s", command[0], code, stderr)
					}
					sameTree(t, "poller "+command[0], was, tree(t, l.data("")))
				}
			}
			if _, err := os.Lstat(l.data("poller.db")); err == nil {
				l.refused("poller.db", "restore", backup)
				sameTree(t, "poller restore", was, tree(t, l.data("")))
			}
			l.mend()
			if t.Failed() {
				return
			}
			d := l.launch()
			l.serves(d)
			l.check(d)
			d.kill()
			l.mend()
		})
	}
}

// makeBackup has a poller make a backup of the whole.
func (l *lived) makeBackup() string {
	l.t.Helper()
	d := l.launch()
	l.serves(d)
	listen := l.config["api.listen"]
	d.atDaemon()
	file := filepath.Join(l.dir, "backup.db")
	l.run("backup", file)
	d.stop()
	l.set("api.listen", listen)
	l.mend()
	return file
}

// isTrace reports whether a text has a stack trace in it.
func isTrace(text string) bool {
	return slices.ContainsFunc([]string{"panic:", "goroutine ", "runtime error", "SIGSEGV", "SIGBUS"}, func(s string) bool {
		return strings.Contains(text, s)
	})
}

// Results that are not there, since their disk is not mounted, say, are told of at once.
func TestMissingResultsAreToldOf(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.start()
	d.register(0, "acme")
	s.sellers.Handle("acme/o", fakeseller.FileBase64(fakeseller.File{Name: "a.txt", Bytes: []byte("kept")}))
	d.submit("acme", "o")
	d.sweep()
	d.stop()
	noError(t, os.RemoveAll(d.data("results")), "removing the results")
	d = s.start()
	d.waitLog("the result store is new and empty, the database is not: is a file system not mounted, or results.bucket another one?", nil)
	if a := d.get("/v1/orders/o/files/0"); a.status == http.StatusOK {
		t.Errorf("a file that is gone: %d %s", a.status, a.body)
	}
	equal(t, "o", d.order("o").State, "completed")
}

// Files with secrets in them that others may read are told of, each by its name.
func TestWideFilesAreToldOf(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	d := s.start()
	d.register(0, "acme")
	d.stop()
	for _, name := range []string{"poller.db", "api.token", "secrets.key"} {
		noError(t, os.Chmod(s.data(name), 0o644), "opening a file to others")
	}
	d = s.start()
	for name, msg := range map[string]string{
		"secrets.key": "others may read the key file; chmod 600 it",
		"poller.db":   "every user may read or write the file; chmod o-rwx it",
		"api.token":   "every user may read or write the file; chmod o-rwx it",
	} {
		d.waitLog(msg, func(l logLine) bool { return l.text("path") == s.data(name) })
	}
}

// GUARANTEES, G9: a bit that flipped or a page that was zeroed while poller was stopped makes it refuse the database, or
// is the matter of the records that it hit: no order is told of in a state that it was not in, or ends because of it.
func TestRottenDatabase(t *testing.T) {
	t.Parallel()
	random := seed(t)
	s := newSite(t, 1)
	s.sellers.Handle("acme/*", fakeseller.Processing())
	s.sellers.Handle("acme/file-*", fakeseller.FileBase64(fakeseller.File{Name: "a.txt", Bytes: []byte("kept")}))
	s.sellers.Handle("acme/fails-*", fakeseller.Failed("it does not"))
	d := s.start()
	d.register(0, "acme")
	all := slices.Concat(names("o", 200), names("file", 20), names("fails", 20))
	d.submitMany("acme", all...)
	d.sweep()
	states := map[string]string{}
	for _, id := range all {
		states[id] = d.order(id).State
	}
	d.stop()
	s.run("compact") // so that most of the file is in use
	whole, err := os.ReadFile(s.data("poller.db"))
	noError(t, err, "reading the database")
	const page = 4096
	refused, hit, cases := 0, 0, 24*tortureFactor(t)
	for n := range cases {
		rotten := bytes.Clone(whole)
		at := 2*page + random.IntN(len(whole)-2*page)
		if n%3 == 0 {
			clear(rotten[at/page*page:][:page])
		} else {
			rotten[at] ^= 1 << random.IntN(8)
		}
		noError(t, os.WriteFile(s.data("poller.db"), rotten, 0o600), "spoiling the database")
		d := s.launch()
		if !d.waitServing() {
			if !strings.Contains(d.log.all(), "poller.db") || isTrace(d.log.all()) {
				t.Errorf("byte %d: refused with %s", at, d.log.all())
			}
			refused++
			continue
		}
		d.serving()
		d.readToken()
		// One that meets the damage in a commit ends; it would be started anew.
		if a, err := d.do(http.MethodPost, "/v1/sweeps", nil); err == nil && a.status == http.StatusAccepted {
			_ = d.log.wait(within(t), 0, func(line string) bool { return strings.Contains(line, `"sweep ended"`) })
		}
		for _, id := range all {
			a, err := d.do(http.MethodGet, "/v1/orders/"+id, nil)
			var o struct{ State string }
			switch {
			case err != nil || a.status == http.StatusInternalServerError || a.status == http.StatusServiceUnavailable:
				hit++
			case a.status != http.StatusOK:
				t.Errorf("byte %d: order %s: %d %s", at, id, a.status, a.body)
			default:
				noError(t, json.Unmarshal(a.body, &o), "decoding an order")
				if o.State != states[id] {
					t.Errorf("byte %d: order %s is %s, and was %s", at, id, o.State, states[id])
				}
			}
		}
		d.kill()
		if isTrace(d.log.all()) {
			t.Errorf("byte %d: %s", at, d.log.all())
		}
	}
	t.Logf("%d of %d refused; %d answers about orders that were hit", refused, cases, hit)
	noError(t, os.WriteFile(s.data("poller.db"), whole, 0o600), "putting the database back")
	d = s.start()
	for id, state := range states {
		equal(t, id, d.order(id).State, state)
	}
}
