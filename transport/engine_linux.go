//go:build linux && !portable

package transport

import "context"

// newOwnGroup makes the group of one listener, or of one dialled connection.
func newOwnGroup(s *settings, n int) (*Group, error) {
	if s.portable {
		return &Group{memory: DefaultGroupMemory}, nil
	}
	return NewGroup(n, 0)
}

func startAcceptor(l *Listener) (acceptor, error) {
	if l.set.portable {
		return acceptPortable(l)
	}
	return acceptEpoll(l)
}

// startConn makes the engine of c on s, which is its own from now on. A side that greets waits for
// the answer to its hello.
func startConn(ctx context.Context, c *Conn, s socket) error {
	if c.set.portable {
		return startPortable(ctx, c, s, nil)
	}
	e := newEpoll(c, s, nil)
	e.begin()
	if !c.set.greets() {
		return nil
	}
	return e.greet(ctx)
}

// start has the engine send a call. The usual one is called by its name: so m need neither be
// copied nor lie on the heap.
func (c *Conn) start(m *Message, buf []byte, done func([]byte, error)) (uint32, error) {
	if e, ok := c.eng.(*econn); ok {
		return e.callWith(m, buf, done)
	}
	return c.eng.start(*m, buf, done)
}
