package transport_test

import (
	"context"
	"fmt"
	"time"

	"github.com/pithos-ipc/pithos/transport"
)

// childBeside calls itself, on the one processor that it may use, and prints whether the client
// wanted to leave it, and how often the server did.
func childBeside(o order) error {
	set := o.of(transport.Options{Handler: transport.HandlerFunc(func(r *transport.Request) {
		_ = r.Reply(r.Body())
	})})
	l, err := transport.Listen(o.Address, set)
	if err != nil {
		return err
	}
	set.Socket.Stay = o.Ending == "stay"
	conn, err := transport.Dial(context.Background(), o.Address, set)
	if err != nil {
		return err
	}
	until := time.Now().Add(time.Duration(o.Count) * time.Second)
	over := make(chan error, 1)
	var again func([]byte, error)
	again = func(_ []byte, err error) {
		if err == nil && time.Now().Before(until) {
			if s := conn.Stats(); s.Moves == 0 || o.Ending == "stay" {
				err = conn.Go(transport.Message{Body: []byte("x")}, nil, again)
				if err == nil {
					return
				}
			}
		}
		over <- err
	}
	if err := conn.Go(transport.Message{Body: []byte("x")}, nil, again); err != nil {
		return err
	}
	if err := <-over; err != nil {
		return err
	}
	fmt.Println(conn.Stats().Moves > 0, l.Stats().Moves)
	return nil
}
