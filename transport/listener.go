package transport

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
)

// Listener accepts connections on a socket and serves them. It begins when Listen returns.
type Listener struct {
	address string
	set     *settings
	group   *Group
	own     bool // the group is this listener's
	sock    *bound
	accept  acceptor

	accepted, refused atomic.Uint64

	mu     sync.Mutex
	conns  map[*Conn]struct{} // guarded by mu
	gone   Counters           // of connections that ended, guarded by mu
	closed chan struct{}      // made by the first Close, closed when it is done; guarded by mu
}

// acceptor is what takes connections from the socket: part of an engine.
type acceptor interface {
	// stop takes no more connections; it waits until that is so.
	stop()
	// ready takes the connections that wait now.
	ready()
}

// Listen binds address and serves the connections that come. An address is the path of a socket, of
// any length, or, with a leading '@', an abstract name, for which Options.Authorize has to be set.
//
// A path's socket is made with mode 0600. A socket file that a dead server left is replaced, a live
// one's never: the error is ErrInUse then. The lock file beside it (path + ".lock") stays. Errors
// are *OpError.
func Listen(address string, o Options) (*Listener, error) {
	if strings.HasPrefix(address, "@") && o.Authorize == nil {
		return nil, &OpError{"listen", address, fmt.Errorf("abstract address without "+
			"Options.Authorize: %w", ErrDenied)}
	}
	sock, err := bindSocket(address, o.Socket)
	if err != nil {
		return nil, &OpError{"listen", address, err}
	}
	return serve(address, sock, o)
}

// ListenFile serves the connections of a listening Unix stream socket that is there already. f
// stays the caller's.
func ListenFile(f *os.File, o Options) (*Listener, error) {
	sock, err := adoptListener(f)
	if err != nil {
		return nil, &OpError{"listen", f.Name(), err}
	}
	return serve(f.Name(), sock, o)
}

func serve(address string, sock *bound, o Options) (*Listener, error) {
	if o.Authorize == nil {
		o.Authorize = SameUser
	}
	l := &Listener{address: address, set: o.settings(true), group: o.Group, sock: sock,
		conns: make(map[*Conn]struct{})}
	err := l.set.laneBuilt()
	if err == nil {
		err = l.start()
	}
	if err != nil {
		sock.close()
		return nil, &OpError{"listen", address, err}
	}
	return l, nil
}

func (l *Listener) start() (err error) {
	if l.group == nil {
		l.own = true
		if l.group, err = newOwnGroup(l.set, 0); err != nil {
			return err
		}
	}
	if l.accept, err = startAcceptor(l); err != nil && l.own {
		l.group.Close()
	}
	return err
}

// Address is what the listener was made with.
func (l *Listener) Address() string { return l.address }

// Sweep takes the connections that wait in the backlog at this moment, before it returns:
// Hooks.Open has been called for them then. It does not block, and may be called from a handler.
func (l *Listener) Sweep() { l.accept.ready() }

// Stats sums up over all connections.
func (l *Listener) Stats() ListenerStats {
	l.mu.Lock()
	s := ListenerStats{Conns: len(l.conns), Accepted: l.accepted.Load(), Refused: l.refused.Load()}
	s.Counters = l.gone
	if l.own {
		s.Counters.add(l.group.loops.counters())
	}
	conns := l.connsLocked()
	l.mu.Unlock()
	for _, c := range conns {
		t := c.Stats()
		s.Counters.add(t.Counters)
		s.Gauges.add(t.Gauges)
		if t.Lane.Ring > 0 {
			s.Lanes++
		}
	}
	return s
}

// Conns are the connections at this moment.
func (l *Listener) Conns() []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.connsLocked()
}

func (l *Listener) connsLocked() []*Conn {
	conns := make([]*Conn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	return conns
}

// admit counts a connection in, or says why it cannot come in.
func (l *Listener) admit(c *Conn) error {
	if err := l.set.Authorize(c.peer); err != nil {
		l.refused.Add(1)
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed != nil {
		return ErrClosed
	}
	if n := len(l.conns); n >= l.set.Limits.MaxConns {
		l.refused.Add(1)
		return &LimitError{What: "connections", Value: int64(n) + 1,
			Limit: int64(l.set.Limits.MaxConns)}
	}
	l.accepted.Add(1)
	l.conns[c] = struct{}{}
	return nil
}

// leave counts a connection out that admit counted in.
func (l *Listener) leave(c *Conn) {
	s := c.Stats()
	l.mu.Lock()
	l.gone.add(s.Counters)
	delete(l.conns, c)
	l.mu.Unlock()
}

// Close takes no more connections, removes the socket's file, closes every connection within ctx as
// Conn.Close does, and waits until nothing of the listener runs. The error is a *DroppedError with
// the sums of what was lost, if anything was. Closing again waits for the first and returns nil.
func (l *Listener) Close(ctx context.Context) error {
	l.mu.Lock()
	if done := l.closed; done != nil {
		l.mu.Unlock()
		<-done
		return nil
	}
	l.closed = make(chan struct{})
	defer close(l.closed)
	l.mu.Unlock()

	l.accept.stop()
	l.sock.close()
	var lost DroppedError
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, c := range l.Conns() {
		wg.Go(func() {
			if d, ok := c.Close(ctx).(*DroppedError); ok {
				mu.Lock()
				lost.add(d)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if l.own {
		l.group.Close()
	}
	if lost == (DroppedError{}) {
		return nil
	}
	return &lost
}

func (e *DroppedError) add(o *DroppedError) {
	e.Calls += o.Calls
	e.Served += o.Served
	e.Frames += o.Frames
	e.Bytes += o.Bytes
}
