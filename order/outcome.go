package order

// Outcome is what one poll found out about one order: a closed set (SPEC §5).
// Every poll yields exactly one.
type Outcome string

// The outcomes. "Trouble" means that the order remembers it until a poll says
// processing; a clock may then end the order (Policy.GiveUpAfter), and so does its deadline.
const (
	// Processing: a valid answer, not ended. Progress is kept, trouble ends. Nothing to do.
	Processing Outcome = "processing"
	// Completed: valid, and the result is accepted and stored. Ends the order.
	Completed Outcome = "completed"
	// SellerFailed: the seller says that the job failed. Ends the order with code seller_failed.
	SellerFailed Outcome = "failed"
	// NotFound: HTTP 404 or 410. Runs the clock not_found. The seller lost the order, or never stored it.
	NotFound Outcome = "not_found"
	// Unauthorized: HTTP 401, 403 or 407. Trouble. The registered headers are wrong or expired.
	Unauthorized Outcome = "unauthorized"
	// Throttled: HTTP 429, or 503 with Retry-After. No effect on the order; the seller's lane rests.
	Throttled Outcome = "throttled"
	// HTTPError: any other status. Trouble. The seller should look at the endpoint's log.
	HTTPError Outcome = "http_error"
	// Timeout: a limit in time ran out. Trouble. The endpoint computes instead of answering what it stored.
	Timeout Outcome = "timeout"
	// Unreachable: DNS, connect, TLS, or a broken connection. Trouble.
	Unreachable Outcome = "unreachable"
	// Blocked: an address, port or redirect that is not allowed. Trouble. The status URL leads where poller does not go.
	Blocked Outcome = "blocked"
	// InvalidResponse: not the JSON of SPEC §2, or too large. Runs the clock invalid_response.
	InvalidResponse Outcome = "invalid_response"
	// RejectedResult: completed, but the result is not acceptable. Runs the clock rejected_result.
	RejectedResult Outcome = "rejected_result"
	// LocalFault: our own fault: out of files, disk, memory or quota, no network, shutdown. No effect on the
	// order. An operator should look at poller's machine; the detail says at what.
	LocalFault Outcome = "local_fault"
)

// Outcomes lists every outcome, in the order of SPEC §5.
var Outcomes = []Outcome{
	Processing, Completed, SellerFailed, NotFound, Unauthorized, Throttled, HTTPError,
	Timeout, Unreachable, Blocked, InvalidResponse, RejectedResult, LocalFault,
}

// Valid reports whether the seller gave an answer that SPEC §2 accepts.
func (o Outcome) Valid() bool { return o == Processing || o == Completed || o == SellerFailed }

// HasEffect reports whether a poll with this outcome changes the order's
// trouble, clocks and tick number. Throttled and local_fault have none (SPEC §5).
func (o Outcome) HasEffect() bool { return o != Throttled && o != LocalFault }
