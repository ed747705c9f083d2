package bench

import (
	"fmt"
	"io"
	"net"
)

// Who an end of a ring is, which it says in a byte when it has connected.
const (
	ringCaller   = 'c'
	ringProvider = 'p' // to a hub: it answers
)

// ringConn is the client's end of the row ring: a pair of rings and nothing else. No ids, since
// replies come in the order of the calls.
type ringConn struct {
	end   *ringEnd
	limit int     // bytes of the longest body
	calls *stream // of Inside

	part int           // bytes sent of the call that is being sent
	got  int           // bytes received of the reply that is being received
	done chan struct{} // closed when Inside's goroutine has returned; nil: it never ran
}

func ringRows() []Row {
	return []Row{{
		Name: rowRing,
		About: "the limit of shared memory: bare rings that spin by the same rules, no ids, " +
			"no checks",
		Modes: Callbacks | Several,
		Serve: serveRing,
		Dial:  dialEach(dialRingCaller),
	}, {
		Name:  rowRingHub,
		About: "the limit of two hops: a process that moves records from bare ring to bare ring",
		Modes: Hops | Callbacks,
		Hub:   serveRingHub,
		Serve: serveRingProvider,
		Dial:  dialEach(dialRingCaller),
	}}
}

func serveRing(s Setup) (io.Closer, error) {
	return listen(s.Path, func(conn *net.UnixConn) session {
		defer conn.Close() // of which the end has a duplicate
		if _, err := ringRole(conn); err != nil {
			return nil
		}
		e, err := acceptRing(conn, -1)
		if err != nil {
			return nil
		}
		return ringSession{e}
	})
}

// ringRole reads who has connected.
func ringRole(conn *net.UnixConn) (byte, error) {
	var role [1]byte
	_, err := io.ReadFull(conn, role[:])
	return role[0], err
}

// ringSession is a ringEnd whose Close ends serve, which then frees it.
type ringSession struct{ *ringEnd }

func (s ringSession) Close() error { return s.shut() }

func dialRingCaller(s Setup) (Conn, error) {
	c, err := openRing(s, ringCaller)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func openRing(s Setup, role byte) (*ringConn, error) {
	conn, err := dial(s.Path)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err = conn.Write([]byte{role}); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	e, err := dialRing(conn)
	if err != nil {
		return nil, err
	}
	return &ringConn{end: e, limit: s.MaxBody, calls: newStream(s.MaxCalls)}, nil
}

// Call implements Conn.
func (c *ringConn) Call(body, buf []byte) ([]byte, error) {
	if err := c.end.send(body); err != nil {
		return nil, err
	}
	c.end.flush()
	for n := 0; ; {
		b, more, err := c.end.record()
		if err != nil {
			return nil, err
		}
		if n+len(b) > len(buf) {
			return nil, fmt.Errorf("%w: over %d bytes", errSmallBuf, len(buf))
		}
		n += copy(buf[n:], b)
		c.end.advance(len(b))
		if !more {
			return buf[:n], nil
		}
	}
}

// Inside implements insider.
func (c *ringConn) Inside(begin func()) {
	c.done = make(chan struct{})
	go func() {
		defer close(c.done)
		begin()
		for c.end.spin.reset(); c.calls.n > 0; {
			sent := c.push()
			got, err := c.pull()
			if err == nil && !sent && !got {
				err = c.end.wait()
			} else {
				c.end.spin.reset()
			}
			if err != nil {
				c.calls.fail(err)
			}
		}
	}()
}

// Go implements Pipeliner.
func (c *ringConn) Go(body, buf []byte, done func(reply []byte, err error)) error {
	return c.calls.add(streamed{body: body, buf: buf, done: done})
}

// push stages what there is room for.
func (c *ringConn) push() (some bool) {
	for call := c.calls.unsent(); call != nil; call = c.calls.unsent() {
		n := min(len(call.body)-c.part, ringPart)
		place := c.end.out.reserve(n)
		if place == nil {
			return some
		}
		copy(place, call.body[c.part:])
		c.part += n
		more := c.part < len(call.body)
		c.end.commit(n, more)
		if !more {
			c.part = 0
			c.calls.sent++
		}
		some = true
	}
	return some
}

// pull takes the replies that are there. One in one record is read in its place.
func (c *ringConn) pull() (some bool, err error) {
	for {
		b, more, ok := c.end.in.next()
		if !ok {
			return some, nil
		}
		call, err := c.calls.oldest()
		if err != nil {
			return some, err
		}
		some = true
		reply := b
		if more || c.got > 0 {
			if c.got+len(b) > len(call.buf) {
				return some, fmt.Errorf("%w: over %d bytes", errSmallBuf, len(call.buf))
			}
			c.got += copy(call.buf[c.got:], b)
			reply = call.buf[:c.got]
		}
		if !more {
			c.got = 0
			c.calls.take()(reply, nil)
		}
		c.end.advance(len(b))
		c.push()
	}
}

// Close implements Conn.
func (c *ringConn) Close() error {
	if c.done != nil {
		_ = c.end.shut() // the goroutine, if it still waits, hears of it
		<-c.done
	}
	return c.end.close()
}
