package transport

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/pithos-ipc/pithos/wire"
)

// LaneMode says whether the frames of a connection may travel through shared memory instead of the
// socket.
type LaneMode int

// The modes of a lane.
const (
	// LaneAuto uses shared memory when both ends can, are native, run as the same uid, and neither
	// has LaneOff. Else the socket carries everything, and Stats says why.
	LaneAuto LaneMode = iota
	// LaneOff keeps to the socket.
	LaneOff
	// LaneRequired ends the connection with ErrNoLane where LaneAuto would fall back to the socket.
	// It takes peers of any uid that Options.Authorize lets in.
	LaneRequired
)

// The bytes of each of the two rings of a lane. The side that accepts chooses, by
// SocketOptions.Ring, which is rounded up to a power of two within these bounds.
const (
	DefaultRing = 1 << 20 // for the first lanes of a Group; see MaxLaneMemory
	MinRing     = 64 << 10
	MaxRing     = 1 << 30
)

// MaxLaneMemory is how many bytes of shared memory the connections of a Group take at most where
// they could as well use the socket: further ones do. Where SocketOptions.Ring does not say
// otherwise, the two rings of a connection get laneShare of what is left, but no less than MinRing
// each: so the first 64 connections have rings of DefaultRing, and some 400 have lanes at all.
// Memory that no frame has passed through is not there: an idle connection has used a few pages.
const (
	MaxLaneMemory = 256 << 20
	laneShare     = 64 // a lane takes at most one part in so many
)

// LaneStats says how the frames of a connection travel.
type LaneStats struct {
	Ring int    // bytes of each ring in shared memory; 0: the socket carries the frames
	Why  string // why the socket does, if it does
}

// ErrNoLane says that one end requires shared memory, and that there is none.
var ErrNoLane = errors.New("transport: no shared-memory lane")

// laneBuilt says whether a connection with these settings can have what they require.
func (s *settings) laneBuilt() error {
	if s.Socket.Lane == LaneRequired && (s.portable || !hasLanes) {
		return ErrNoLane
	}
	return nil
}

// filled is m with the payload that Fill makes.
func (m *Message) filled() (Message, error) {
	n := *m
	n.Body, n.Gather, n.Fill = make([]byte, m.Size), nil, nil
	return n, guardFill(m.Fill, n.Body)
}

// filled is f with the payload that its fill makes, or the error that this has come to.
func (f *replyFrame) filled() replyFrame {
	if f.fill == nil {
		return *f
	}
	b := make([]byte, f.room)
	if err := guardFill(f.fill, b); err != nil {
		return replyFrame{code: wire.CodeInternal, body: stringBytes(err.Error())}
	}
	return replyFrame{body: b}
}

// guardFill runs fill, whose panic is an error.
func guardFill(fill func([]byte), b []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("transport: Fill panicked: %v", p)
		}
	}()
	fill(b)
	return nil
}

// ringSize is the size of rings that this side offers, when those of its Group take taken bytes.
func (o *SocketOptions) ringSize(taken int64) int {
	if o.Ring > 0 {
		return 1 << bits.Len(uint(min(max(o.Ring, MinRing), MaxRing)-1))
	}
	size := DefaultRing
	for size > MinRing && int64(2*size*laneShare) > MaxLaneMemory-taken {
		size /= 2
	}
	return size
}
