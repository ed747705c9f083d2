package bench

import (
	"io"
	"sync"

	"github.com/pithos-ipc/pithos/transport"
)

// inPlacer is a Conn that writes bodies where the server reads them, and reads replies where the
// server wrote them.
type inPlacer interface {
	Conn

	// GoInPlace sends a body of n bytes, which write is called for before it returns. Later done
	// is called once, with a reply that is borrowed until done returns, and may call GoInPlace.
	GoInPlace(n int, write func(b []byte), done func(reply []byte, err error)) error
}

// The options of the row that copies nothing: rings with room for the longest body, and long bodies
// handed over where they lie.
const (
	zerocopyRing  = 8 << 20
	zerocopyLeast = 4 << 10
)

// zerocopyRow is the product's lane by its door without copies.
func zerocopyRow() Row {
	options := func(s Setup) (o transport.Options) {
		o.Socket.Lane = transport.LaneRequired
		o.Socket.Ring, o.Socket.InPlace = zerocopyRing, zerocopyLeast
		if s.BusyPoll > 0 {
			o.BusyPoll = &s.BusyPoll
		}
		return o
	}
	row := pithosRow(rowZerocopy, "the lane without copies: bodies are written and read in the "+
		"ring, by peers that trust each other", options)
	row.Modes = Several | Long
	row.Serve = func(s Setup) (io.Closer, error) {
		o := options(s)
		o.Handler = transport.HandlerFunc(newReplyPool().reply)
		l, err := transport.Listen(s.Path, o)
		if err != nil {
			return nil, err
		}
		return pithosServer{l}, nil
	}
	dialCopying := row.Dial
	row.Dial = func(s Setup, n int) ([]Conn, error) {
		conns, err := dialCopying(s, n)
		for i, c := range conns {
			conns[i] = zerocopyConn{c.(*pithosConn)}
		}
		return conns, err
	}
	return row
}

// replyPool answers calls where the caller reads. What writes a reply is made once for many calls,
// so that a call allocates nothing.
type replyPool struct{ spare sync.Pool }

// ringReply writes one reply at a time.
type ringReply struct {
	seed  uint64
	write func(b []byte) // writes seed and what follows it
}

func newReplyPool() *replyPool {
	p := &replyPool{}
	p.spare.New = func() any {
		one := &ringReply{}
		one.write = func(b []byte) { fill(b, one.seed) }
		return one
	}
	return p
}

// reply is reply, written where the caller reads it.
func (p *replyPool) reply(r *transport.Request) {
	one := p.spare.Get().(*ringReply)
	one.seed = sum(r.Body())
	_ = r.Fill(len(r.Body()), one.write) // of an error as in reply
	p.spare.Put(one)
}

type zerocopyConn struct{ *pithosConn }

// GoInPlace implements inPlacer.
func (c zerocopyConn) GoInPlace(
	n int, write func(b []byte), done func(reply []byte, err error),
) error {
	return c.conn.Go(transport.Message{Size: n, Fill: write}, nil, done)
}
