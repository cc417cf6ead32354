package order

import "time"

// EventView is an event as the platform and operators see it (SPEC §6): in
// /v1/events, in an order's history and, its Data alone, in webhooks.
type EventView struct {
	Number   uint64    `json:"number"`
	Type     EventType `json:"type"`
	OrderID  string    `json:"order_id"`
	SellerID string    `json:"seller_id"`
	At       time.Time `json:"at"`
	// Data is a ProgressData, TroubleData, View or ErasedData by the type, or
	// nil (null) where the type says it all. Decoded from JSON: any.
	Data any `json:"data"`
}

// ProgressData is the data of order.progress.
type ProgressData struct {
	Progress *float64 `json:"progress"`
	Message  *string  `json:"message"`
}

// TroubleData is the data of order.trouble.
type TroubleData struct {
	Outcome Outcome `json:"outcome"`
	Detail  string  `json:"detail"`
}

// ErasedData stands in place of the data of every event of an erased order.
type ErasedData struct {
	Erased bool `json:"erased"` // always true
}

// View shows the event.
func (e *Event) View() EventView {
	return EventView{
		Number: e.Number, Type: e.Type, OrderID: e.OrderID, SellerID: e.SellerID, At: e.At.UTC(),
		Data: e.data(),
	}
}

func (e *Event) data() any {
	if e.Erased {
		return ErasedData{Erased: true}
	}
	switch e.Type {
	case EventProgress:
		return ProgressData{Progress: e.Progress, Message: orNull(e.Message)}
	case EventTrouble:
		return TroubleData{Outcome: e.Outcome, Detail: e.Detail}
	case EventCompleted, EventFailed, EventCancelled:
		if e.Order != nil {
			return e.Order.View(time.Time{})
		}
	}
	return nil
}
