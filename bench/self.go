package bench

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
)

// selfConn is one end of the baseline self: frames over a net.UnixConn, one call after another,
// each side reading in the goroutine that works. It is what a multiplexer pays its goroutines
// for.
type selfConn struct {
	conn  *net.UnixConn
	in    *bufio.Reader
	limit int    // bytes of the longest body
	out   []byte // the frame being written
	next  uint32 // id of the next call

	vecs   [2][]byte   // backs gather
	gather net.Buffers // a large frame being written
}

func newSelf(conn *net.UnixConn, s Setup) *selfConn {
	return &selfConn{conn: conn, in: bufio.NewReaderSize(conn, inboxSize), limit: s.MaxBody}
}

func serveSelf(s Setup) (io.Closer, error) {
	return listen(s.Path, func(conn *net.UnixConn) session {
		return newSelf(conn, s)
	})
}

func dialSelf(s Setup) (Conn, error) {
	conn, err := dial(s.Path)
	if err != nil {
		return nil, err
	}
	return newSelf(conn, s), nil
}

// serve answers calls until the connection ends.
func (c *selfConn) serve() {
	defer c.conn.Close()
	var body []byte
	for {
		h, err := c.header()
		if err != nil {
			return
		}
		body = slices.Grow(body[:0], h.length)[:h.length]
		if err = c.fill(body); err != nil {
			return
		}
		c.out = answer(body, append(c.out[:0], make([]byte, headerLen)...))
		putHeader(c.out, flagsReply, h.id, len(c.out)-headerLen)
		if _, err = c.conn.Write(c.out); err != nil {
			return
		}
	}
}

// Call implements Conn.
func (c *selfConn) Call(body, buf []byte) ([]byte, error) {
	id := c.next
	c.next++
	if err := c.write(id, body); err != nil {
		return nil, err
	}
	h, err := c.header()
	switch {
	case err != nil:
		return nil, err
	case h.id != id:
		return nil, fmt.Errorf("%w: id %d, not %d", errNoWaiter, h.id, id)
	case h.length > len(buf):
		return nil, fmt.Errorf("%w: %d bytes, not %d", errSmallBuf, h.length, len(buf))
	}
	return buf[:h.length], c.fill(buf[:h.length])
}

// write writes a call, a large body without a copy.
func (c *selfConn) write(id uint32, body []byte) error {
	if len(body) < largeBody {
		c.out = appendFrame(c.out[:0], flagsCall, id, nil, body)
		_, err := c.conn.Write(c.out)
		return err
	}
	c.out = append(c.out[:0], make([]byte, headerLen)...)
	putHeader(c.out, flagsCall, id, len(body))
	c.vecs = [2][]byte{c.out, body}
	c.gather = c.vecs[:]
	_, err := c.gather.WriteTo(c.conn)
	c.vecs = [2][]byte{}
	return err
}

// fill reads all of b: first what c.in holds, then without a copy from the connection.
func (c *selfConn) fill(b []byte) error {
	n, err := c.in.Read(b[:min(len(b), c.in.Buffered())])
	if err != nil || n == len(b) {
		return err
	}
	_, err = io.ReadFull(c.conn, b[n:])
	return err
}

func (c *selfConn) header() (header, error) {
	b, err := c.in.Peek(headerLen)
	if err != nil {
		return header{}, err
	}
	h, err := parseHeader(b, c.limit)
	if err == nil {
		_, err = c.in.Discard(headerLen)
	}
	return h, err
}

// Close implements Conn.
func (c *selfConn) Close() error { return c.conn.Close() }
