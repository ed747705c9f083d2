package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// smallFrame is the most bytes that a raw row copies to save a system call.
const smallFrame = 4 << 10

// rawConn is one end of a raw row: the limit of what the socket gives to two Go processes. One call
// after another, no scheduler in between, the caller and the handler read and write the descriptor.
type rawConn struct {
	fd    int      // a duplicate, unknown to the runtime's poller
	spin  *spinner // nil: it does not spin, and the descriptor blocks but for Inside
	limit int      // bytes of the longest body
	in    []byte   // smallFrame bytes; in[at:end] has been read and not used
	at    int
	end   int
	out   []byte // smallFrame bytes
	next  uint32 // id of the next call

	calls *stream // of Inside; see raw_stream_linux.go
	head  []byte  // of the call that is being sent: what is left of out
	rest  []byte  // of its body: what is left behind head
	reply []byte  // that is being received; nil: its header has not come
	got   int     // bytes of it
	done  chan struct{}

	mu     sync.Mutex
	closed bool // guarded by mu; fd is no longer ours
}

func rawRows() []Row {
	return []Row{{
		Name:  rowRawSpin,
		About: "the limit: the same bytes, non-blocking descriptors, read and write spin",
		Modes: Several,
		Serve: func(s Setup) (io.Closer, error) { return serveRaw(s, true) },
		Dial:  dialEach(func(s Setup) (Conn, error) { return dialRaw(s, true) }),
	}, {
		Name:  rowRawBlock,
		About: "the limit without spinning: the same bytes, blocking read and write",
		Modes: Several,
		Serve: func(s Setup) (io.Closer, error) { return serveRaw(s, false) },
		Dial:  dialEach(func(s Setup) (Conn, error) { return dialRaw(s, false) }),
	}}
}

func serveRaw(s Setup, spin bool) (io.Closer, error) {
	return listen(s.Path, func(conn *net.UnixConn) session {
		c, err := newRaw(conn, s, spin)
		if err != nil {
			return nil
		}
		return rawSession{c}
	})
}

func dialRaw(s Setup, spin bool) (Conn, error) {
	conn, err := dial(s.Path)
	if err != nil {
		return nil, err
	}
	return newRaw(conn, s, spin)
}

// newRaw takes the descriptor out of the hands of package net and of its poller.
func newRaw(conn *net.UnixConn, s Setup, spin bool) (*rawConn, error) {
	defer conn.Close()
	c := &rawConn{
		limit: s.MaxBody,
		calls: newStream(s.MaxCalls),
		in:    make([]byte, smallFrame),
		out:   make([]byte, smallFrame),
	}
	if spin {
		c.spin = newSpinner(pollsPerYield, paidPerYield)
	}
	var err error
	if c.fd, err = takeSocket(conn); err != nil {
		return nil, err
	}
	if err = unix.SetNonblock(c.fd, spin); err != nil {
		return nil, errors.Join(fmt.Errorf("bench: %w", err), c.Close())
	}
	return c, nil
}

// takeSocket duplicates the descriptor of a connection, unknown to the runtime's poller.
func takeSocket(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("bench: %w", err)
	}
	var fd int
	var dupErr error
	err = raw.Control(func(own uintptr) {
		fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(err, dupErr); err != nil {
		return -1, fmt.Errorf("bench: %w", err)
	}
	return fd, nil
}

// Call implements Conn.
func (c *rawConn) Call(body, buf []byte) ([]byte, error) {
	id := c.next
	c.next++
	if err := c.writeFrame(flagsCall, id, body); err != nil {
		return nil, err
	}
	h, err := c.readHeader()
	switch {
	case err != nil:
		return nil, err
	case h.id != id:
		return nil, fmt.Errorf("%w: id %d, not %d", errNoWaiter, h.id, id)
	case h.length > len(buf):
		return nil, fmt.Errorf("%w: %d bytes, not %d", errSmallBuf, h.length, len(buf))
	}
	return buf[:h.length], c.readBody(buf[:h.length])
}

// serve answers calls until the connection ends.
func (c *rawConn) serve() {
	defer c.Close()
	var body, reply []byte
	for {
		h, err := c.readHeader()
		if err != nil {
			return
		}
		body = slices.Grow(body[:0], h.length)[:h.length]
		if c.readBody(body) != nil {
			return
		}
		reply = answer(body, reply[:0])
		if c.writeFrame(flagsReply, h.id, reply) != nil {
			return
		}
	}
}

// Close implements Conn.
func (c *rawConn) Close() error {
	if c.done != nil {
		_ = rawSession{c}.Close() // the goroutine of Inside, if it still waits, hears of it
		<-c.done
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	return unix.Close(c.fd)
}

// rawSession is a rawConn whose Close ends serve, which then closes the descriptor.
type rawSession struct{ *rawConn }

func (s rawSession) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	return unix.Shutdown(s.fd, unix.SHUT_RDWR)
}

// readHeader reads a header, and what of the body comes with it.
func (c *rawConn) readHeader() (header, error) {
	c.end = copy(c.in, c.in[c.at:c.end])
	c.at = 0
	for c.end < headerLen {
		n, err := c.read(c.in[c.end:])
		if err != nil {
			return header{}, err
		}
		c.end += n
	}
	c.at = headerLen
	return parseHeader(c.in, c.limit)
}

// readBody fills b.
func (c *rawConn) readBody(b []byte) error {
	n := copy(b, c.in[c.at:c.end])
	c.at += n
	for b = b[n:]; len(b) > 0; b = b[n:] {
		var err error
		if n, err = c.read(b); err != nil {
			return err
		}
	}
	return nil
}

func (c *rawConn) writeFrame(flags byte, id uint32, body []byte) error {
	putHeader(c.out, flags, id, len(body))
	if headerLen+len(body) <= len(c.out) {
		n := copy(c.out[headerLen:], body)
		return c.write(c.out[:headerLen+n])
	}
	n := copy(c.out[headerLen:], body)
	if err := c.write(c.out); err != nil {
		return err
	}
	return c.write(body[n:])
}

// read reads at least one byte.
func (c *rawConn) read(b []byte) (int, error) {
	if c.spin != nil {
		c.spin.reset()
	}
	for {
		var n int
		var errno unix.Errno
		if c.spin == nil {
			n, errno = blockingRead(c.fd, b)
		} else {
			n, errno = rawRead(c.fd, b)
		}
		switch errno {
		case 0:
			if n == 0 {
				return 0, io.EOF
			}
			return n, nil
		case unix.EAGAIN:
			if err := c.wait(unix.POLLIN); err != nil {
				return 0, err
			}
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// write writes all of b.
func (c *rawConn) write(b []byte) error {
	if c.spin != nil {
		c.spin.reset()
	}
	for len(b) > 0 {
		var n int
		var errno unix.Errno
		if c.spin == nil {
			n, errno = blockingWrite(c.fd, b)
		} else {
			n, errno = rawWrite(c.fd, b)
		}
		switch errno {
		case 0:
			b = b[n:]
		case unix.EAGAIN:
			if err := c.wait(unix.POLLOUT); err != nil {
				return err
			}
		case unix.EINTR:
		default:
			return errno
		}
	}
	return nil
}

// wait spins once more or, when spinning is not allowed, blocks until the descriptor is ready.
func (c *rawConn) wait(events int16) error {
	if c.spin != nil && c.spin.spin() {
		return nil
	}
	fds := [1]unix.PollFd{{Fd: int32(c.fd), Events: events}}
	_, err := unix.Poll(fds[:], -1)
	if err != nil && err != unix.EINTR {
		return err
	}
	if c.spin != nil {
		c.spin.reset()
	}
	return nil
}
