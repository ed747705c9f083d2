package transporttest

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/pithos-ipc/pithos/transport"
)

// closeWithin is how long a cleanup waits for a connection to close in good order.
const closeWithin = 5 * time.Second

// Pair returns the two ends of one connection over a real socket; srv is the side that accepted.
// Both are closed at the end of the test.
func Pair(t testing.TB, server, client transport.Options) (srv, cli *transport.Conn) {
	t.Helper()
	l := Listen(t, server)
	cli = Dial(t, l.Address(), client)
	conns := l.Conns()
	if len(conns) != 1 {
		t.Fatalf("listener has %d connections after one dial, want 1", len(conns))
	}
	return conns[0], cli
}

// Listen serves a socket in a folder of the test's own until the end of the test.
func Listen(t testing.TB, o transport.Options) *transport.Listener {
	t.Helper()
	l, err := transport.Listen(filepath.Join(t.TempDir(), "s"), o)
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	t.Cleanup(func() { closeInTime(t, "listener", l.Close) })
	return l
}

// Dial connects to address; the connection is closed at the end of the test.
func Dial(t testing.TB, address string, o transport.Options) *transport.Conn {
	t.Helper()
	c, err := transport.Dial(context.Background(), address, o)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { closeInTime(t, "connection", c.Close) })
	return c
}

// closeInTime fails the test when close takes much longer than its context. What close reports as
// dropped is the test's own business.
func closeInTime(t testing.TB, what string, closer func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = closer(ctx)
	}()
	select {
	case <-done:
	case <-time.After(4 * closeWithin):
		t.Errorf("%s: Close is still not back after %v, its context had %v", what, 4*closeWithin,
			closeWithin)
	}
}
