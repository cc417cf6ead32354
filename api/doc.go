// Package api speaks HTTP with the platform and with operators (SPEC §6):
// sellers, orders, sweeps, the event feed, and what an operator may do.
//
// A request passes, in this order: the guard (guard.go: host, origin, token,
// problems for what no route takes), a route (routes.go, which makes the
// OpenAPI document too), and one handler, which asks the store or the
// scheduler and answers with a view or a Problem. Nothing is acknowledged
// before the store says that it is durable (GUARANTEES, G1).
package api
