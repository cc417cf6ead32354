//go:build !race

package fetcher

// scale divides the sizes of large tests.
const scale = 1
