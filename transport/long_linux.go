//go:build linux && !portable

package transport

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/wire"
)

// maxAssemblies is how many messages in parts a peer may have begun at a time.
const maxAssemblies = 1024

// firstGrowth is the memory, in bytes, that a long body gets before any of it has been read; after
// that it doubles with what comes in.
const firstGrowth = 64 << 10

// beginLong begins on the frame at in.r: from now on its body is read to where it belongs. It does
// not begin on a frame that can just as well be waited for. false for ok ends the connection.
func (c *econn) beginLong(h wire.Header) (begun, ok bool) {
	if h.Length <= longBody {
		return false, true
	}
	in := &c.in
	body := in.buf[in.r+wire.HeaderSize : in.w]
	if !metaThere(body) && !c.continues(h) {
		return false, true
	}
	skip := 0
	switch h.Flags &^ wire.Part {
	case wire.FlagsReply, wire.FlagsError:
		skip, ok = c.aimReply(h, body)
	default:
		skip, ok = c.aimAssembly(h, body)
	}
	if !ok {
		return false, false
	}
	in.head, in.busy = h, true
	in.rest = int(h.Length) - skip
	in.r += wire.HeaderSize + skip
	return true, true
}

// metaThere says whether the start of a body has all of the meta, or shows that it is malformed.
func metaThere(body []byte) bool {
	n, k := wire.ParseUvarint(body)
	return k < 0 || k > 0 && (n > wire.MaxMeta || uint64(len(body)-k) >= n)
}

// continues says whether a frame goes on with a message whose first frame was there.
func (c *econn) continues(h wire.Header) bool {
	if h.Flags&(wire.Request|wire.Oneway) != 0 {
		return c.assemblyOf(h) != nil
	}
	s := c.calls.find(h.ID)
	return s == nil || s.phase(h.ID) != phaseWaiting
}

// aimReply points the inbox to the call that a reply is for. It returns how many bytes of body are
// not payload.
func (c *econn) aimReply(h wire.Header, body []byte) (skip int, ok bool) {
	in := &c.in
	in.slot, in.asm, in.slotID = c.calls.find(h.ID), nil, h.ID
	s := in.slot
	if s != nil && s.move(h.ID, phasePartial, phaseFilling) {
		ok = s.goesOn(h)
		s.move(h.ID, phaseFilling, phasePartial)
		if !ok {
			c.violation(errPartsMixed)
		}
		return 0, ok
	}
	if s == nil || !s.move(h.ID, phaseWaiting, phaseFilling) {
		return 0, true
	}
	meta, payload, err := wire.ParseBody(body)
	if err != nil {
		s.move(h.ID, phaseFilling, phaseWaiting)
		c.violation(err)
		return 0, false
	}
	s.code = wire.CodeOK
	if h.Flags&wire.Error != 0 {
		s.code = codeOf(meta.Code)
	}
	s.reply = s.buf[:0]
	s.move(h.ID, phaseFilling, phasePartial)
	return len(body) - len(payload), true
}

// aimAssembly points the inbox to the message that a frame of a call or oneway belongs to.
func (c *econn) aimAssembly(h wire.Header, body []byte) (skip int, ok bool) {
	in := &c.in
	in.slot = nil
	cost := int64(wire.HeaderSize) + int64(h.Length)
	if !c.receive(cost) {
		return 0, false
	}
	a := c.assemblyOf(h)
	if a == nil {
		a, skip, ok = c.beginAssembly(h, body)
		if !ok {
			return 0, false
		}
		n := firstGrowth
		if len(in.asms) == 1 {
			n, in.trusted = max(n, in.trusted), 0
		}
		if h.Flags&wire.Part == 0 {
			n = min(n, int(h.Length)-skip)
		}
		c.reserve(a, n)
	}
	a.cost += cost
	in.asm = a
	return skip, true
}

// assemblyOf finds the message that a frame goes on with.
func (c *econn) assemblyOf(h wire.Header) *assembly {
	for _, a := range c.in.asms {
		if a.head.ID == h.ID && a.head.Flags&^wire.Part == h.Flags&^wire.Part {
			return a
		}
	}
	return nil
}

// beginAssembly begins a message with its first frame, of whose body at least the meta is there.
func (c *econn) beginAssembly(h wire.Header, body []byte) (a *assembly, skip int, ok bool) {
	in := &c.in
	meta, payload, err := wire.ParseBody(body)
	if err != nil {
		c.violation(err)
		return nil, 0, false
	}
	if n, limit := len(in.asms), min(maxAssemblies, c.set.Limits.MaxCalls); n >= limit {
		c.violation(&LimitError{What: "messages in parts under way", Value: int64(n) + 1,
			Limit: int64(limit)})
		return nil, 0, false
	}
	files, ok := c.claimFiles(meta.Files)
	if !ok {
		return nil, 0, false
	}
	skip = len(body) - len(payload)
	a = in.spare
	if a == nil {
		a = &assembly{}
	}
	in.spare = nil
	*a = assembly{head: h, files: files, meta: a.meta[:0]}
	if skip > 1 {
		a.meta = append(a.meta, body[:skip]...)
	}
	in.asms = append(in.asms, a)
	return a, skip, true
}

// reserve gives a room for n more bytes, which may be fewer than are to come. When a budget of
// memory is spent the message is refused: what comes of it is thrown away. A foreign one ends the
// connection.
func (c *econn) reserve(a *assembly, n int) bool {
	if a.refused != nil {
		return true
	}
	need := len(a.buf) + n
	if need <= cap(a.buf) {
		return true
	}
	if len(a.buf) > 0 {
		need = max(need, 2*len(a.buf))
	}
	b := c.pub.group.buffer(need)
	if err := c.hold(int64(cap(b) - cap(a.buf))); err != nil {
		c.pub.group.putBuffer(b)
		if c.mode == modeForeign {
			c.kill(err)
			return false
		}
		c.dropAssembly(a)
		a.refused = err
		return true
	}
	b = append(b[:0], a.buf...)
	c.pub.group.putBuffer(a.buf)
	a.buf = b
	return true
}

// fillLong reads once to where the body of the long frame belongs.
func (c *econn) fillLong() (int, unix.Errno) {
	in := &c.in
	if a := in.asm; a != nil && a.refused == nil {
		if len(a.buf) == cap(a.buf) && !c.reserve(a, min(in.rest, max(firstGrowth, len(a.buf)))) {
			return 0, unix.ENOMEM
		}
		if a.refused != nil {
			return c.skipLong()
		}
		n, e := c.recv(a.buf[len(a.buf):min(cap(a.buf), len(a.buf)+in.rest)])
		a.buf = a.buf[:len(a.buf)+n]
		in.rest -= n
		return n, e
	}
	s := in.slot
	if s == nil || !s.move(in.slotID, phasePartial, phaseFilling) {
		return c.skipLong()
	}
	if len(s.reply) == cap(s.reply) {
		s.reply = grow(s.reply, min(in.rest, max(firstGrowth, len(s.reply))))
	}
	at := len(s.reply)
	n, e := c.recv(s.reply[at:min(cap(s.reply), at+in.rest)])
	s.reply = s.reply[:at+n]
	in.rest -= n
	s.move(in.slotID, phaseFilling, phasePartial)
	return n, e
}

// skipLong reads once what nobody wants.
func (c *econn) skipLong() (int, unix.Errno) {
	in := &c.in
	n, e := c.recv(in.buf[:min(in.rest, len(in.buf))])
	in.rest -= n
	return n, e
}

// grow returns b with room for n more bytes, in new memory.
func grow(b []byte, n int) []byte {
	return append(make([]byte, 0, len(b)+n), b...)
}

// takeBuffered moves what the inbox holds of the long frame's body to where it belongs.
func (c *econn) takeBuffered() {
	in := &c.in
	n := min(in.rest, in.w-in.r)
	if n == 0 {
		return
	}
	b := in.buf[in.r : in.r+n]
	in.r += n
	in.rest -= n
	if a := in.asm; a != nil {
		if c.reserve(a, n) && a.refused == nil {
			a.buf = append(a.buf, b...)
		}
		return
	}
	if s := in.slot; s != nil && s.move(in.slotID, phasePartial, phaseFilling) {
		s.reply = append(s.reply, b...)
		s.move(in.slotID, phaseFilling, phasePartial)
	}
}

// endLong is called when the body of the long frame is all there; false ends the connection.
func (c *econn) endLong() bool {
	in := &c.in
	h, a, s := in.head, in.asm, in.slot
	in.busy, in.long = false, true
	in.asm, in.slot = nil, nil
	if c.dead() {
		return false
	}
	if c.set.Hooks.Trace != nil && c.mode == modeNative {
		c.traceIn(h, int(h.Length))
	}
	switch {
	case a != nil && c.mode == modeForeign:
		return c.foreignLong(a)
	case a != nil:
		return c.endPart(h, a)
	case s == nil:
		c.count.late.Add(1)
		return true
	}
	return c.endReplyPart(h, s)
}

// endPart is called when a frame of a message is all there.
func (c *econn) endPart(h wire.Header, a *assembly) bool {
	if len(a.buf) > c.set.Limits.MaxBody {
		c.violation(&LimitError{What: "body bytes", Value: int64(len(a.buf)),
			Limit: int64(c.set.Limits.MaxBody)})
		return false
	}
	if h.Flags&wire.Part != 0 {
		return true
	}
	c.removeAssembly(a)
	if a.refused != nil {
		if h.Flags&wire.Request != 0 {
			c.refuse(h.ID, wire.CodeOverloaded, a.refused.Error())
		}
		c.giveBack(a.cost)
		return true
	}
	r := &c.loop.serve.req
	r.meta, c.loop.serve.metaSet = wire.Meta{}, true
	if len(a.meta) > 0 {
		r.meta, _, _ = wire.ParseBody(a.meta) // it was parsed before
	}
	c.in.trusted = len(a.buf)
	c.holdAnyway(-int64(cap(a.buf)))
	c.serve(a.head, a.buf, a.buf, a.files, a.cost)
	a.buf, a.files = nil, nil
	c.in.spare = a
	return true
}

func (c *econn) removeAssembly(a *assembly) {
	for i, x := range c.in.asms {
		if x == a {
			c.in.asms = append(c.in.asms[:i], c.in.asms[i+1:]...)
			return
		}
	}
}

// endReplyPart is called when a frame of a long reply is all there.
func (c *econn) endReplyPart(h wire.Header, s *slot) bool {
	if s.move(h.ID, phasePartial, phaseFilling) {
		if n := len(s.reply); n > c.set.Limits.MaxBody {
			s.move(h.ID, phaseFilling, phasePartial)
			c.violation(&LimitError{What: "body bytes", Value: int64(n),
				Limit: int64(c.set.Limits.MaxBody)})
			return false
		}
		if h.Flags&wire.Part != 0 {
			s.move(h.ID, phaseFilling, phasePartial)
			return true
		}
		c.endReply(s, h.ID)
		return true
	}
	if h.Flags&wire.Part == 0 {
		c.late(s, h.ID)
	}
	return true
}

// part handles a frame that is whole in the inbox and belongs to a message in parts.
func (c *econn) part(h wire.Header, body []byte) bool {
	switch h.Flags &^ wire.Part {
	case wire.FlagsReply, wire.FlagsError:
		skip, ok := c.aimReply(h, body)
		s := c.in.slot
		c.in.slot = nil
		if !ok || s == nil {
			return ok
		}
		if s.move(h.ID, phasePartial, phaseFilling) {
			s.reply = append(s.reply, body[skip:]...)
			s.move(h.ID, phaseFilling, phasePartial)
		}
		return c.endReplyPart(h, s)
	}
	skip, ok := c.aimAssembly(h, body)
	a := c.in.asm
	c.in.asm = nil
	if !ok || !c.reserve(a, len(body)-skip) {
		return false
	}
	if a.refused == nil {
		a.buf = append(a.buf, body[skip:]...)
	}
	return c.endPart(h, a)
}

// abandon drops the message with this id that is half here, because its sender takes it back.
func (c *econn) abandon(id uint32) bool {
	for _, a := range c.in.asms {
		if a.head.ID != id || a.head.Flags&wire.Request == 0 {
			continue
		}
		c.removeAssembly(a)
		c.dropAssembly(a)
		c.giveBack(a.cost)
		c.refuse(id, wire.CodeCanceled, context.Canceled.Error())
		return true
	}
	return false
}

func (c *econn) dropAssembly(a *assembly) {
	closeFiles(a.files)
	c.holdAnyway(-int64(cap(a.buf)))
	c.pub.group.putBuffer(a.buf)
	a.buf, a.files = nil, nil
	c.count.drops.Add(1)
}
