package bench

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
)

// benchMethod is what the callers of a hub call.
const benchMethod = "echo"

// hubRows are the product's hub with its Go clients, on each lane.
func hubRows() []Row {
	rows := []Row{hubRow(rowHub, "this hub and its Go clients over sockets", transport.LaneOff)}
	if haveLanes {
		rows = append(rows, hubRow(rowHubLane, "the same through shared memory, both hops",
			transport.LaneRequired))
	}
	return rows
}

func hubRow(name, about string, lane transport.LaneMode) Row {
	options := func(s Setup) (o transport.Options) {
		o.Socket.Lane = lane
		if s.BusyPoll > 0 {
			o.BusyPoll = &s.BusyPoll
		}
		return o
	}
	return Row{
		Name:  name,
		About: about,
		Modes: Hops | Callers | Callbacks | Scale,
		Hub: func(s Setup) (io.Closer, error) {
			o := hub.Options{Transport: options(s)}
			if lane == transport.LaneRequired {
				o.Transport.Socket.Lane = transport.LaneAuto // hub-scale has peers without
			}
			return serveHub(s.Path, o)
		},
		Serve: func(s Setup) (io.Closer, error) {
			c, err := joinHub(s, hub.JoinOptions{}, options(s))
			if err != nil {
				return nil, err
			}
			ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
			defer cancel()
			_, err = c.Publish(ctx, hub.Object{
				Name: benchObject, OnLoop: true, Handler: transport.HandlerFunc(reply),
			})
			if err != nil {
				return nil, errors.Join(err, closeWithin(c.Close))
			}
			return hubClient{c}, nil
		},
		Dial: dialEach(func(s Setup) (Conn, error) { return dialHub(s, options(s)) }),
	}
}

func serveHub(address string, o hub.Options) (io.Closer, error) {
	h := hub.New(o)
	if err := h.Listen(address); err != nil {
		return nil, errors.Join(err, closeWithin(h.Close))
	}
	return hubServer{h}, nil
}

type hubServer struct{ hub *hub.Hub }

func (s hubServer) Close() error { return closeWithin(s.hub.Close) }

func joinHub(s Setup, j hub.JoinOptions, o transport.Options) (*hub.Client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	j.Redial.Options = o
	return hub.Join(ctx, s.Path, j)
}

// hubClient ends a client within its time.
type hubClient struct{ client *hub.Client }

func (c hubClient) Close() error { return closeWithin(c.client.Close) }

// hubConn is a caller at the product's hub, as a Pipeliner.
type hubConn struct {
	hubClient
	route *hub.Route
	ctx   context.Context // ends with the hub: the client would wait for another one
}

func dialHub(s Setup, o transport.Options) (Conn, error) {
	there, gone := context.WithCancel(context.Background())
	c, err := joinHub(s, hub.JoinOptions{OnLost: func(error) { gone() }}, o)
	if err != nil {
		gone()
		return nil, err
	}
	route := c.Object(benchObject)
	ctx, cancel := context.WithTimeout(there, startTimeout)
	defer cancel()
	if err = route.Resolve(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("bench: %w", err), closeWithin(c.Close))
	}
	return &hubConn{hubClient{c}, route, there}, nil
}

// Call implements Conn.
func (c *hubConn) Call(body, buf []byte) ([]byte, error) {
	return c.route.Call(c.ctx, benchMethod, body, buf)
}

// Go implements Pipeliner.
func (c *hubConn) Go(body, buf []byte, done func(reply []byte, err error)) error {
	return c.route.Go(hub.Message{Method: benchMethod, Payload: body}, buf, done)
}
