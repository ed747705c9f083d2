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
	DefaultRing = 256 << 10
	MinRing     = 64 << 10
	MaxRing     = 1 << 30
)

// MaxLaneMemory is how many bytes of shared memory the connections of a Group take at most where
// they could as well use the socket: further ones do. So a server has lanes for hundreds of peers,
// and thousands may come.
const MaxLaneMemory = 256 << 20

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

// ringSize is the size of rings that this side offers.
func (o *SocketOptions) ringSize() int {
	if o.Ring <= 0 {
		return DefaultRing
	}
	return 1 << bits.Len(uint(min(max(o.Ring, MinRing), MaxRing)-1))
}
