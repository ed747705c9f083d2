package bench

import (
	"io"

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
		o.Handler = transport.HandlerFunc(fillReply)
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

// fillReply is reply, written where the caller reads it.
func fillReply(r *transport.Request) {
	s := sum(r.Body())
	_ = r.Fill(len(r.Body()), func(b []byte) { fill(b, s) }) // of an error as in reply
}

type zerocopyConn struct{ *pithosConn }

// GoInPlace implements inPlacer.
func (c zerocopyConn) GoInPlace(
	n int, write func(b []byte), done func(reply []byte, err error),
) error {
	return c.conn.Go(transport.Message{Size: n, Fill: write}, nil, done)
}
