package store

import (
	"maps"
	"slices"

	"poller/order"
)

// cold is what an order was submitted with. Together with its hot or ended
// record it makes the order.
type cold struct {
	submitted uint64 // number of its order.submitted event
	digest    [32]byte
}

func encodeCold(e encoder, o *order.Order, c *cold) encoder {
	e.uint(c.submitted)
	e.raw(c.digest[:])
	e.time(o.SubmittedAt)
	e.time(o.Deadline)
	e.string(o.ID)
	if o.RemoteID == o.ID {
		e.string("")
	} else {
		e.string(o.RemoteID)
	}
	e.uint(uint64(len(o.Metadata)))
	for _, k := range slices.Sorted(maps.Keys(o.Metadata)) {
		e.string(k)
		e.string(o.Metadata[k])
	}
	return e
}

func decodeCold(d *decoder, o *order.Order, c *cold) bool {
	c.submitted = d.uint()
	copy(c.digest[:], d.raw(len(c.digest)))
	o.SubmittedAt = d.time()
	o.Deadline = d.time()
	o.ID = d.string()
	if o.RemoteID = d.string(); o.RemoteID == "" {
		o.RemoteID = o.ID
	}
	if n := d.count(); n > 0 {
		o.Metadata = make(map[string]string, n)
		for range n {
			k := d.string()
			o.Metadata[k] = d.string()
		}
	}
	return d.ok() && o.ID != ""
}

// decodeIDs reads no more than whom to ask for the order.
func decodeIDs(d *decoder, t *order.Target) bool {
	d.uint()
	d.raw(len(cold{}.digest))
	d.uint() // submitted at
	d.uint() // deadline
	t.ID = d.string()
	if t.RemoteID = d.string(); t.RemoteID == "" {
		t.RemoteID = t.ID
	}
	return !d.bad && t.ID != ""
}

// maxTold is how many order.progress events an order's history shows (SPEC §6).
const maxTold = 20

// told holds the numbers of the newest order.progress events of an order, oldest first.
type told struct {
	n       int
	numbers [maxTold]uint64
}

func (t *told) add(number uint64) {
	if t.n == maxTold {
		copy(t.numbers[:], t.numbers[1:])
		t.n--
	}
	t.numbers[t.n] = number
	t.n++
}

func (t *told) encode(e *encoder) {
	e.uint(uint64(t.n))
	var last uint64
	for _, n := range t.numbers[:t.n] {
		e.uint(n - last)
		last = n
	}
}

func (t *told) decode(d *decoder) {
	n := d.count()
	if n > maxTold {
		d.fail()
		return
	}
	t.n = n
	var last uint64
	for i := range n {
		last += d.uint()
		t.numbers[i] = last
	}
}

// What a hot record holds beside what every one holds. Append only.
const (
	hasNotBefore = 1 << iota
	hasUnanswered
	hasHeld
	hasProgress
	hasToldProgress
	hasMessage
	hasETA
	hasDetail
	hasTrouble
	hasClocks
	hasRecent
	hasToldAt
	hasTold
)

func (o *hotView) flags() uint64 {
	var f uint64
	set := func(is bool, flag uint64) {
		if is {
			f |= flag
		}
	}
	set(!o.NotBefore.IsZero(), hasNotBefore)
	set(o.LastUnanswered, hasUnanswered)
	set(o.Held != nil, hasHeld)
	set(o.Progress != nil, hasProgress)
	set(o.ToldProgress != nil, hasToldProgress)
	set(o.Message != "", hasMessage)
	set(o.ETASeconds != nil, hasETA)
	set(o.LastDetail != "", hasDetail)
	set(o.Trouble != nil, hasTrouble)
	set(o.Clocks != order.Clocks{}, hasClocks)
	set(len(o.RecentTrouble) > 0, hasRecent)
	set(!o.TroubleToldAt.IsZero(), hasToldAt)
	set(o.told.n > 0, hasTold)
	return f
}

// hotView is an order with what the store keeps beside it.
type hotView struct {
	*order.Order
	told *told
}

// encodeHot appends what polls change. What decides whether the order is due
// comes first, so that a scan reads no further.
func encodeHot(e *encoder, o *order.Order, t *told) {
	v := hotView{o, t}
	f := v.flags()
	e.uint(f)
	e.uint(o.Tick)
	if f&hasNotBefore != 0 {
		e.time(o.NotBefore)
	}
	e.time(o.LastPolledAt)
	e.uint(o.Polls)
	enum(e, outcomeTable, o.LastOutcome)
	if f&hasDetail != 0 {
		e.string(o.LastDetail)
	}
	if f&hasHeld != 0 {
		encodeFailure(e, o.Held)
	}
	for _, p := range [...]*float64{o.Progress, o.ToldProgress, o.ETASeconds} {
		if p != nil {
			e.float(*p)
		}
	}
	if f&hasMessage != 0 {
		e.string(o.Message)
	}
	if t := o.Trouble; t != nil {
		enum(e, outcomeTable, t.Outcome)
		e.time(t.Since)
		e.uint(uint64(len(t.Told)))
		for _, k := range t.Told {
			enum(e, outcomeTable, k)
		}
	}
	if f&hasClocks != 0 {
		for _, c := range [...]*order.Clock{&o.Clocks.NotFound, &o.Clocks.InvalidResponse, &o.Clocks.RejectedResult} {
			e.int(int64(c.Polls))
			e.duration(c.Elapsed)
		}
	}
	if f&hasRecent != 0 {
		e.uint(uint64(len(o.RecentTrouble)))
		for i := range o.RecentTrouble {
			r := &o.RecentTrouble[i]
			e.time(r.At)
			enum(e, outcomeTable, r.Outcome)
			e.string(r.Detail)
			e.int(int64(r.HTTPStatus))
			e.duration(r.Duration)
		}
	}
	if f&hasToldAt != 0 {
		e.time(o.TroubleToldAt)
	}
	if f&hasTold != 0 {
		t.encode(e)
	}
}

// decodeDue reads only what Order.Due asks for, and whether the last poll was answered.
func decodeDue(d *decoder, o *order.Order) (flags uint64) {
	flags = d.uint()
	o.State = order.StateProcessing
	o.Tick = d.uint()
	o.NotBefore = order.Order{}.NotBefore
	if flags&hasNotBefore != 0 {
		o.NotBefore = d.time()
	}
	o.LastPolledAt = d.time()
	o.LastUnanswered = flags&hasUnanswered != 0
	return flags
}

func decodeHot(d *decoder, o *order.Order, t *told) {
	f := decodeDue(d, o)
	o.Polls = d.uint()
	o.LastOutcome = readEnum(d, outcomeTable)
	if f&hasDetail != 0 {
		o.LastDetail = d.string()
	}
	if f&hasHeld != 0 {
		o.Held = decodeFailure(d)
	}
	for _, p := range [...]struct {
		has uint64
		to  **float64
	}{{hasProgress, &o.Progress}, {hasToldProgress, &o.ToldProgress}, {hasETA, &o.ETASeconds}} {
		if f&p.has != 0 {
			v := d.float()
			*p.to = &v
		}
	}
	if f&hasMessage != 0 {
		o.Message = d.string()
	}
	if f&hasTrouble != 0 {
		o.Trouble = &order.Trouble{Outcome: readEnum(d, outcomeTable), Since: d.time()}
		for range d.count() {
			o.Trouble.Told = append(o.Trouble.Told, readEnum(d, outcomeTable))
		}
	}
	if f&hasClocks != 0 {
		for _, c := range [...]*order.Clock{&o.Clocks.NotFound, &o.Clocks.InvalidResponse, &o.Clocks.RejectedResult} {
			c.Polls = int(d.int())
			c.Elapsed = d.duration()
		}
	}
	if f&hasRecent != 0 {
		n := d.count()
		o.RecentTrouble = make([]order.Incident, 0, min(n, order.MaxRecentTrouble))
		for range n {
			o.RecentTrouble = append(o.RecentTrouble, order.Incident{
				At: d.time(), Outcome: readEnum(d, outcomeTable), Detail: d.string(), HTTPStatus: int(d.int()), Duration: d.duration(),
			})
		}
	}
	if f&hasToldAt != 0 {
		o.TroubleToldAt = d.time()
	}
	if f&hasTold != 0 {
		t.decode(d)
	}
}

func encodeFailure(e *encoder, f *order.Failure) {
	enum(e, codeTable, f.Code)
	e.string(f.Message)
}

func decodeFailure(d *decoder) *order.Failure {
	return &order.Failure{Code: readEnum(d, codeTable), Message: d.string()}
}
