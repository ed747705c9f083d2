package hub

import "github.com/pithos-ipc/pithos/transport"

// A body that goes to several peers is copied once, to memory that they share, if it is a long one
// or if some of them have to wait for it:
//
//	sender's frame --share--> Shared <-- outbox of a connection, until it is written
//	  (borrowed)                 ^ ^---- backlog of a native peer, until it is sent or dropped
//	                             +------ who sends it, until all have been given theirs
//
// Native peers and Pandora's get different forms: there are two copies where both are among them.

// shareFrom is how many bytes a body has, at least, that is shared with peers who do not wait:
// shorter ones are written together with others, from a copy that has to be made anyway.
const shareFrom = 16<<10 + 1

// worthSharing says whether a body of n bytes for these is to be shared.
func worthSharing(n int, targets []*target) bool {
	if len(targets) < 2 || n >= shareFrom {
		return len(targets) >= 2
	}
	for _, to := range targets {
		if m := to.peer.member; m != nil && m.backlog.some.Load() {
			return true
		}
	}
	return false
}

// share makes one copy of the pieces for several peers. It counts as held by the connections that
// p's belongs to. nil: p has no connection.
func (p *peer) share(pieces ...[]byte) *transport.Shared {
	if s, ok := p.link.(*socket); ok {
		return s.conn.Share(pieces...)
	}
	return nil
}

// body is what is written to a peer of Pandora's: pieces, or what is shared.
type body struct {
	pieces [][]byte
	shared *transport.Shared
}

// size is the number of bytes of all pieces.
func size(pieces [][]byte) (n int) {
	for _, p := range pieces {
		n += len(p)
	}
	return n
}

// outgoing is what a native peer has sent, on its way to one or to many. What is made for all of
// them is made once.
type outgoing struct {
	m    transport.Message // for native ones, but whom it is for
	late bool              // no time is left
	many bool

	turn *turn // that down lies in, or nil
	down body  // for Pandora's, once it is composed
	err  error // why it cannot be
}

// take sets o, which is zero, to r of p, for the given targets. (To return it costs a copy of half
// a kilobyte for each call.)
func (o *outgoing) take(p *peer, r *transport.Request, targets []*target) {
	o.late = r.Message(&o.m)
	o.m.Caller = p.seq
	if o.many = len(targets) > 1; o.many && !o.late && worthSharing(len(o.m.Body), targets) &&
		anyNative(targets) {
		o.m.Shared = p.share(o.m.Body)
		o.m.Body = o.m.Shared.Bytes()
	}
}

func anyNative(targets []*target) bool {
	for _, to := range targets {
		if to.peer.member != nil {
			return true
		}
	}
	return false
}

// compose makes the body for Pandora's peers; see turn.compose.
func (o *outgoing) compose(c *core, p *peer, remote string, need, all bool) (body, error) {
	if o.turn != nil {
		return o.down, o.err
	}
	o.turn = c.turns.Get().(*turn)
	o.down.pieces, o.err = o.turn.compose(p.member.location, &o.m, remote, need, all)
	if o.err == nil && o.many && size(o.down.pieces) >= shareFrom {
		o.down.shared = p.share(o.down.pieces...)
	}
	return o.down, o.err
}

// release gives back what was made, when all have been given theirs.
func (o *outgoing) release(c *core) {
	o.m.Shared.Release()
	if o.turn != nil {
		o.down.shared.Release()
		c.putTurn(o.turn)
	}
}
