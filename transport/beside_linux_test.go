//go:build linux && !portable

package transport_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/transport"
)

func init() { roles["beside"] = childBeside }

// childBeside calls itself through a lane, on the one processor that it may use, and prints how
// often client and server wanted to leave it.
func childBeside(o order) error {
	set := transport.Options{Handler: transport.HandlerFunc(func(r *transport.Request) {
		_ = r.Reply(r.Body())
	})}
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

// startBeside starts such a child.
func startBeside(t *testing.T, ending string, seconds int) *child {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &all))
	for i := range 1024 {
		if all.IsSet(i) {
			one.Set(i)
			break
		}
	}
	require.NoError(t, unix.SchedSetaffinity(0, &one)) // the child inherits it
	defer func() { require.NoError(t, unix.SchedSetaffinity(0, &all)) }()
	c := newChild(t, "beside", order{Address: filepath.Join(t.TempDir(), "s"), Ending: ending,
		Count: seconds})
	c.cmd.Env = append(c.cmd.Env, "GOMAXPROCS=2") // with one it would not spin
	return c.start()
}

// TestClientLeavesProcessor says that of two who poll for one another on one processor the one that
// dialed moves away, and that SocketOptions.Stay keeps it where it is.
func TestClientLeavesProcessor(t *testing.T) {
	require.Equal(t, "true 0", startBeside(t, "", 20).line())
	require.Equal(t, "false 0", startBeside(t, "stay", 1).line())
}
