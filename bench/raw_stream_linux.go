package bench

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Several calls under way on the bare socket: one goroutine that writes as far as the socket takes
// it, reads what is there, and waits for both when there is neither. It never waits for a write
// alone, so the two ends cannot wait for each other.

// Inside implements insider.
func (c *rawConn) Inside(begin func()) {
	c.done = make(chan struct{})
	go func() {
		defer close(c.done)
		begin()
		c.end, c.at = copy(c.in, c.in[c.at:c.end]), 0
		err := unix.SetNonblock(c.fd, true)
		if c.spin != nil {
			c.spin.reset()
		}
		for ; c.calls.n > 0 && err == nil; err = c.turn() {
		}
		c.calls.fail(err)
	}()
}

// Go implements Pipeliner.
func (c *rawConn) Go(body, buf []byte, done func(reply []byte, err error)) error {
	return c.calls.add(streamed{body: body, buf: buf, done: done})
}

// turn writes and reads what it can, and waits if that was nothing.
func (c *rawConn) turn() error {
	sent, err := c.push()
	if err != nil {
		return err
	}
	got, err := c.pull()
	switch {
	case err != nil:
		return err
	case !sent && !got:
		events := int16(unix.POLLIN)
		if c.calls.unsent() != nil {
			events |= unix.POLLOUT
		}
		return c.wait(events)
	case c.spin != nil:
		c.spin.reset()
	}
	return nil
}

// push writes what the socket takes.
func (c *rawConn) push() (some bool, err error) {
	for call := c.calls.unsent(); call != nil; call = c.calls.unsent() {
		if len(c.head)+len(c.rest) == 0 {
			putHeader(c.out, flagsCall, c.next, len(call.body))
			c.next++
			n := copy(c.out[headerLen:], call.body)
			c.head, c.rest = c.out[:headerLen+n], call.body[n:]
		}
		for _, b := range []*[]byte{&c.head, &c.rest} {
			for len(*b) > 0 {
				n, errno := rawWrite(c.fd, *b)
				if errno == unix.EAGAIN {
					return some, nil
				}
				if errno != 0 && errno != unix.EINTR {
					return some, errno
				}
				if errno == 0 {
					*b = (*b)[n:]
					some = true
				}
			}
		}
		c.calls.sent++
	}
	return some, nil
}

// pull takes what is there.
func (c *rawConn) pull() (some bool, err error) {
	for c.calls.sent > 0 || c.reply != nil {
		into := c.in[c.end:]
		if c.reply != nil {
			into = c.reply[c.got:]
		}
		n, errno := rawRead(c.fd, into)
		switch {
		case errno == unix.EAGAIN:
			return some, nil
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return some, errno
		case n == 0:
			return some, io.EOF
		}
		some = true
		if c.reply != nil {
			c.got += n
		} else {
			c.end += n
		}
		if err = c.parse(); err != nil {
			return some, err
		}
	}
	return some, nil
}

// parse completes the replies that have come in full.
func (c *rawConn) parse() error {
	for {
		if c.reply == nil {
			if c.end-c.at < headerLen {
				c.end = copy(c.in, c.in[c.at:c.end])
				c.at = 0
				return nil
			}
			h, err := parseHeader(c.in[c.at:], c.limit)
			if err != nil {
				return err
			}
			call, err := c.calls.oldest()
			if err != nil {
				return err
			}
			if h.length > len(call.buf) {
				return fmt.Errorf("%w: %d bytes, not %d", errSmallBuf, h.length, len(call.buf))
			}
			c.at += headerLen
			c.reply = call.buf[:h.length]
			c.got = copy(c.reply, c.in[c.at:c.end])
			c.at += c.got
		}
		if c.got < len(c.reply) {
			c.at, c.end = 0, 0
			return nil
		}
		reply := c.reply
		c.reply = nil
		c.calls.take()(reply, nil)
	}
}
