package bench

import (
	"fmt"
	"io"
	"slices"
)

// serve is the reader goroutine. It returns when the connection does, and then fails what is
// pending.
func (m *mux) serve() {
	defer close(m.done)
	var err error
	for err == nil {
		err = m.readFrame()
	}
	m.rest()
	_ = m.conn.Close()
	m.fail(err)
}

// readFrame handles one frame.
func (m *mux) readFrame() error {
	b, err := m.peek(headerLen)
	if err != nil {
		return err
	}
	h, err := parseHeader(b, m.limit)
	if err != nil {
		return err
	}
	if _, err = m.in.Discard(headerLen); err != nil {
		return err
	}
	switch h.flags {
	case flagsCall:
		return m.readCall(h)
	case flagsReply:
		return m.readReply(h)
	case flagsError:
		return m.readError(h)
	default:
		return fmt.Errorf("%w: flags %#02x", errNotCall, h.flags)
	}
}

// readCall runs the handler and adds its reply to the batch.
func (m *mux) readCall(h header) error {
	if m.handler == nil {
		return fmt.Errorf("%w: a call to a client", errNotCall)
	}
	body, borrowed, err := m.body(h.length)
	if err != nil {
		return err
	}
	at := len(m.replies)
	m.replies = append(m.replies, make([]byte, headerLen)...)
	m.replies = m.handler(body, m.replies)
	putHeader(m.replies[at:], flagsReply, h.id, len(m.replies)-at-headerLen)
	_, err = m.in.Discard(borrowed)
	return err
}

// readReply completes a call.
func (m *mux) readReply(h header) error {
	w, err := m.remove(h.id)
	if err != nil {
		return err
	}
	if w.call == nil {
		body, borrowed, err := m.body(h.length)
		w.done(body, err)
		if err != nil {
			return err
		}
		_, err = m.in.Discard(borrowed)
		return err
	}
	c := w.call
	if h.length > len(c.buf) {
		err = fmt.Errorf("%w: %d bytes, not %d", errSmallBuf, h.length, len(c.buf))
	} else {
		c.reply = c.buf[:h.length]
		err = m.fill(c.reply)
	}
	c.err = err
	c.ready <- struct{}{}
	return err
}

// readError completes a call that a hub could not bring to its provider.
func (m *mux) readError(h header) error {
	w, err := m.remove(h.id)
	if err != nil {
		return err
	}
	if _, err = m.in.Discard(h.length); err != nil {
		return err
	}
	if w.call == nil {
		w.done(nil, errNoRoute)
		return nil
	}
	w.call.reply, w.call.err = nil, errNoRoute
	w.call.ready <- struct{}{}
	return nil
}

// body returns the next n bytes. They are borrowed until the next read; the first so many of them,
// all or none, are still to be discarded from m.in then.
func (m *mux) body(n int) (b []byte, borrowed int, err error) {
	if n <= m.in.Buffered() || n <= shortBody {
		b, err = m.peek(n)
		return b, n, err
	}
	m.large = slices.Grow(m.large[:0], n)[:n]
	return m.large, 0, m.fill(m.large)
}

// fill reads all of b: first what m.in holds, then without a copy from the connection.
func (m *mux) fill(b []byte) error {
	n, err := m.in.Read(b[:min(len(b), m.in.Buffered())])
	if err != nil || n == len(b) {
		return err
	}
	m.rest()
	_, err = io.ReadFull(m.conn, b[n:])
	m.begin()
	return err
}

// peek is bufio's Peek that ends the batch before it waits and begins one after it.
func (m *mux) peek(n int) ([]byte, error) {
	if m.in.Buffered() >= n {
		return m.in.Peek(n)
	}
	m.rest()
	b, err := m.in.Peek(n)
	m.begin()
	return b, err
}

// begin begins a batch: frames appended from now on leave with its replies.
func (m *mux) begin() {
	m.out.begin()
	m.batch = true
}

// rest ends the batch, before the reader waits: its replies go to the outbox.
func (m *mux) rest() {
	if m.batch {
		m.replies = m.out.end(m.replies)
		m.batch = false
	}
}

// fail completes every call under way with err, and refuses later ones.
func (m *mux) fail(err error) {
	m.mu.Lock()
	m.err = err
	table := m.table
	m.table = nil
	m.mu.Unlock()
	m.out.fail(err)
	m.out.wake()
	<-m.out.done
	for _, w := range table {
		switch {
		case w.call != nil:
			w.call.reply, w.call.err = nil, err
			w.call.ready <- struct{}{}
		case w.done != nil:
			w.done(nil, err)
		}
	}
}
