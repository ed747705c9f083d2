//go:build !linux || portable

package transport

import "context"

// loops are not needed by the portable loop.
type loops struct{}

func (l *loops) start(int) error { return nil }
func (l *loops) stop() error     { return nil }

func (l *loops) counters() Counters { return Counters{} }

// hasLanes says that the engine of this build cannot use shared memory.
const hasLanes = false

func newOwnGroup(*settings, int) (*Group, error) { return NewGroup(1, 0) }

func startAcceptor(l *Listener) (acceptor, error) { return acceptPortable(l) }

// startConn makes the engine of c on s, which is its own from now on. As a client it waits for the
// answer to its hello.
func startConn(ctx context.Context, c *Conn, s socket) error {
	return startPortable(ctx, c, s, nil)
}

// start has the engine send a call.
func (c *Conn) start(m *Message, buf []byte, done func([]byte, error)) (uint32, error) {
	return c.eng.start(*m, buf, done)
}
