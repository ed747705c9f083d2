//go:build linux && !portable

package transport

import (
	"github.com/pithos-ipc/pithos/wire"
)

// The door without copies. A body that Message.Fill or Request.Fill makes is written where the peer
// reads it; what is long enough for SocketOptions.InPlace is handed to handlers and callbacks where
// the peer wrote it.
//
//	Fill -> | header | meta, padding | payload, aligned to 8 | -> handler, until it returns
//
// Whoever fills has the write lease meanwhile, whoever reads has the read lease, so that the memory
// stays until both are back.

// padMost is the longest padding, in bytes: field fieldPad of the meta, of 2 to 9.
const (
	padMost   = 9
	fieldPad  = 63
	shortMeta = 127 // longest meta whose length is one byte
)

// padding is how long it has to be for a payload that would begin at position at.
func padding(at uint64) int {
	n := int(-at & 7)
	if n == 1 {
		n += 8 // a field takes two
	}
	return n
}

// cost is what a message takes of the peer's credit. One that is filled may be padded; what it did
// not need comes back at once.
func (m *Message) cost(meta *wire.Meta) int64 {
	n := int64(frameSize(meta.Size(), m.size(), true))
	if m.Fill != nil {
		n += padMost
	}
	return n
}

// inParts says whether a message of that cost travels in several frames.
func (m *Message) inParts(cost int64) bool {
	if m.Fill != nil {
		cost -= padMost
	}
	return cost > wire.HeaderSize+wire.PartSize
}

// fillRing writes a frame whose payload of n bytes fill makes into the ring, when there is room and
// nothing waits before it. It returns the length of the frame; 0 says that it did not.
func (c *econn) fillRing(f wire.Flags, id uint32, meta *wire.Meta, n int, fill func([]byte),
) (total int, err error) {
	o := &c.out
	if !c.lane.up.Load() {
		return 0, nil
	}
	if o.pending.Load() && !c.flush(flushBudget) {
		c.armWrite()
	}
	if o.pending.Load() || !o.lease.CompareAndSwap(false, true) {
		return 0, nil
	}
	defer c.letGoOfWrites()
	r := c.lane.out
	most := wire.HeaderSize + meta.Size() + padMost + n
	if most > int(r.size) || o.pending.Load() {
		return 0, nil
	}
	if free, err := r.free(most); free < most || err != nil {
		return 0, nil // the queue tells of errors
	}
	b := appendPadded(r.room(most)[:wire.HeaderSize], meta, r.at)
	at := len(b)
	if err := guardFill(fill, b[at:at+n:at+n]); err != nil {
		return 0, err
	}
	h := wire.Header{Flags: f, ID: id, Length: uint32(at + n - wire.HeaderSize)}
	h.Put(b)
	r.at += uint64(at + n)
	c.publish()
	c.count.framesOut.Add(1)
	c.count.bytesOut.Add(uint64(at + n))
	if o.trace != nil {
		o.trace(Event{Out: true, Header: h, Size: int(h.Length)})
	}
	return at + n, nil
}

// appendPadded appends the encoded meta to b, which begins at position at, so that what follows it
// is aligned.
func appendPadded(b []byte, meta *wire.Meta, at uint64) []byte {
	begin := len(b)
	b = meta.AppendTo(b)
	pad := padding(at + uint64(len(b)))
	length := int(b[begin]) + pad
	if pad == 0 || length > shortMeta {
		return b
	}
	b[begin] = byte(length)
	b = append(b, fieldPad<<1|1, byte(pad-2))
	for range pad - 2 {
		b = append(b, 0)
	}
	return b
}

// submitFilled is submit for a message that is filled. Without room in a ring it goes the way of
// one whose body was copied.
func (c *econn) submitFilled(f wire.Flags, id uint32, m *Message, meta *wire.Meta, corked bool,
) error {
	if corked {
		c.out.uncork()
	}
	spare := m.cost(meta)
	n, err := 0, error(nil)
	if len(m.Files) == 0 {
		n, err = c.fillRing(f, id, meta, m.Size, m.Fill)
	}
	if n > 0 {
		spare -= int64(n)
	} else if err == nil {
		spare = padMost
		err = c.submitBuffer(f, id, m, meta)
	}
	if err == nil {
		c.calls.credit(c, uint64(spare))
	}
	return err
}

// submitBuffer fills a buffer and queues it.
func (c *econn) submitBuffer(f wire.Flags, id uint32, m *Message, meta *wire.Meta) error {
	g := c.pub.group
	b := g.buffer(max(m.Size, 1))[:m.Size]
	if err := guardFill(m.Fill, b); err != nil {
		g.putBuffer(b)
		return err
	}
	files, err := duplicateFiles(m.Files)
	if err != nil {
		g.putBuffer(b)
		return err
	}
	p := g.parcel()
	p.flags, p.id, p.split, p.left, p.files = f, id, true, m.Size, files
	p.meta = meta.AppendTo(p.meta[:0])
	c.putOwned(&c.out.normal, p, b)
	return nil
}

// putOwned queues a parcel with a payload that nobody else has.
func (c *econn) putOwned(q *queue, p *parcel, b []byte) {
	p.setPieces(b, nil)
	p.owned = b
	p.state.Store(parcelDisowned)
	c.out.putParcel(c.pub.group, q, p)
}

// replyFilled sends a reply that is filled.
func (c *econn) replyFilled(r *Request, m *wire.Meta, f *replyFrame) {
	g := c.pub.group
	n, err := c.fillRing(f.flags(), r.id, m, f.room, f.fill)
	if n > 0 {
		return
	}
	b := g.buffer(max(f.room, 1))[:f.room]
	if err == nil {
		err = guardFill(f.fill, b)
	}
	p := g.parcel()
	p.flags, p.id, p.split = f.flags(), r.id, true
	if err != nil {
		m.Code, p.flags = wire.CodeInternal, wire.FlagsError
		b = append(b[:0], err.Error()...)
	}
	p.left = len(b)
	p.meta = m.AppendTo(p.meta[:0])
	c.putOwned(&c.out.urgent, p, b)
}

// borrowed says whether the frame at the start of the ring is one that is handed over where it
// lies, and handles it. Loop only, with nothing in the inbox.
func (c *econn) borrow() (o outcome, done bool) {
	r := c.lane.in
	least := c.set.Socket.InPlace
	n, _ := r.unread()
	if least <= 0 || n < max(least, wire.HeaderSize+maxUvarint) || c.in.busy ||
		c.in.r != c.in.w {
		return readEmpty, false
	}
	var head [wire.HeaderSize + maxUvarint]byte
	copy(head[:], r.peek(len(head)))
	h, _ := wire.ParseHeader(head[:])
	meta, k := wire.ParseUvarint(head[wire.HeaderSize:])
	if int64(h.Length) < int64(max(least, maxUvarint)) ||
		int64(n) < wire.HeaderSize+int64(h.Length) || k <= 0 || meta > wire.MaxMeta ||
		uint64(k)+meta > uint64(h.Length) || !c.mayBorrow(h) {
		return readEmpty, false
	}
	if !c.fits(h) {
		return readOver, true
	}
	c.laneSeen()
	total, at := wire.HeaderSize+int(h.Length), wire.HeaderSize+k+int(meta)
	frame := r.peek(total)
	c.lane.meta = append(c.lane.meta[:0], frame[wire.HeaderSize:at]...)
	c.lane.borrowed = total
	c.pub.stamp = 0
	c.count.bytesIn.Add(uint64(total))
	c.count.framesIn.Add(1)
	if c.set.Hooks.Trace != nil {
		c.traceIn(h, int(h.Length))
	}
	ok := c.inPlace(h, frame[at:total:total])
	c.giveRingBack()
	if !ok || c.dead() {
		return readOver, true
	}
	return readSome, true
}

// mayBorrow says whether a frame is for a handler, or for a callback without a buffer.
func (c *econn) mayBorrow(h wire.Header) bool {
	switch h.Flags {
	case wire.FlagsCall, wire.FlagsOneway:
		return len(c.in.asms) == 0 || c.assemblyOf(h) == nil
	case wire.FlagsReply:
		s := c.calls.find(h.ID)
		return s != nil && s.calls.Load() && s.phase(h.ID) == phaseWaiting && s.buf == nil
	}
	return false
}

// inPlace hands payload over, which lies in the ring. Its meta was copied out, and is parsed from
// there.
func (c *econn) inPlace(h wire.Header, payload []byte) bool {
	meta, rest, err := wire.ParseBody(c.lane.meta)
	if err == nil && len(rest) > 0 {
		err = errRing // it has changed since its length was read
	}
	if err != nil {
		c.violation(err)
		return false
	}
	if h.Flags != wire.FlagsReply {
		c.loop.serve.req.meta, c.loop.serve.metaSet = meta, true
		return c.admit(h, payload, wire.HeaderSize+int64(h.Length))
	}
	s := c.calls.find(h.ID)
	done := s.callback
	if !s.move(h.ID, phaseWaiting, phaseDone) {
		c.late(s, h.ID)
		return true
	}
	if !c.stash.keep(s) {
		c.calls.release(c, s, 0)
	}
	done(payload, nil)
	return true
}

// giveRingBack ends the loan of what was handed over in place.
func (c *econn) giveRingBack() {
	n := c.lane.borrowed
	c.lane.borrowed = 0
	if n > 0 && c.lane.in.consume(n) {
		c.ringBell()
	}
}
