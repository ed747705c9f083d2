//go:build linux && !portable

package transport

import (
	"errors"
	"sync/atomic"
)

// A ring carries the bytes of one direction of a connection through memory that two processes
// share. It has one producer and one consumer, each of which is whoever holds the lease of that
// side. What it carries is the same stream of frames as the socket's, in pieces of any length.
//
//	                        consumed           written
//	                            v                 v
//	data  [......................#################.............]   size: a power of two
//	                            head              tail
//	                            |<--- unread ---->|
//
// Positions only grow; a byte lies at its position modulo the size. The data is mapped twice in a
// row, so that a run of bytes is never in two pieces.
//
// # What is published by which store
//
//	producer                                    consumer
//	bytes into data
//	tail.Store      ---- they are there -->     tail.Load
//	                                            bytes out of data
//	head.Load       <--- they are free ----     head.Store
//
// Go's atomics are sequentially consistent, and between processes they are the same instructions. A
// release store and an acquire load would do for the above, but not for the following.
//
// # Who sleeps, and why nobody sleeps too long
//
//	consumer                        producer
//	1 sleep.Store(how)              a tail.Store
//	2 tail.Load: sleep if empty     b sleep.Load: ring the bell, if it is set
//
// Of all stores and loads there is one order. If a comes before 2, the consumer sees the bytes and
// stays awake. Else 2 comes before a, so 1 before b: the producer sees that it sleeps, and rings.
// So there is no order in which bytes are there, the consumer sleeps, and no bell rings. The
// producer takes sleep back to 0 by a CAS before it rings: one bell for each sleep. It waits for
// room in the same way: room in place of sleep, and head in place of tail.
//
// # Whom a ring trusts
//
// Nobody. The other end may write anything anywhere at any time. A position is loaded once, into a
// local, and is worth nothing until it is held against this side's own, which is kept outside of
// the memory: what lies between the two is at most size. Bytes are copied out before they are
// looked at. A flag can only cause a bell too many, or too few for him who broke it.
type ring struct {
	shared *ringShared
	data   []byte // 2*size bytes, the second half is the first one again
	size   uint64
	at     uint64 // this side's position; its lease
	told   uint64 // what of at the other side has been told; its lease
	seen   uint64 // the other side's position when it was last looked at; the lease
}

// ringShared is what two processes share of a ring beside the data. What one side writes and the
// other one reads often has a cache line of its own.
//
//	0     64    128   192        256
//	| tail | room | head | sleep cpu |
type ringShared struct {
	tail  atomic.Uint64 // by the producer: what is written
	_     [cacheLine - 8]byte
	room  atomic.Uint32 // the producer waits for room; partner: head
	_     [cacheLine - 4]byte
	head  atomic.Uint64 // by the consumer: what is consumed
	_     [cacheLine - 8]byte
	sleep atomic.Uint32 // how the consumer sleeps; partner: tail
	cpu   atomic.Uint32 // 1 + the processor that the consumer polls on; 0: not known
	_     [cacheLine - 8]byte
}

// How a consumer sleeps: what rings its bell.
const (
	awake       uint32 = iota
	sleepLoop          // a byte on the socket, which its loop sees
	sleepLeader        // a futex on ringShared.sleep
)

var errRing = errors.New("positions of the ring make no sense")

// unread is how many bytes wait for the consumer.
func (r *ring) unread() (int, error) {
	if r.seen == r.at {
		t := r.shared.tail.Load()
		if t-r.at > r.size || t == r.at && r.shared.head.Load() != t {
			return 0, errRing
		}
		r.seen = t
	}
	return int(r.seen - r.at), nil
}

// peek returns the next n bytes, which are unread; they may change until they are consumed, and
// after that.
func (r *ring) peek(n int) []byte {
	i := r.at & (r.size - 1)
	return r.data[i : i+uint64(n) : i+uint64(n)]
}

// consume gives n bytes that were unread to the producer. It reports whether to ring the bell of
// one that waits for room: when half of the ring is free.
func (r *ring) consume(n int) (bell bool) {
	r.at += uint64(n)
	r.shared.head.Store(r.at)
	return r.shared.room.Load() != 0 && r.seen-r.at <= r.size/2 && r.roomMade()
}

func (r *ring) roomMade() bool { return r.shared.room.Swap(0) != 0 }

// listen announces that the consumer is going to sleep. It reports false when it must not, because
// there is something to read. Any goroutine of the consumer's side may call it.
func (r *ring) listen(how uint32) bool {
	s := r.shared
	s.sleep.Store(how)
	if s.tail.Load() == s.head.Load() {
		return true
	}
	s.sleep.Store(awake)
	return false
}

// rise takes back that the consumer is going to sleep.
func (r *ring) rise() {
	if s := r.shared; s.sleep.Load() != awake {
		s.sleep.Store(awake)
	}
}

// free is how many bytes there is room for. It looks at the other side only when it knows of less
// than want.
func (r *ring) free(want int) (int, error) {
	n := r.size - (r.at - r.seen)
	if n < uint64(want) {
		h := r.shared.head.Load()
		if r.at-h > r.size {
			return 0, errRing
		}
		r.seen = h
		n = r.size - (r.at - h)
	}
	return int(n), nil
}

// room returns the next n bytes to write to, which are free.
func (r *ring) room(n int) []byte {
	i := r.at & (r.size - 1)
	return r.data[i : i+uint64(n) : i+uint64(n)]
}

// publish shows the consumer what was written. It returns how that sleeps, whose bell is to be rung
// then.
func (r *ring) publish() (how uint32) {
	r.told = r.at
	r.shared.tail.Store(r.at)
	if how = r.shared.sleep.Load(); how != awake && !r.shared.sleep.CompareAndSwap(how, awake) {
		return awake // it got up by itself
	}
	return how
}

// await announces that the producer waits for room. It reports false when there is some. Any
// goroutine of the producer's side may call it.
func (r *ring) await() bool {
	s := r.shared
	s.room.Store(1)
	if s.tail.Load()-s.head.Load() > r.size/2 {
		return true
	}
	s.room.Store(0)
	return false
}
