package fetcher

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Stages of memory that a poll holds while it reads an answer. Each stage has
// its own share of Options.MaxMemory, and a poll takes them in this order only,
// so that polls that wait for one another can't wait in a circle.
const (
	stageBuffer = iota // every answer: the buffer that a small one is read into
	stageStream        // an answer larger than that buffer: what streaming needs
	stageNames         // one with objects of very many members: their names, to see a name come twice
	stages
)

// What one poll holds in each stage, in bytes.
var stageBytes = [stages]int64{bufferSize, 1 << 20, 16 << 20}

const (
	bufferSize = 64 << 10 // how much of an answer is read at once
	smallSize  = 4 << 10  // ... at first: most answers are smaller still
)

// memory bounds what all polls hold together.
type memory [stages]struct {
	sem   *semaphore.Weighted
	bytes int64 // of one poll
}

func newMemory(total int64) *memory {
	m := new(memory)
	for i, share := range [stages]int64{total / 4, total / 4, total / 2} {
		share = max(share, 1)
		m[i].sem = semaphore.NewWeighted(share)
		m[i].bytes = min(stageBytes[i], share)
	}
	return m
}

// acquire takes one poll's part of a stage, waiting for it if it must;
// around the wait it calls pause and resume. The error is ctx's.
func (m *memory) acquire(ctx context.Context, stage int, pause, resume func()) error {
	s := &m[stage]
	if s.sem.TryAcquire(s.bytes) {
		return nil
	}
	pause()
	defer resume()
	return s.sem.Acquire(ctx, s.bytes)
}

func (m *memory) release(stage int) { m[stage].sem.Release(m[stage].bytes) }

// What answers are read into.
var (
	buffers      = sync.Pool{New: func() any { return new([bufferSize]byte) }}
	smallBuffers = sync.Pool{New: func() any { return new([smallSize]byte) }}
)

// longBodies says which sellers have a long body under way: one each.
type longBodies struct {
	mu      sync.Mutex
	sellers map[string]struct{}
}

func (l *longBodies) take(seller string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, busy := l.sellers[seller]; busy {
		return false
	}
	if l.sellers == nil {
		l.sellers = make(map[string]struct{})
	}
	l.sellers[seller] = struct{}{}
	return true
}

func (l *longBodies) release(seller string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sellers, seller)
}
