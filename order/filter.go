package order

// Filter picks orders of a list (SPEC §6, GET /v1/orders). The zero value picks all.
type Filter struct {
	State    State  // "": any
	SellerID string // "": any
	Held     bool   // true: only those that are held
}
