package bench

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/pithos-ipc/pithos/transport"
)

// closeTimeout is how long a connection of the product may take to end in good order.
const closeTimeout = 5 * time.Second

// pithosRows are the product's: its loop on each lane with busy-polling and without, and the
// portable loop.
func pithosRows() []Row {
	loop := func(lane transport.LaneMode) func(Setup) transport.Options {
		return func(s Setup) (o transport.Options) {
			o.Socket.Lane = lane
			if s.BusyPoll > 0 {
				o.BusyPoll = &s.BusyPoll
			}
			return o
		}
	}
	noSpin := func(lane transport.LaneMode) func(Setup) transport.Options {
		return func(Setup) (o transport.Options) {
			o.Socket.Lane = lane
			o.BusyPoll = new(time.Duration)
			return o
		}
	}
	portable := func(Setup) transport.Options {
		return transport.Options{}.Portable()
	}
	var rows []Row
	if haveLanes {
		rows = append(rows,
			pithosRow(rowLane, "this transport through shared memory",
				loop(transport.LaneRequired)),
			pithosRow(rowLaneNoSpin, "the same with busy-polling off: doorbells",
				noSpin(transport.LaneRequired)),
			zerocopyRow())
	}
	return append(rows,
		pithosRow(rowPithos, "this transport over the socket", loop(transport.LaneOff)),
		pithosRow(rowNoSpin, "the same with busy-polling off", noSpin(transport.LaneOff)),
		pithosRow(rowPortable, "its portable loop: goroutines over package net", portable))
}

// pithosRow is a row of the product. Connections dialled together share a Group.
func pithosRow(name, about string, options func(Setup) transport.Options) Row {
	return Row{
		Name:  name,
		About: about,
		Modes: Callers | Callbacks | Several | Many | Idle,
		Serve: func(s Setup) (io.Closer, error) {
			o := options(s)
			o.Handler = transport.HandlerFunc(reply)
			l, err := transport.Listen(s.Path, o)
			if err != nil {
				return nil, err
			}
			return pithosServer{l}, nil
		},
		Dial: func(s Setup, n int) ([]Conn, error) { return dialPithos(s, n, options(s)) },
	}
}

// reply is the handler: answer, over the body, whose memory goes out with the reply when it is
// long.
func reply(r *transport.Request) {
	b := r.Body()
	_ = r.Reply(answer(b, b[:0])) // of an error the caller hears by the end of its connection
}

type pithosServer struct{ listener *transport.Listener }

func (s pithosServer) Close() error { return closeWithin(s.listener.Close) }

// pithosConn is a connection of the product as a Pipeliner.
type pithosConn struct {
	conn  *transport.Conn
	group *transport.Group // ends with this connection, the last of its group; nil: not here
}

func dialPithos(s Setup, n int, o transport.Options) (conns []Conn, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if n > 1 {
		if o.Group, err = transport.NewGroup(0, 0); err != nil {
			return nil, err
		}
	}
	for i := range n {
		conn, err := transport.Dial(ctx, s.Path, o)
		if err != nil {
			err = errors.Join(err, closeAll(conns))
			if o.Group != nil {
				err = errors.Join(err, o.Group.Close())
			}
			return nil, err
		}
		c := &pithosConn{conn: conn}
		if i == n-1 {
			c.group = o.Group
		}
		conns = append(conns, c)
	}
	return conns, nil
}

// Call implements Conn.
func (c *pithosConn) Call(body, buf []byte) ([]byte, error) {
	return c.conn.Call(context.Background(), body, buf)
}

// Go implements Pipeliner.
func (c *pithosConn) Go(body, buf []byte, done func(reply []byte, err error)) error {
	return c.conn.Go(transport.Message{Body: body}, buf, done)
}

// Close implements Conn.
func (c *pithosConn) Close() error {
	err := closeWithin(c.conn.Close)
	if c.group != nil {
		err = errors.Join(err, c.group.Close())
	}
	return err
}

func closeWithin(end func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return end(ctx)
}
