//go:build ci

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A machine is a disk on which poller works and whose power can be cut: an ext4
// in an image file, through a loop device that holds nothing back from the
// file. The file is on an XFS, where a copy of it is taken at one instant, and
// is what the disk held at that instant: what was in memory only is not in it.
// It needs root, loop devices, mkfs.xfs and mkfs.ext4; scripts/install-ci.sh installs the programs.
type machine struct {
	t     *testing.T
	host  string // where the image files are
	mount string // where the disk is mounted
	disk  string // the image file of the disk that is in use; empty: none
	loop  string // its device
	disks int    // how many there were
}

// newMachine makes a machine whose disk, which is empty yet, is at mount.
func newMachine(t *testing.T, mount string) *machine {
	t.Helper()
	m := &machine{t: t, host: filepath.Join(t.TempDir(), "host"), mount: mount}
	image := m.host + ".img"
	for _, dir := range []string{m.host, m.mount} {
		noError(t, os.MkdirAll(dir, 0o700), "making a folder to mount on")
	}
	noError(t, os.WriteFile(image, nil, 0o600), "making an image")
	noError(t, os.Truncate(image, 2<<30), "making an image") // it takes only the space that is used
	m.run("mkfs.xfs", "-q", "-m", "reflink=1", image)
	m.run("mount", "-o", "loop", image, m.host)
	t.Cleanup(func() { m.unmount(m.host) })
	t.Cleanup(m.unplug)
	blank := filepath.Join(m.host, "blank.img")
	noError(t, os.WriteFile(blank, nil, 0o600), "making an image")
	noError(t, os.Truncate(blank, 128<<20), "making an image")
	m.run("mkfs.ext4", "-q", "-m", "0", "-b", "4096", blank) // direct I/O needs blocks no smaller than the host's
	return m
}

// run runs a program as root.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s: %v: %s (this test needs root, loop devices and what scripts/install-ci.sh installs)", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// blank puts an empty disk in.
func (m *machine) blank() { m.t.Helper(); m.plug(m.copy(filepath.Join(m.host, "blank.img"))) }

// copy copies an image file as it is at this instant.
func (m *machine) copy(image string) string {
	m.t.Helper()
	m.disks++
	name := filepath.Join(m.host, fmt.Sprintf("disk-%d.img", m.disks))
	m.run("cp", "--reflink=always", image, name)
	return name
}

// plug puts a disk in, in the place of the one that is there. What was cut off in the middle is put right by the file system.
func (m *machine) plug(image string) {
	m.t.Helper()
	m.unplug()
	m.loop = m.run("losetup", "--find", "--show", "--direct-io=on", image)
	m.disk = image
	m.run("mount", "-t", "ext4", m.loop, m.mount)
}

// unplug takes the disk out and throws it away.
func (m *machine) unplug() {
	if m.disk == "" {
		return
	}
	m.unmount(m.mount)
	if out, err := exec.Command("losetup", "--detach", m.loop).CombinedOutput(); err != nil {
		m.t.Errorf("letting go of %s: %v: %s", m.loop, err, out)
	}
	if err := os.Remove(m.disk); err != nil {
		m.t.Error(err)
	}
	m.disk = ""
}

// unmount unmounts. What a mount namespace of another test still holds goes with that.
func (m *machine) unmount(dir string) {
	for range 20 {
		out, err := exec.Command("umount", dir).CombinedOutput()
		if err == nil || strings.Contains(string(out), "not mounted") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	if out, err := exec.Command("umount", "--lazy", dir).CombinedOutput(); err != nil {
		m.t.Errorf("unmounting %s: %v: %s", dir, err, out)
	}
}

// onMachine moves data_dir onto a machine's disk, into a folder that poller makes itself.
func (s *site) onMachine() *machine {
	s.t.Helper()
	m := newMachine(s.t, filepath.Join(s.dir, "disk"))
	s.set("data_dir", "disk/var/poller")
	noError(s.t, os.Symlink("disk/var/poller", filepath.Join(s.dir, "data")), "linking to data_dir")
	m.blank()
	return m
}

// GUARANTEES, G1 to G5: the power is cut at random moments while poller does everything at once. Whatever had been
// acknowledged, sent or read before is on the disk, and the rest is whole or not there.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	random := seed(t)
	c := newTorture(t, random)
	m := c.onMachine()
	d := c.begin()
	cuts := 5 * tortureFactor(t)
	for cut := range cuts {
		moment := c.after(1 + random.IntN(400))
		wait := c.load(d)
		select {
		case <-moment:
		case <-within(t).Done():
			t.Fatal("poller does not get that far")
		}
		pause(random, 2*time.Millisecond)
		was := c.remembers()
		left := m.copy(m.disk)
		d.kill()
		wait()
		c.forgets(was)
		if random.IntN(2) == 0 { // and once more while it recovers
			m.plug(left)
			d = c.launch()
			pause(random, 150*time.Millisecond)
			left = m.copy(m.disk)
			d.kill()
		}
		m.plug(left)
		d = c.launch()
		c.serves(d)
		c.recalls(d.events())
		c.check(d)
		if t.Failed() {
			t.Fatalf("after %d power cuts", cut+1)
		}
	}
	c.finish(d)
	t.Logf("%d power cuts; %d orders, %d events read, %d observations", cuts, len(c.orders), len(c.feed), c.seen)
}

// GUARANTEES, G8: the power is cut during a first start. Poller starts afterwards, and what it had acknowledged by
// then is there; so is the token that clients were given.
func TestPowerCutInAFirstStart(t *testing.T) {
	t.Parallel()
	random := seed(t)
	c := newTorture(t, random)
	c.set("uploads.listen", `""`, "uploads.public_url", `""`) // what is made for them would sync the rest
	m := c.onMachine()
	takes := time.Duration(0) // a start, at least
	cuts, served := 12*tortureFactor(t), 0
	for cut := range cuts {
		m.blank()
		begun := time.Now()
		d := c.launch()
		if cut == 0 {
			c.serves(d)
			takes = time.Since(begun)
		}
		moment := c.after(1 + random.IntN(20))
		acknowledged, wait := c.firstOrders(d)
		if cut%2 == 0 {
			pause(random, takes*3/2)
		} else {
			select {
			case <-moment:
			case <-within(t).Done():
				t.Fatal("poller does not get that far")
			}
		}
		was, orders := c.remembers(), acknowledged()
		left := m.copy(m.disk)
		d.kill()
		wait()
		c.forgets(was)
		m.plug(left)
		again := c.launch()
		c.serves(again)
		if orders > 0 {
			served++
			equal(t, "the token after a cut", again.token, d.token)
		}
		c.check(again)
		again.kill()
		if t.Failed() {
			t.Fatalf("after %d power cuts", cut+1)
		}
		c.mu.Lock()
		c.orders, c.feed = make(map[string]*submission), nil
		c.mu.Unlock()
	}
	t.Logf("%d power cuts in a first start, %d of them when orders had been acknowledged", cuts, served)
}

// firstOrders registers a seller as soon as poller serves and submits orders until it is gone.
func (c *torture) firstOrders(d *daemon) (acknowledged func() int, wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if d.log.wait(within(c.t), 0, func(line string) bool { return strings.Contains(line, `"msg":"serving"`) }) != nil {
			return // it did not come to that
		}
		d.serving()
		d.readToken()
		name, value := d.sellers.Credentials("seller-0")
		body := object{"status_url": d.sellers.StatusURL(0, "seller-0"), "headers": object{name: value}}
		if _, err := d.do(http.MethodPut, "/v1/sellers/seller-0", body); err != nil {
			return
		}
		k := &client{torture: c}
		for n := range perLife {
			id := fmt.Sprintf("never-first-%d", n)
			content := object{"order_id": id, "seller_id": "seller-0"}
			k.posts(id, content)
			a, err := d.do(http.MethodPost, "/v1/orders", content)
			if a.status == http.StatusCreated {
				k.of(id, func(s *submission) { s.acknowledged = true })
			}
			if err != nil {
				return
			}
		}
	}()
	return func() (n int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, s := range c.orders {
			if s.acknowledged {
				n++
			}
		}
		return n
	}, func() { <-done }
}
