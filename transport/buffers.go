package transport

import (
	"math/bits"
	"sync"
)

// The memory of connections comes from pools of their Group: segments and inboxes of 64 KiB, and
// buffers for long bodies in classes of powers of two. The garbage collector empties them, but for
// a few buffers of each class.

const (
	minBufferBits = 15 // of the smallest class, 32 KiB
	maxBufferBits = 25 // of the largest, 32 MiB; larger ones are not kept
	topBufferBits = 21 // of the largest class of which some are at hand
	buffersAtHand = 2
)

// shelf keeps the buffers of a class. A sync.Pool alone would keep what one processor puts back
// from the others: a body of 1 MiB that is read on one and sent on another would be made anew, and
// have the collector empty the pool all the sooner.
type shelf struct {
	mu   sync.Mutex
	hand [buffersAtHand][]byte // guarded by mu
	n    int                   // of hand, guarded by mu
	rest sync.Pool             // of *[]byte
}

func (s *shelf) take() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n == 0 {
		return nil
	}
	s.n--
	b := s.hand[s.n]
	s.hand[s.n] = nil
	return b
}

func (s *shelf) keep(b []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n == len(s.hand) || cap(b) > 1<<topBufferBits {
		return false
	}
	s.hand[s.n] = b
	s.n++
	return true
}

// pools are the recycled things of a Group.
type pools struct {
	requests sync.Pool // of *Request
	segments sync.Pool // of *segment
	inbox    sync.Pool // of *[]byte
	parcels  sync.Pool // of *parcel
	shared   sync.Pool // of *Shared
	boxes    sync.Pool // of *[]byte: empty headers for buffers
	buffers  [maxBufferBits - minBufferBits + 1]shelf
}

// buffer returns n bytes, with the capacity of their class. What they hold is left over.
func (p *pools) buffer(n int) []byte {
	class := max(0, bits.Len(uint(n-1))-minBufferBits)
	if class >= len(p.buffers) {
		return make([]byte, n)
	}
	shelf := &p.buffers[class]
	if b := shelf.take(); b != nil {
		return b[:n]
	}
	if box, ok := shelf.rest.Get().(*[]byte); ok {
		b := *box
		*box = nil
		p.boxes.Put(box)
		return b[:n]
	}
	return make([]byte, n, 1<<(class+minBufferBits))
}

// putBuffer takes a buffer back, or leaves it to the collector when it is of no class.
func (p *pools) putBuffer(b []byte) {
	n := cap(b)
	if n < 1<<minBufferBits || n&(n-1) != 0 || n > 1<<maxBufferBits {
		return
	}
	shelf := &p.buffers[bits.Len(uint(n))-1-minBufferBits]
	if shelf.keep(b) {
		return
	}
	box, ok := p.boxes.Get().(*[]byte)
	if !ok {
		box = new([]byte)
	}
	*box = b[:n]
	shelf.rest.Put(box)
}
