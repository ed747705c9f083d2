package transport

import "github.com/pithos-ipc/pithos/wire"

// portPhase is what is known about the peer.
//
//	          hello                     A hello comes from the server's client, or is the answer
//	opening ---------> native           to the client's own.
//	   |
//	   |  first frame that is no hello
//	   +-----------------------------> foreign    One that dials with Foreign begins there.
type portPhase uint8

const (
	phaseOpening portPhase = iota // nothing came that decides
	phaseNative                   // hello was said both ways
	phaseForeign                  // frames go to Options.Foreign as they are
)

// callState is where a call of this side stands.
//
//	        begin           reply             copied
//	unsent -------> sent ----------> filling --------> gone
//	  |              |                                  ^ ^
//	  | give up      | give up               reply      | |
//	  |              +--------------> tomb -------------+ |
//	  +---------------------------------------------------+
//
// The end of the connection takes every call out of the table; a reply that is being copied then is
// finished first, as both happen on the loop.
type callState uint8

const (
	callUnsent  callState = iota // waits for room, or in the outbox, and no byte of it is written
	callSent                     // the writer has begun it
	callFilling                  // its reply is being handed over
	callTomb                     // given up; its one reply is still due
	callGone                     // out of the table
)

// callEvent is what happens to a call.
type callEvent uint8

const (
	eventBegin  callEvent = iota // the writer takes the first bytes
	eventReply                   // the reply is there, whole
	eventGiveUp                  // cancelled, or its time is over
	eventCopied                  // the reply is handed over
)

// callSteps is what each event makes of each state; refused events are not in it.
var callSteps = [...]map[callEvent]callState{
	callUnsent:  {eventBegin: callSent, eventGiveUp: callGone},
	callSent:    {eventReply: callFilling, eventGiveUp: callTomb},
	callFilling: {eventCopied: callGone},
	callTomb:    {eventReply: callGone},
	callGone:    {},
}

// next returns the state after ev; false says that ev changes nothing in state s.
func (s callState) next(ev callEvent) (callState, bool) {
	t, ok := callSteps[s][ev]
	if !ok {
		return s, false
	}
	return t, true
}

// headerError judges a header before any of its body is read.
func (e *portable) headerError(h wire.Header) error {
	e.mu.Lock()
	p := e.life.phase
	e.mu.Unlock()
	limit := uint32(e.set.Limits.MaxBody)
	switch {
	case p == phaseForeign, p == phaseOpening && e.set.server && e.set.Foreign != nil:
	case p == phaseOpening && !e.set.server && h.Flags == 0: // skipped
	case p == phaseOpening && !e.set.server && h.Flags == wire.FlagsError && h.ID == 0:
		limit = wire.MaxControl + wire.MaxMeta
	case p == phaseOpening:
		if h.Flags != wire.FlagsControl || h.ID != 0 {
			return &ProtocolError{errNoHello}
		}
		limit = wire.MaxControl
	default:
		if err := h.Flags.Check(); err != nil {
			return &ProtocolError{err}
		}
		limit = e.set.maxFrame
		if h.Flags == wire.FlagsControl {
			limit = wire.MaxControl
		}
	}
	if h.Length > limit {
		return &ProtocolError{&LimitError{What: "body bytes", Value: int64(h.Length),
			Limit: int64(limit)}}
	}
	return nil
}
