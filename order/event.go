package order

import "time"

// EventType names what an event tells (SPEC §6).
type EventType string

// The types of events.
const (
	EventSubmitted EventType = "order.submitted"
	EventProgress  EventType = "order.progress"  // 5 points or another message; data: progress, message
	EventTrouble   EventType = "order.trouble"   // the first of a kind; data: outcome, detail
	EventRecovered EventType = "order.recovered" // processing after a trouble that was told
	EventCompleted EventType = "order.completed" // data: the order, as for the next two
	EventFailed    EventType = "order.failed"
	EventCancelled EventType = "order.cancelled"
)

// EndEvents lists the types that tell of a transition; a webhook may ask for these (webhook.events).
var EndEvents = []EventType{EventCompleted, EventFailed, EventCancelled}

// Event is the durable record of something that happened to an order: numbered
// by the store, dense and increasing, never changed but by erasure.
type Event struct {
	Number   uint64
	Type     EventType
	Ref      Ref
	OrderID  string
	SellerID string
	At       time.Time

	Progress *float64 // order.progress
	Message  string   // order.progress
	Outcome  Outcome  // order.trouble
	Detail   string   // order.trouble
	Order    *Order   // the transitions: the order as it ended; filled in by the store when read
	Erased   bool     // the buyer's data was erased: data is {"erased": true}
}

// endEvent is the event type of a transition to this state.
func endEvent(s State) EventType {
	switch s {
	case StateCompleted:
		return EventCompleted
	case StateCancelled:
		return EventCancelled
	}
	return EventFailed
}
