// Package order holds poller's nouns and decisions: sellers, orders, what a
// poll found out about one, and what follows from it. It imports only the
// standard library and does no I/O; everything that decides is a pure function
// of (policy, order, observation, circumstances, now). Read it first.
package order
