package scheduler

import (
	"time"

	"poller/order"
)

// evidence knows which hosts answered lately, so that blame rests on it (SPEC
// §5, "Ours or theirs"). It is guarded by the scheduler's lock.
//
// It looks at the stretch since anybody last answered. Hosts that used to
// answer and were asked in vain in that stretch are witnesses: three of them,
// beside the host in question, within a minute, say that the fault is ours.
// While the stretch lasts nobody loses the name of a host that answers; when
// it ends, those who failed in it lose that name until they answer again.
type evidence struct {
	up      map[string]bool      // answered when last asked
	failed  map[string]time.Time // up hosts that failed since the last answer: when last
	answers [2]answer            // the newest answers, of two different hosts, newest first
}

type answer struct {
	host string
	at   time.Time // wall clock
}

const (
	witnesses     = 3
	witnessWindow = time.Minute
)

func newEvidence() *evidence {
	return &evidence{up: make(map[string]bool), failed: make(map[string]time.Time)}
}

// recall takes what the store remembers of a host's seller.
func (e *evidence) recall(host string, h order.Health) {
	if h.LastAnsweredAt.IsZero() {
		return
	}
	if !h.LastAnsweredAt.Before(h.LastPolledAt) || h.LastOutcome == order.LocalFault {
		e.up[host] = true
	}
	e.note(host, h.LastAnsweredAt)
}

// answered notes that the host sent an HTTP answer.
func (e *evidence) answered(host string, wall time.Time) {
	if len(e.failed) > 0 {
		for h := range e.failed {
			delete(e.up, h)
		}
		clear(e.failed)
	}
	e.up[host] = true
	e.note(host, wall)
}

func (e *evidence) note(host string, wall time.Time) {
	a := answer{host, wall}
	switch {
	case e.answers[0].host == host:
		if wall.After(e.answers[0].at) {
			e.answers[0] = a
		}
	case wall.Before(e.answers[0].at):
		if e.answers[1].host == host || wall.After(e.answers[1].at) {
			e.answers[1] = a
		}
	default:
		e.answers[1], e.answers[0] = e.answers[0], a
	}
}

// silent notes a poll of the host without any HTTP answer, and reports whether the fault is ours.
func (e *evidence) silent(host string, mono time.Time) bool {
	n := 0
	for h, at := range e.failed {
		if h != host && mono.Sub(at) <= witnessWindow {
			if n++; n == witnesses {
				break
			}
		}
	}
	if e.up[host] {
		e.failed[host] = mono
	}
	return n >= witnesses
}

// inVain reports whether a host that used to answer was asked in vain since anybody answered.
func (e *evidence) inVain(host string) bool {
	_, failed := e.failed[host]
	return failed
}

// otherAnsweredAt is when a host other than this one last answered; zero: never.
func (e *evidence) otherAnsweredAt(host string) time.Time {
	if e.answers[0].host != host {
		return e.answers[0].at
	}
	return e.answers[1].at
}

// forget drops a host that no seller has any more.
func (e *evidence) forget(host string) {
	delete(e.up, host)
	delete(e.failed, host)
}
