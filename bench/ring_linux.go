package bench

import (
	"encoding/binary"
	"sync/atomic"
)

// The rings of the bare rows: what two processes reach that share memory and trust each other. One
// of them writes records into a ring, the other one reads them in their order; positions count
// bytes and never wrap.
//
//	offset
//	     0  tail: written up to here, by the producer      } of the ring from
//	   128  head: read up to here, by the consumer         } client to server
//	   256  tail                                           } of the one from
//	   384  head                                           } server to client
//	   512  the server sleeps: 0 or 1
//	   640  the client sleeps
//	   768  one more than the number of the processor that the server polls on
//	   896  that of the client's
//	  4096  the bytes of the first ring
//	     +  those of the second
//
//	record, at a multiple of 8
//	+-------------------+------------------+----------------------+---------
//	| length uint32     | flags uint32     | bytes                | up to 7
//	+-------------------+------------------+----------------------+---------
//
// A record lies in one piece: one that would not fit before the end of the ring begins at its
// front, behind a record that says skip.
const (
	ringSize   = 1 << 20 // bytes of one ring
	ringPart   = ringSize / 16
	ringBegin  = 4096
	ringMemory = ringBegin + 2*ringSize

	toServer    = 0   // the words of that ring
	toClient    = 256 // likewise
	headOffset  = 128
	serverSleep = 512
	clientSleep = 640
	serverPlace = 768
	clientPlace = 896

	recordHead = 8
	recordMore = 1 // another part of the same body follows
	recordSkip = 2 // nothing up to the end of the ring

	// What is staged or used up is told to the other side at once when there is nothing else to
	// do, and otherwise after so many bytes: each telling costs both sides a cache line.
	publishBytes = 4 * 72
	releaseBytes = ringSize / 16
)

// producer is the writing end of a ring. It belongs to one goroutine.
type producer struct {
	mem       []byte
	tail      *atomic.Uint64 // read by consumer.next
	head      *atomic.Uint64 // written by consumer.release
	at        uint64         // staged up to here
	published uint64         // what tail says
	seen      uint64         // what head said last
}

// reserve returns n bytes of the ring, at most ringPart, for a record, or nil: there is no room.
func (p *producer) reserve(n int) []byte {
	need := recordLen(n)
	offset := p.at % ringSize
	gap := uint64(0)
	if ringSize-offset < need {
		gap = ringSize - offset
	}
	if p.at+gap+need-p.seen > ringSize {
		p.refresh()
		if p.at+gap+need-p.seen > ringSize {
			return nil
		}
	}
	if gap > 0 {
		binary.LittleEndian.PutUint64(p.mem[offset:], recordSkip<<32)
		p.at += gap
		offset = 0
	}
	return p.mem[offset+recordHead:][:n:n]
}

// commit stages the record that reserve has given the place for.
func (p *producer) commit(n int, more bool) {
	h := uint64(n)
	if more {
		h |= recordMore << 32
	}
	binary.LittleEndian.PutUint64(p.mem[p.at%ringSize:], h)
	p.at += recordLen(n)
}

// publish shows the other side what is staged, and reports whether there was anything.
func (p *producer) publish() bool {
	if p.at == p.published {
		return false
	}
	p.published = p.at
	p.tail.Store(p.at)
	return true
}

// refresh looks how far the other side has read, and reports whether that is news.
func (p *producer) refresh() bool {
	seen := p.seen
	p.seen = p.head.Load()
	return p.seen != seen
}

// consumer is the reading end of a ring. It belongs to one goroutine.
type consumer struct {
	mem      []byte
	tail     *atomic.Uint64 // written by producer.publish
	head     *atomic.Uint64 // read by producer.refresh
	at       uint64         // used up to here
	released uint64         // what head says
	seen     uint64         // what tail said last
}

// next returns the next record, which stays in the ring until advance, and whether more of its body
// follows. Without one ok is false.
func (c *consumer) next() (record []byte, more, ok bool) {
	for {
		if c.at == c.seen && !c.any() {
			return nil, false, false
		}
		offset := c.at % ringSize
		h := binary.LittleEndian.Uint64(c.mem[offset:])
		if h>>32 == recordSkip {
			c.at += ringSize - offset
			continue
		}
		return c.mem[offset+recordHead:][:uint32(h)], h>>32 == recordMore, true
	}
}

// any reports whether there is a record, and looks.
func (c *consumer) any() bool {
	c.seen = c.tail.Load()
	return c.at != c.seen
}

// advance gives back the record of n bytes that next returned.
func (c *consumer) advance(n int) { c.at += recordLen(n) }

// release tells the other side what was given back, once it is worth it.
func (c *consumer) release() bool {
	if c.at-c.released < releaseBytes {
		return false
	}
	c.released = c.at
	c.head.Store(c.at)
	return true
}

func recordLen(n int) uint64 { return recordHead + (uint64(n)+7)&^7 }
