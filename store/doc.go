// Package store keeps sellers, orders, sweeps, history and events in one bbolt
// file, and is the only package that knows it. It decides nothing about orders:
// it runs the pure decisions of package order inside its transactions.
//
// One goroutine writes. It puts the requests that wait for it (submissions,
// batches of polls, changes) into one transaction, and each caller hears of its
// own only after the commit. Reads are short transactions of their own, and
// never see a commit that is not synced yet.
//
// What follows from bbolt: keys are put in order wherever the order is ours to
// choose, values are copied out of a transaction, and no file ever shrinks.
package store
