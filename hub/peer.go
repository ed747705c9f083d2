package hub

import (
	"sync/atomic"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// maxID is one more than the largest id that the hub gives to a frame: where Pandora's ids begin
// again.
const maxID = 1 << 30

// link is a connection as the hub needs it.
type link interface {
	// write queues one frame, its body in pieces, without waiting; the pieces are the caller's
	// again when it returns. An error says that the frame will not be sent.
	write(h wire.Header, pieces [][]byte) error
	// writeShared is write with a body of which the link keeps a reference, and no copy.
	writeShared(h wire.Header, body *transport.Shared) error
	// end closes the connection without waiting: what is queued still goes out, within a limit of
	// time, so that the peer does not see half a frame.
	end(cause error)
	// native says that the peer speaks the native protocol: it is not Pandora's.
	native() bool
}

// peer is a connection, from the moment of connecting.
type peer struct {
	link   link          // immutable
	spoken atomic.Bool   // it has sent a frame, so it is Pandora's for good
	gone   atomic.Bool   // nothing is taken from it, or given to it, any more; set under core.mu
	seq    uint64        // order of connecting; immutable once it is in core.peers
	lastID atomic.Uint32 // of the frames to this peer
	member *member       // of a native peer; immutable
	self   target        // leads to the peer itself

	label atomic.Pointer[[]byte] // what a tap calls it; nil until it is in core.peers

	flights flights // of one of Pandora's

	// Guarded by core.mu.
	waiting    map[uint32]*call // calls that it has to answer, by the id that it got them with
	asked      *call            // the first of those that it waits for
	asking     int              // their number; see askingLocked
	publishing int              // bytes of its selectors
	name       string           // the location of the last ONLINE, for the log
	listed     *listed          // in the table; nil: not there
}

// askingLocked is how many calls p, one of Pandora's, waits for. The caller holds core.mu.
func (p *peer) askingLocked() int { return p.asking + int(p.flights.n.Load()) }

func newPeer(l link) *peer {
	p := &peer{link: l}
	p.self.peer = p
	return p
}

// id is the number of the next frame: 1, 2, 3, … whatever the frame, and 1 again after maxID-1.
func (p *peer) id() uint32 {
	for {
		last := p.lastID.Load()
		next := last + 1
		if next >= maxID {
			next = 1
		}
		if p.lastID.CompareAndSwap(last, next) {
			return next
		}
	}
}

// unusedID is the next id that no call waits under. The caller holds core.mu.
func (p *peer) unusedID() uint32 {
	for {
		id := p.id()
		if _, used := p.waiting[id]; !used {
			return id
		}
	}
}

// send writes a frame with the given id; the flags are always 0 towards Pandora's peers.
func (p *peer) send(id uint32, pieces [][]byte) error {
	return p.link.write(wire.Header{ID: id}, pieces)
}

// sendBody is send for a body that may be shared.
func (p *peer) sendBody(id uint32, b body) error {
	if b.shared != nil {
		return p.link.writeShared(wire.Header{ID: id}, b.shared)
	}
	return p.link.write(wire.Header{ID: id}, b.pieces)
}
