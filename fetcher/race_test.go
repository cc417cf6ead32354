//go:build race

package fetcher

// scale divides the sizes of large tests: the race detector makes them slow.
const scale = 16
