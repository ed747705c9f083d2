package transport

import (
	"math/bits"
	"sync"
)

// The memory of connections comes from pools of their Group: segments and inboxes of 64 KiB, and
// buffers for long bodies in classes of powers of two. The garbage collector empties them.

const (
	minBufferBits = 15 // of the smallest class, 32 KiB
	maxBufferBits = 25 // of the largest, 32 MiB; larger ones are not kept
)

// pools are the recycled things of a Group.
type pools struct {
	requests sync.Pool // of *Request
	segments sync.Pool // of *segment
	inbox    sync.Pool // of *[]byte
	parcels  sync.Pool // of *parcel
	boxes    sync.Pool // of *[]byte: empty headers for buffers
	buffers  [maxBufferBits - minBufferBits + 1]sync.Pool
}

// buffer returns n bytes, with the capacity of their class. What they hold is left over.
func (p *pools) buffer(n int) []byte {
	class := max(0, bits.Len(uint(n-1))-minBufferBits)
	if class >= len(p.buffers) {
		return make([]byte, n)
	}
	if box, ok := p.buffers[class].Get().(*[]byte); ok {
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
	box, ok := p.boxes.Get().(*[]byte)
	if !ok {
		box = new([]byte)
	}
	*box = b[:n]
	p.buffers[bits.Len(uint(n))-1-minBufferBits].Put(box)
}
