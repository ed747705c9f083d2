//go:build linux && !portable

package transport

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/wire"
)

// check judges a message before anything is sent, and joins its timeout with that of ctx.
func (c *econn) check(ctx context.Context, m *Message) (timeout time.Duration, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if timeout = timeoutOf(ctx, m.Timeout); timeout < 0 {
		return 0, context.DeadlineExceeded
	}
	return timeout, c.sendable(m)
}

// sendable judges a message before anything is sent.
func (c *econn) sendable(m *Message) error {
	if c.dead() {
		return c.err()
	}
	if !c.native() {
		return ErrNotNative
	}
	if len(m.Method) > wire.MaxMethod {
		return &LimitError{"method bytes", int64(len(m.Method)), wire.MaxMethod}
	}
	if len(m.Trace) > wire.MaxTrace {
		return &LimitError{"trace bytes", int64(len(m.Trace)), wire.MaxTrace}
	}
	if n := len(m.Action); n > wire.MaxAction {
		return &LimitError{"action bytes", int64(n), wire.MaxAction}
	}
	if n := len(m.Selector); n > wire.MaxSelector {
		return &LimitError{"selector bytes", int64(n), wire.MaxSelector}
	}
	if n, limit := m.size(), c.peerMaxBody(); uint64(n) > uint64(limit) {
		return &LimitError{"body bytes", int64(n), int64(limit)}
	}
	if len(m.Files) == 0 {
		return nil
	}
	if !c.side.files {
		return ErrNoFiles
	}
	if n, limit := len(m.Files), c.set.Limits.MaxFiles; n > limit {
		return &LimitError{"descriptors with one frame", int64(n), int64(limit)}
	}
	return nil
}

// submit queues a call or oneway, whose frames have cost bytes. The memory of a long body is lent
// by the parcel that it returns, until that is withdrawn.
func (c *econn) submit(f wire.Flags, id uint32, m *Message, meta *wire.Meta, cost int64,
	corked bool) (*parcel, error) {
	if m.Fill != nil {
		return nil, c.submitFilled(f, id, m, meta, corked)
	}
	n := m.size()
	if n <= copyMax && len(m.Files) == 0 {
		h := wire.Header{Flags: f, ID: id, Length: uint32(cost - wire.HeaderSize)}
		if c.direct(h, meta, m.Body, m.Gather, corked) {
			return nil, nil
		}
		if corked {
			c.out.putCorked(c.pub.group, corkNormal, h, meta, m.Body, m.Gather)
		} else {
			c.out.put(c.pub.group, &c.out.normal, h, meta, m.Body, m.Gather)
		}
		return nil, nil
	}
	if corked {
		c.out.uncork()
	}
	files, err := duplicateFiles(m.Files)
	if err != nil {
		return nil, err
	}
	p := c.pub.group.parcel()
	p.flags, p.id, p.split, p.left, p.files = f, id, true, n, files
	p.meta = meta.AppendTo(p.meta[:0])
	if c.putParcel(p, m) {
		return nil, nil
	}
	return p, nil
}

// putParcel queues p with the payload of m. If that is shared, p is its own owner.
func (c *econn) putParcel(p *parcel, m *Message) (shared bool) {
	p.setPieces(m.Body, m.Gather)
	if shared = m.Shared != nil; shared {
		p.shared = m.Shared.Retain()
		p.state.Store(parcelDisowned)
	}
	c.out.putParcel(c.pub.group, &c.out.normal, p)
	return shared
}

// takeUp frees the slot of a call that could not be submitted. It reports false when the connection
// has ended meanwhile, and the call with it: who waits for it, or its callback, hears of that.
func (c *econn) takeUp(s *slot, id uint32, cost int64) bool {
	if !s.move(id, phaseWaiting, phaseDone) {
		return false
	}
	c.calls.release(c, s, cost)
	return true
}

// duplicateFiles copies descriptors, so that they stay open until they are sent.
func duplicateFiles(files []File) ([]int, error) {
	var fds []int
	for _, f := range files {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		runtime.KeepAlive(f)
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			return nil, err
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

func (c *econn) start(m Message, buf []byte, done func([]byte, error)) (uint32, error) {
	return c.callWith(&m, buf, done)
}

// callWith sends a call whose outcome goes to a callback.
func (c *econn) callWith(m *Message, buf []byte, done func([]byte, error)) (uint32, error) {
	if err := c.sendable(m); err != nil {
		return 0, err
	}
	timeout := m.Timeout
	var meta wire.Meta
	m.meta(&meta, timeout)
	cost := m.cost(&meta)
	here := c.loop.here()
	var s *slot
	if here && !c.ending.closing.Load() {
		s = c.stash.take(c, cost)
	}
	if s == nil {
		var err error
		if s, err = c.calls.acquire(c, cost); err != nil {
			return 0, err
		}
	}
	id := s.id
	s.buf, s.callback = buf, done
	s.long = m.inParts(cost)
	var until int64
	if timeout > 0 {
		until = nanotime() + int64(timeout)
	}
	if err := c.calls.open(c, s, id, until, cost); err != nil {
		return 0, err
	}
	p, err := c.submit(wire.FlagsCall, id, m, &meta, cost, here)
	if err != nil {
		if c.takeUp(s, id, cost) {
			return 0, err
		}
		return id, nil
	}
	c.sent(p, here)
	c.unpark()
	return id, nil
}

// cancel takes a call with a callback back.
func (c *econn) cancel(id uint32) {
	if c.loop.here() {
		c.cancelHere(id)
		return
	}
	c.loop.call(func() { c.cancelHere(id) })
}

// cancelAll takes all calls with a callback back.
func (c *econn) cancelAll() {
	c.loop.call(func() {
		c.calls.each(func(s *slot) { c.cancelHere(uint32(s.state.Load() >> phaseBits)) })
	})
}

// cancelHere is cancel on the loop.
func (c *econn) cancelHere(id uint32) {
	s := c.calls.find(id)
	if s == nil || !s.calls.Load() {
		return
	}
	if at := s.phase(id); at == phaseWaiting || at == phasePartial {
		c.entomb(s, id, at, context.Canceled)
	}
}

// sent flushes what a call or oneway queued, and takes lent memory back by copying what is left.
func (c *econn) sent(p *parcel, here bool) {
	if p == nil && here {
		c.dirtyNow()
		c.relay(corkNormal)
		return
	}
	if !c.flush(flushBudget) {
		c.armWrite()
	}
	if p != nil {
		c.lend(p)
	}
}

// lend copies what is not written of p, which is its own owner from now on.
func (c *econn) lend(p *parcel) {
	c.withdraw(p, false)
	if !p.state.CompareAndSwap(parcelLent, parcelDisowned) {
		c.pub.group.putParcel(p) // it was written
	}
}

// post sends a oneway.
func (c *econn) post(ctx context.Context, m Message, wait bool) error {
	timeout, err := c.check(ctx, &m)
	if err != nil {
		return err
	}
	var meta wire.Meta
	m.meta(&meta, timeout)
	cost := m.cost(&meta)
	err = c.calls.spend(c, cost)
	if err == ErrFull && wait {
		if c.loop.here() {
			return ErrOnLoop
		}
		_, err = c.calls.wait(ctx, c, cost, false, timeout)
	}
	if err != nil {
		return err
	}
	id := uint32(0)
	if m.inParts(cost) {
		id = c.side.parts.Add(1)
	}
	here := c.loop.here()
	p, err := c.submit(wire.FlagsOneway, id, &m, &meta, cost, here)
	if err != nil {
		return err
	}
	c.sent(p, here)
	return nil
}

// writeFrame queues a frame as it is.
func (c *econn) writeFrame(h wire.Header, m *Message) error {
	if c.dead() {
		return c.err()
	}
	if c.native() {
		return ErrNative
	}
	n := m.size()
	if limit := c.set.Limits.MaxBody; n > limit {
		return &LimitError{"body bytes", int64(n), int64(limit)}
	}
	if frames, bytes := c.out.load(); frames > 0 && c.set.Limits.much(bytes+int64(n)) &&
		c.out.refuses(&c.set.Limits, bytes+int64(n), c.count.bytesOut.Load()) {
		return ErrFull
	}
	h.Length = uint32(n)
	if n <= copyMax {
		c.out.put(c.pub.group, &c.out.normal, h, nil, m.Body, m.Gather)
		c.flushSoon()
		return nil
	}
	p := c.pub.group.parcel()
	p.flags, p.id, p.left = h.Flags, h.ID, n
	shared := c.putParcel(p, m)
	if !c.flush(flushBudget) {
		c.armWrite()
	}
	if !shared {
		c.lend(p)
	}
	return nil
}
