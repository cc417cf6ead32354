//go:build ci

package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"poller/internal/fakeseller"
)

// Issue 6: a disk that is full to the last byte, while polls are in flight and orders are submitted. The polls that
// were in flight end their orders, and what is old is deleted, all in the room of the reserve; nothing else is begun. GUARANTEES, G7.
func TestFullDataDisk(t *testing.T) {
	t.Parallel()
	for name, disk := range map[string]func(*site){
		"tmpfs": func(s *site) { s.onTmpfs("size=48m") },
		"ext4":  func(s *site) { s.onExt4(48) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 2)
			disk(s)
			fullDataDisk(t, s)
		})
	}
}

func fullDataDisk(t *testing.T, s *site) {
	const many = 100
	s.set("log.level", "info", "fetch.per_seller", fmt.Sprint(many), "fetch.per_host", fmt.Sprint(many))
	d := s.start()
	for _, seller := range []string{"quick", "steady", "held"} {
		d.register(0, seller)
	}
	s.sellers.Handle("quick/*", fakeseller.Quick("done"))
	s.sellers.Handle("steady/*", fakeseller.Processing())
	held, arrived, release := blocked(t, longText, many)
	s.sellers.Handle("held/*", held)
	s.sellers.Handle("quick/with-file", fakeseller.FileBase64(fakeseller.File{Name: "f", Size: 100 << 10, Seed: 1}))

	old := names("old", 300)
	d.submitMany("quick", append(old, "to-erase", "with-file")...)
	d.sweep()
	d.submit("steady", "to-cancel")
	d.submit("steady", "stays")
	d.stop()
	s.run("compact") // no page of the file is free
	d = s.start()
	w := d.writer("steady", "late")
	ends := names("held", many)
	d.submitMany("held", ends...)
	d.call(http.MethodPost, "/v1/sweeps", nil, http.StatusAccepted, nil)
	arrived()

	empty := s.fill(s.data(""))
	release() // the answers come to a full disk
	d.waitLog("the disk is full: the reserve is given back, for orders to end and old ones to be deleted", nil)
	d.refusesWork("steady", "stays")
	d.readsGoOn("stays")
	until(t, "the polls in flight have ended their orders", func() bool { return d.order(ends[0]).State == "completed" })
	for _, id := range ends {
		if o := d.order(id); o.State != "completed" || o.Trouble != nil {
			t.Errorf("order %s, whose answer came to a full disk: %+v", id, o)
		}
	}
	d.call(http.MethodPost, "/v1/orders/to-cancel/cancel", nil, http.StatusOK, nil)
	d.call(http.MethodDelete, "/v1/orders/to-erase", nil, http.StatusNoContent, nil)
	w.checkStatuses(http.StatusCreated, http.StatusInsufficientStorage)

	// It stops and starts on a full disk, and then deletes what is old.
	d.stop()
	time.Sleep(1100 * time.Millisecond) // for it to be so old
	s.set("orders.retention", "1s")
	d = s.start()
	d.waitLog("old records deleted", func(l logLine) bool { return l.number("orders") >= len(old) })
	equal(t, "status of an order that was deleted", statusOf(d, "/v1/orders/old-7"), http.StatusNotFound)
	d.refusesWork("steady", "stays")
	before := s.sellers.Stats("steady").Polls
	d.stop()
	s.set("orders.retention", "30d")
	d = s.start()
	empty()
	d.resumes("quick")
	d.waitLog("the disk takes writes again: the reserve is made again", nil)
	if o := d.order("stays"); o.Trouble != nil || o.State != "processing" || s.sellers.Stats("steady").Polls == before {
		t.Errorf("an order at a seller that is well: %+v", o)
	}
	d.checkKept(append(w.acknowledged, "stays", "afterwards")...)
}
