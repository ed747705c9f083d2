package supervisor

import (
	"slices"
	"sync"
	"time"
)

// tailLine is how much of a line a tail keeps.
const tailLine = 1 << 10

// A tail keeps the last lines of one instance.
type tail struct {
	mu    sync.Mutex
	lines []kept // guarded by mu; a ring once it is full
	next  int    // guarded by mu; where the next line goes
	limit int    // immutable
}

type kept struct {
	time   int64
	stream Stream
	part   bool
	text   []byte // reused
}

// put keeps a copy of r.
func (t *tail) put(r record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) < t.limit {
		t.lines = append(t.lines, kept{})
	}
	k := &t.lines[t.next]
	t.next = (t.next + 1) % t.limit
	text := r.text
	k.part = r.part || len(text) > tailLine
	text = text[:min(len(text), tailLine)]
	k.time, k.stream, k.text = r.time, r.stream, append(k.text[:0], text...)
}

// last returns up to n of the last lines, the oldest first.
func (t *tail) last(process string, index, n int) []Line {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := make([]Line, 0, len(t.lines))
	ring := t.lines
	if len(ring) == t.limit {
		ring = slices.Concat(ring[t.next:], ring[:t.next])
	}
	for _, k := range ring[max(0, len(ring)-n):] {
		lines = append(lines, Line{
			Time: time.Unix(0, k.time), Process: process, Index: index, Stream: k.stream,
			Part: k.part, Text: string(k.text),
		})
	}
	return lines
}
