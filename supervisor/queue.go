package supervisor

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"
)

// A queue takes the lines of all instances of a process and gives them to one writer, in batches.
// It is bounded in bytes; what happens when it is full is the FullPolicy.
//
//	readers, one a pipe ── put ──> fill ── swapped by take ──> batch ── writer
//
// A batch is a sequence of records:
//
//	time int64 | index uint32 | stream uint8 | part uint8 | length uint32 | text
type queue struct {
	limit int  // bytes, immutable
	block bool // immutable

	mu        sync.Mutex
	room      sync.Cond // of mu: fill was taken, or the queue closed
	some      sync.Cond // of mu: there is something in fill, or the queue closed
	fill      []byte    // guarded by mu
	dropped   loss      // guarded by mu; those since the last marker
	total     uint64    // guarded by mu; lines dropped in all
	closed    bool      // guarded by mu
	unblocked bool      // guarded by mu; nobody waits for room any more
}

type loss struct {
	lines, bytes uint64
}

func (l loss) String() string {
	return fmt.Sprintf("%d lines (%d bytes) lost: they came faster than they could be written",
		l.lines, l.bytes)
}

const recordHeader = 8 + 4 + 1 + 1 + 4

type record struct {
	time   int64 // nanoseconds since 1970
	index  int
	stream Stream
	part   bool
	text   []byte
}

func newQueue(limit int, block bool) *queue {
	q := &queue{limit: limit, block: block}
	q.room.L, q.some.L = &q.mu, &q.mu
	return q
}

// put appends r. If there is no room, it waits, or counts r as dropped.
func (q *queue) put(r record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	size := recordHeader + len(r.text)
	for q.block && !q.unblocked && len(q.fill) > 0 && len(q.fill)+size > q.limit {
		q.room.Wait()
	}
	if len(q.fill) > 0 && len(q.fill)+size > q.limit || q.closed {
		q.dropped.lines++
		q.dropped.bytes += uint64(len(r.text))
		q.total++
		return
	}
	q.fill = appendRecord(q.fill, r)
	q.some.Signal()
}

// take waits for records and returns all there are, giving up the buffer of the last batch; none
// when the queue is closed and empty. A marker, which counts what was dropped, is the first.
func (q *queue) take(spent []byte) []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.fill) == 0 && !q.closed {
		q.some.Wait()
	}
	batch := q.fill
	if cap(spent) > minQueue && len(batch) < minQueue/2 {
		spent = nil // a burst is over: let its buffer go
	}
	q.fill = spent[:0]
	if q.dropped.lines > 0 { // they came after batch, and before all that comes now
		text := []byte(q.dropped.String())
		q.fill = appendRecord(q.fill, record{time.Now().UnixNano(), 0, Own, false, text})
		q.dropped = loss{}
	}
	q.room.Broadcast()
	return batch
}

// unblock lets nobody wait for room any more: from now on the policy is to drop.
func (q *queue) unblock() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unblocked = true
	q.room.Broadcast()
}

// close lets take return none once all has been taken.
func (q *queue) close() {
	q.unblock()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.some.Broadcast()
}

func (q *queue) lost() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total
}

func appendRecord(b []byte, r record) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(r.time))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.index))
	part := byte(0)
	if r.part {
		part = 1
	}
	b = append(b, byte(r.stream), part)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.text)))
	return append(b, r.text...)
}

// cutRecord returns the first record of a batch, whose text lies in it, and what follows.
func cutRecord(b []byte) (record, []byte) {
	n := recordHeader + int(binary.LittleEndian.Uint32(b[14:]))
	return record{
		time:   int64(binary.LittleEndian.Uint64(b)),
		index:  int(binary.LittleEndian.Uint32(b[8:])),
		stream: Stream(b[12]),
		part:   b[13] == 1,
		text:   b[recordHeader:n],
	}, b[n:]
}
