package bench

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
)

const (
	inboxSize = 64 << 10 // bytes of the reader's buffer
	shortBody = 4 << 10  // bytes up to which a body is always read through that buffer
	largeBody = 32 << 10 // bytes from which a body is written without a copy
)

// mux is the baseline: many calls over one net.UnixConn, both ways. A reader goroutine runs the
// handlers and completes the calls; callers write for each other; what the reader owes the peer it
// writes as far as the socket takes it, and leaves the rest to one more goroutine (see outbox). It
// owes no more than the calls that the peer may have under way.
type mux struct {
	conn    *net.UnixConn
	in      *bufio.Reader // reader only
	out     *outbox
	handler func(body, dst []byte) []byte // nil refuses calls
	limit   int                           // bytes of the longest body
	most    int                           // calls under way
	route   []byte                        // what a call's body begins with; see plainHub
	large   []byte                        // reader only; a call's body that does not fit in
	replies []byte                        // reader only; frames of the batch being handled
	batch   bool                          // reader only; between out.begin and out.end
	done    chan struct{}                 // closed when the reader has returned

	mu    sync.Mutex
	table []waiter // guarded by mu; by id
	free  []uint32 // guarded by mu; ids not in use
	err   error    // guarded by mu; why there will be no more replies
}

// waiter is a call under way: a blocked caller or a callback.
type waiter struct {
	call *call
	done func(reply []byte, err error)
}

// call is a blocked caller. Pooled, with its channel.
type call struct {
	buf   []byte
	reply []byte
	err   error
	ready chan struct{} // holds one
}

var calls = sync.Pool{New: func() any { return &call{ready: make(chan struct{}, 1)} }}

func newMux(conn *net.UnixConn, s Setup, handler func(body, dst []byte) []byte) (*mux, error) {
	out, err := newOutbox(conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &mux{
		conn:    conn,
		in:      bufio.NewReaderSize(conn, inboxSize),
		out:     out,
		handler: handler,
		limit:   s.MaxBody,
		most:    s.MaxCalls,
		done:    make(chan struct{}),
	}, nil
}

// Call implements Conn.
func (m *mux) Call(body, buf []byte) ([]byte, error) {
	c := calls.Get().(*call)
	c.buf = buf
	id, others, err := m.add(waiter{call: c})
	if err != nil {
		calls.Put(c)
		return nil, err
	}
	if len(body) >= largeBody {
		err = m.out.write(flagsCall, id, m.route, body)
	} else {
		var mine bool
		if mine, err = m.out.append(flagsCall, id, m.route, body); mine {
			if others {
				runtime.Gosched() // those who can run now append their frames to this write
			}
			err = m.out.flush()
		}
	}
	if err != nil {
		_ = m.conn.Close() // the reader fails every call, this one too
	}
	<-c.ready
	reply, err := c.reply, c.err
	c.buf, c.reply, c.err = nil, nil, nil
	calls.Put(c)
	return reply, err
}

// Go implements Pipeliner. Replies are borrowed from the reader, so it needs no buffer.
func (m *mux) Go(body, _ []byte, done func(reply []byte, err error)) error {
	id, _, err := m.add(waiter{done: done})
	if err != nil {
		return err
	}
	mine, err := m.out.append(flagsCall, id, m.route, body)
	if mine {
		m.out.wake()
	}
	if err != nil {
		_ = m.conn.Close()
	}
	return nil
}

// Close implements Conn.
func (m *mux) Close() error {
	err := m.conn.Close()
	<-m.done
	if errors.Is(err, net.ErrClosed) {
		return nil // the reader was first
	}
	return err
}

// add gives w an id and reports whether other calls are under way.
func (m *mux) add(w waiter) (id uint32, others bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return 0, false, m.err
	}
	others = len(m.free) < len(m.table)
	if last := len(m.free) - 1; last >= 0 {
		id = m.free[last]
		m.free = m.free[:last]
		m.table[id] = w
		return id, others, nil
	}
	if len(m.table) == m.most {
		return 0, false, fmt.Errorf("%w: %d", errManyCalls, m.most)
	}
	m.table = append(m.table, w)
	return uint32(len(m.table) - 1), others, nil
}

// remove takes the waiter with this id out of the table.
func (m *mux) remove(id uint32) (waiter, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if int(id) >= len(m.table) {
		return waiter{}, fmt.Errorf("%w: id %d of %d", errNoWaiter, id, len(m.table))
	}
	w := m.table[id]
	if w.call == nil && w.done == nil {
		return waiter{}, fmt.Errorf("%w: id %d", errNoWaiter, id)
	}
	m.table[id] = waiter{}
	m.free = append(m.free, id)
	return w, nil
}
