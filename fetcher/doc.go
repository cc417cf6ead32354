// Package fetcher asks a seller's status endpoint about one order and says
// what it found out (SPEC §2, §5). It is one hardened HTTPS client: it dials
// public addresses only, follows few redirects and never with the seller's
// headers to another origin, ends every poll in time, and reads the answer as
// a stream, so that a file of 37 MiB goes decoded into the result store
// without ever being whole in memory.
//
// The way of a poll: client.go (Fetch) → endpoint.go, target.go, headers.go
// (what is asked) → poll.go, conn.go, pool.go, guard.go (the request) → body.go,
// spill.go, decoder.go, reader.go (the bytes, the long strings, the fields) →
// judge.go, result.go (the rules of SPEC §2) → order.Observation. classify.go
// turns errors into outcomes, deadline.go ends it all in time.
package fetcher
