//go:build linux && !portable

package transport

import (
	"fmt"

	"github.com/pithos-ipc/pithos/wire"
)

// early handles the frame at in.r on a connection that is not native, or not known to be. readEmpty
// says that more of it has to come first.
func (c *econn) early(h wire.Header) outcome {
	switch c.mode {
	case modeForeign:
		return c.foreign(h)
	case modeGreeting:
		return c.greeted(h)
	}
	in := &c.in
	hello := h.Flags == wire.FlagsControl && h.ID == 0 && h.Length > 0 &&
		h.Length <= wire.MaxControl
	if !hello && c.set.Foreign == nil {
		c.violation(fmt.Errorf("first frame is not a hello: flags 0x%02x, id %d, length %d",
			uint8(h.Flags), h.ID, h.Length))
		return readOver
	}
	if h.Length == 0 {
		in.r += wire.HeaderSize // an empty frame decides nothing
		c.count.framesIn.Add(1)
		return readSome
	}
	if !hello {
		c.mode = modeForeign
		return c.foreign(h)
	}
	body, ok := c.body(h)
	if !ok {
		return readEmpty
	}
	if !wire.IsHello(h, body) {
		if c.set.Foreign == nil {
			c.violation(&wire.SyntaxError{What: "hello magic", Offset: wire.HeaderSize})
			return readOver
		}
		c.mode = modeForeign
		return c.foreign(h)
	}
	in.r += wire.HeaderSize + len(body)
	c.count.framesIn.Add(1)
	return c.hello(body)
}

// body returns the body of the frame at in.r, if it is all there.
func (c *econn) body(h wire.Header) ([]byte, bool) {
	in := &c.in
	at := in.r + wire.HeaderSize
	if in.w-at < int(h.Length) {
		return nil, false
	}
	end := at + int(h.Length)
	return in.buf[at:end:end], true
}

// hello answers the hello of a client.
func (c *econn) hello(body []byte) outcome {
	h, err := wire.ParseHello(body)
	if err != nil {
		c.violation(err)
		return readOver
	}
	v, err := h.Negotiate(wire.MinVersion, wire.Version)
	if err != nil {
		c.refuse(0, wire.CodeVersion, err.Error())
		c.flush(flushBudget)
		c.kill(err)
		return readOver
	}
	answer := c.set.hello()
	answer.MinVersion, answer.MaxVersion = v, v
	answer.Capabilities &= h.Capabilities
	offer := c.offerLane(h.Capabilities)
	if offer != nil {
		answer.Capabilities |= wire.CapLane
	}
	if c.movesAtAll() {
		answer.Capabilities |= h.Capabilities & wire.CapPlace
	}
	if c.dead() {
		return readOver
	}
	c.out.putRaw(c.pub.group, answer.AppendTo(nil))
	if offer != nil {
		c.out.putParcel(c.pub.group, &c.out.urgent, offer)
	}
	c.dirty = true
	c.goNative(h, answer.Capabilities)
	return readSome
}

// greeted handles the answer to this side's hello.
func (c *econn) greeted(h wire.Header) outcome {
	in := &c.in
	if h.Flags == 0 && !c.in.busy {
		in.r += wire.HeaderSize // a broadcast for Pandora's clients
		in.head, in.rest, in.busy = h, int(h.Length), true
		return readSome
	}
	if h.Length > wire.MaxControl || h.Flags != wire.FlagsControl && h.Flags != wire.FlagsError {
		c.violation(fmt.Errorf("answer to the hello: flags 0x%02x, length %d", uint8(h.Flags),
			h.Length))
		return readOver
	}
	body, ok := c.body(h)
	if !ok {
		return readEmpty
	}
	in.r += wire.HeaderSize + len(body)
	c.count.framesIn.Add(1)
	if h.Flags == wire.FlagsError {
		meta, text, err := wire.ParseBody(body)
		switch {
		case err != nil:
			c.violation(err)
		case meta.Code == wire.CodeVersion:
			c.kill(fmt.Errorf("%w: %s", wire.ErrNoVersion, text))
		default:
			c.kill(remoteError(meta.Code, text))
		}
		return readOver
	}
	answer, err := wire.ParseHello(body)
	if err == nil {
		_, err = answer.Negotiate(wire.MinVersion, wire.Version)
	}
	if err != nil {
		c.violation(err)
		return readOver
	}
	if c.lane.due && answer.Capabilities&wire.CapLane == 0 {
		c.lane.due = false
		if !c.noLane("the peer offers none") {
			return readOver
		}
	}
	c.goNative(answer, answer.Capabilities)
	return readSome
}

// goNative takes over what the peer said about itself.
func (c *econn) goNative(h wire.Hello, caps wire.Capabilities) {
	c.mode = modeNative
	c.side.files = caps&wire.CapFiles != 0 && c.set.Limits.MaxFiles > 0
	c.side.places = caps&wire.CapPlace != 0
	c.side.peerMax.Store(h.MaxBody)
	k := &c.calls
	k.mu.Lock()
	k.peerCalls, k.bytes = int(h.Calls), int64(min(h.Bytes, 1<<50))
	k.most = k.bytes
	k.mu.Unlock()
	c.side.native.Store(true)
	if !c.lane.due {
		c.ready()
	}
}

// foreign hands a frame of a connection that is not native to its handler.
func (c *econn) foreign(h wire.Header) outcome {
	in := &c.in
	if int64(h.Length) > int64(c.set.Limits.MaxBody) {
		c.violation(&LimitError{What: "body bytes", Value: int64(h.Length),
			Limit: int64(c.set.Limits.MaxBody)})
		return readOver
	}
	body, ok := c.body(h)
	if !ok {
		if h.Length <= longBody {
			return readEmpty
		}
		in.asm = &assembly{head: h}
		in.head, in.rest, in.busy = h, int(h.Length), true
		in.r += wire.HeaderSize
		n := min(in.rest, max(firstGrowth, in.trusted))
		in.trusted = 0
		if !c.reserve(in.asm, n) {
			return readOver
		}
		return readSome
	}
	in.r += wire.HeaderSize + len(body)
	return c.foreignFrame(h, body)
}

func (c *econn) foreignFrame(h wire.Header, body []byte) outcome {
	c.count.framesIn.Add(1)
	if t := c.set.Hooks.Trace; t != nil {
		t(Event{Conn: c.pub, Header: h, Size: len(body)})
	}
	if len(body) > 0 {
		if err := c.set.Foreign.Frame(c.pub, wire.Frame{Header: h, Body: body}); err != nil {
			c.kill(err)
		}
	}
	if c.dead() {
		return readOver
	}
	return readSome
}

// foreignLong is foreignFrame for a body that was read to memory of its own.
func (c *econn) foreignLong(a *assembly) bool {
	c.in.trusted = len(a.buf)
	o := c.foreignFrame(a.head, a.buf)
	c.holdAnyway(-int64(cap(a.buf)))
	c.pub.group.putBuffer(a.buf)
	return o == readSome
}
