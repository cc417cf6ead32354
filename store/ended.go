package store

import (
	"poller/order"
)

// ended is what the store keeps of an ended order beside the order itself.
type ended struct {
	stored int64  // bytes of its result files
	event  uint64 // number of the event that told of its end
}

// What an ended record holds. Append only.
const (
	endedErased = 1 << iota
	endedResult
	endedFailure
)

// encodeEnded keeps the order as it ended. State and size come first: opening
// the store adds them up.
func encodeEnded(o *order.Order, x *ended, t *told) encoder {
	e := newEncoder(256)
	enum(&e, stateTable, o.State)
	e.int(x.stored)
	e.uint(x.event)
	e.time(o.EndedAt)
	var f uint64
	if o.Erased {
		f |= endedErased
	}
	if o.Result != nil {
		f |= endedResult
	}
	if o.Failure != nil {
		f |= endedFailure
	}
	e.uint(f)
	if o.Result != nil {
		encodeResult(&e, o.Result)
	}
	if o.Failure != nil {
		encodeFailure(&e, o.Failure)
	}
	encodeHot(&e, o, t)
	return e
}

// decodeEnd reads no more than the head of an ended record.
func decodeEnd(d *decoder, o *order.Order, x *ended) {
	o.State = readEnum(d, stateTable)
	x.stored = d.int()
	x.event = d.uint()
	o.EndedAt = d.time()
}

func decodeEnded(d *decoder, o *order.Order, x *ended, t *told) bool {
	decodeEnd(d, o, x)
	state := o.State
	f := d.uint()
	o.Erased = f&endedErased != 0
	if f&endedResult != 0 {
		o.Result = decodeResult(d)
	}
	if f&endedFailure != 0 {
		o.Failure = decodeFailure(d)
	}
	decodeHot(d, o, t)
	o.State = state
	return d.ok() && state != "" && state != order.StateProcessing
}

func encodeResult(e *encoder, r *order.Result) {
	enum(e, outputTable, r.OutputType)
	e.bool(r.Text != nil)
	if r.Text != nil {
		e.string(*r.Text)
	}
	e.string(r.URL)
	e.uint(uint64(len(r.Files)))
	for i := range r.Files {
		f := &r.Files[i]
		e.string(f.Filename)
		e.string(f.MIMEType)
		e.int(f.Size)
		e.string(f.SHA256)
		e.string(f.ObjectKey)
		e.string(f.URL)
		e.bool(f.Uploaded)
	}
}

func decodeResult(d *decoder) *order.Result {
	r := &order.Result{OutputType: readEnum(d, outputTable)}
	if d.bool() {
		s := d.string()
		r.Text = &s
	}
	r.URL = d.string()
	for range d.count() {
		r.Files = append(r.Files, order.File{
			Filename: d.string(), MIMEType: d.string(), Size: d.int(), SHA256: d.string(),
			ObjectKey: d.string(), URL: d.string(), Uploaded: d.bool(),
		})
	}
	return r
}
