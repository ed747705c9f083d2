package transport

import (
	"sync/atomic"

	"github.com/pithos-ipc/pithos/wire"
)

// Shared is bytes that several connections send: there is one copy of them, however many of the
// receivers are slow. Nobody writes to it.
//
//	Share -> 1 reference -> Message.Shared, WriteShared: one more for each connection that has it
//	         Release                         queued -> written, or the connection is over
//
// The memory goes back when the last reference has gone. It counts as held by the group of the
// connection that made it. The portable loop, and all engines for bodies of up to 16 KiB, copy the
// bytes all the same.
type Shared struct {
	group *Group
	b     []byte
	refs  atomic.Int32
}

// leastPooled is from how many bytes on a buffer of a class is not much too large.
const leastPooled = 1 << (minBufferBits - 1)

// Share copies the pieces, joined, to memory that is shared. The caller has a reference, and
// releases it.
func (c *Conn) Share(pieces ...[]byte) *Shared {
	n := 0
	for _, p := range pieces {
		n += len(p)
	}
	g := c.group
	s, ok := g.pools.shared.Get().(*Shared)
	if !ok {
		s = new(Shared)
	}
	var b []byte
	if n < leastPooled {
		b = make([]byte, 0, n)
	} else {
		b = g.pools.buffer(n)[:0]
	}
	for _, p := range pieces {
		b = append(b, p...)
	}
	s.group, s.b = g, b
	s.refs.Store(1)
	g.held.Add(int64(cap(b)))
	return s
}

// Bytes is what is shared, until the caller's reference is released.
func (s *Shared) Bytes() []byte { return s.b }

// Retain makes one more reference, and returns s.
func (s *Shared) Retain() *Shared {
	s.refs.Add(1)
	return s
}

// Release ends a reference. A nil Shared has none.
func (s *Shared) Release() {
	if s == nil || s.refs.Add(-1) > 0 {
		return
	}
	g, b := s.group, s.b
	s.group, s.b = nil, nil
	g.held.Add(-int64(cap(b)))
	if raceEnabled { // nobody may read it any more, which shows when somebody does
		spoil(b)
	}
	g.pools.putBuffer(b)
	g.pools.shared.Put(s)
}

// WriteShared is WriteFrame with a body that is shared.
func (c *Conn) WriteShared(h wire.Header, s *Shared) error {
	return c.eng.writeFrame(h, &Message{Body: s.b, Shared: s})
}
