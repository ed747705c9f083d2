package transport

import (
	"errors"
	"fmt"
	"time"

	"github.com/pithos-ipc/pithos/wire"
)

var (
	errNoHello   = errors.New("transport: first frame is no hello")
	errHelloAnew = errors.New("transport: second hello")
	errTwice     = errors.New("transport: id of a call that is still being served")
	errParts     = errors.New("transport: part does not continue the body that it belongs to")
)

// handle does what a frame asks for. An error ends the connection.
func (e *portable) handle(f frame) error {
	e.mu.Lock()
	p := e.life.phase
	e.mu.Unlock()
	switch {
	case p == phaseForeign:
		return e.handleForeign(f)
	case p == phaseOpening && e.set.server:
		return e.handleFirst(f)
	case p == phaseOpening:
		return e.handleAnswer(f)
	}
	switch f.Flags &^ wire.Part {
	case wire.FlagsControl:
		e.trace(false, f.Header, len(f.Body))
		return e.handleControl(f)
	case wire.FlagsCall, wire.FlagsOneway:
		return e.handleRequest(f)
	}
	return e.handleReply(f)
}

// handleFirst decides by the first frame of a client what the connection is.
func (e *portable) handleFirst(f frame) error {
	if e.set.Foreign != nil {
		if len(f.Body) == 0 {
			return nil
		}
		if !wire.IsHello(f.Header, f.Body) {
			e.mu.Lock()
			e.life.phase = phaseForeign
			e.mu.Unlock()
			return e.handleForeign(f)
		}
	}
	if !wire.IsHello(f.Header, f.Body) {
		return &ProtocolError{errNoHello}
	}
	e.trace(false, f.Header, len(f.Body))
	peer, err := wire.ParseHello(f.Body)
	if err != nil {
		return &ProtocolError{err}
	}
	version, err := peer.Negotiate(wire.MinVersion, wire.Version)
	if err != nil {
		e.farewell(wire.CodeVersion, err.Error())
		return err
	}
	answer := e.hello
	answer.MinVersion, answer.MaxVersion = version, version
	e.becomeNative(peer, controlMessage(answer.AppendTo(nil)))
	return nil
}

// becomeNative takes over what the peer said in its hello; answer, if any, is sent first.
func (e *portable) becomeNative(peer wire.Hello, answer *message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.life.phase = phaseNative
	e.life.peer = peer
	e.life.files = peer.Capabilities&e.hello.Capabilities&wire.CapFiles != 0
	e.life.due, e.life.late = time.Time{}, nil
	e.in.files = e.life.files
	e.calls.credit = int64(min(peer.Bytes, 1<<62))
	e.armLocked()
	if answer != nil {
		e.pushLocked(answer)
	}
}

// farewell writes an error frame as the last thing, past the outbox. The few bytes fit into the
// socket of a peer that has not been written to.
func (e *portable) farewell(code wire.Code, text string) {
	_ = e.nc.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = e.nc.Write(refusal(code, text))
}

// refusal is the frame that ends a connection before its hello is answered.
func refusal(code wire.Code, text string) []byte {
	m := wire.Meta{Code: code}
	text = text[:min(len(text), wire.MaxControl)]
	return wire.Frame{Header: wire.Header{Flags: wire.FlagsError},
		Body: append(m.AppendTo(nil), text...)}.AppendTo(nil)
}

// handleAnswer waits, as a client, for the answer to hello.
func (e *portable) handleAnswer(f frame) error {
	if f.Flags == 0 {
		return nil // a server that is compatible with Pandora may broadcast before it knows us
	}
	e.trace(false, f.Header, len(f.Body))
	if f.Flags == wire.FlagsError {
		meta, text, err := wire.ParseBody(f.Body)
		if err != nil {
			return &ProtocolError{err}
		}
		if meta.Code == wire.CodeVersion {
			return fmt.Errorf("%w: %s", wire.ErrNoVersion, text)
		}
		return remoteError(meta.Code, text)
	}
	if !wire.IsHello(f.Header, f.Body) {
		return &ProtocolError{errNoHello}
	}
	peer, err := wire.ParseHello(f.Body)
	if err != nil {
		return &ProtocolError{err}
	}
	if _, err := peer.Negotiate(wire.MinVersion, wire.Version); err != nil {
		return err
	}
	e.becomeNative(peer, nil)
	return nil
}

// handleForeign hands a frame of a peer that is not native to the user.
func (e *portable) handleForeign(f frame) (err error) {
	if len(f.Body) == 0 {
		return nil
	}
	e.trace(false, f.Header, len(f.Body))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("transport: frame handler panicked: %v", p)
		}
	}()
	err = e.set.Foreign.Frame(e.conn, f.Frame)
	if raceEnabled {
		spoil(f.Body)
	}
	return err
}

func (e *portable) handleControl(f frame) error {
	kind, rest, err := wire.ParseControl(f.Body)
	if err != nil {
		return &ProtocolError{err}
	}
	switch kind {
	case wire.KindHello:
		return &ProtocolError{errHelloAnew}
	case wire.KindPing:
		return e.answerPing(f.ID)
	case wire.KindPong:
		e.takePong(f.ID)
	case wire.KindCancel:
		e.cancelInside(f.ID)
	case wire.KindCredit:
		n, err := wire.ParseCredit(rest)
		if err != nil {
			return &ProtocolError{err}
		}
		e.takeCredit(n)
	case wire.KindDrain:
		e.takeDrain()
	}
	return nil // what is not known is skipped
}

// handleRequest takes one frame of a call or oneway of the peer.
func (e *portable) handleRequest(f frame) error {
	size := int64(wire.HeaderSize + len(f.Body))
	e.mu.Lock()
	err := e.inside.takeLocked(size, e.set)
	e.mu.Unlock()
	if err != nil {
		return err
	}
	body, whole, err := e.assemble(f, size)
	if err != nil || !whole {
		return err
	}
	return e.serve(f.Header, body)
}

// handleReply takes one frame of a reply.
func (e *portable) handleReply(f frame) error {
	e.mu.Lock()
	c := e.calls.table[f.ID]
	known := c != nil && (c.state == callSent || c.state == callTomb)
	e.mu.Unlock()
	if !known {
		e.count.drops.Add(1)
		if f.Flags&wire.Part == 0 {
			e.count.lateReplies.Add(1)
		}
		return nil
	}
	body, whole, err := e.assemble(f, 0)
	if err != nil || !whole {
		return err
	}
	return e.takeReply(f.Header, body)
}
