package hub

import (
	"time"

	"github.com/pithos-ipc/pithos/wire"
)

// passage is a message that passes the hub, as a tap gets to see it. What it refers to is borrowed.
type passage struct {
	kind    wire.TapKind
	from    *peer  // who calls, or replies
	to      *peer  // who is called, or gets the reply
	object  string // that was asked for, or ""
	method  string
	payload []byte // of Pandora's messages and replies the whole package
	code    wire.Code
	took    time.Duration // of a reply: since the call
}

// passing returns the tap, or nil: one atomic load, which is all that a message pays without one.
func (c *core) passing() func(*passage) {
	if f := c.tap.Load(); f != nil {
		return *f
	}
	return nil
}

func callKind(oneway bool) wire.TapKind {
	if oneway {
		return wire.TapOneway
	}
	return wire.TapCall
}

func replyKind(failed bool) wire.TapKind {
	if failed {
		return wire.TapError
	}
	return wire.TapReply
}
