package hub

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// flight is a call on its way to a native provider, and back. Flights are reused; the ticket tells
// one use from the next.
//
//	made -> sent ------------------> ended -> recycled
//	  |      ^  \ canceled: the provider is told, and ends it
//	  v      |
//	 waits in the provider's backlog; canceled: ended at once
//	  \ one of Pandora's providers gets it instead --> relayed --> retired, with the pending call
type flight struct {
	core   *core
	done   func([]byte, error) // ended; made once
	ask    asker
	to     *target
	route  *route
	method *method
	start  time.Duration // since the hub's start
	wait   timeout       // that a message of Pandora's gives the provider

	entered entered // among the flights of one of Pandora's peers

	mu       sync.Mutex
	ticket   uint64 // of this use; guarded by mu
	call     uint32 // at the provider's connection, once it is sent; guarded by mu
	sent     bool   // guarded by mu
	canceled bool   // guarded by mu
	pending  uint64 // the ticket of the pending call that has taken over, or 0; guarded by mu
}

// asker is who waits for a reply.
type asker struct {
	peer  *peer
	held  transport.Held // of a native one
	id    uint32         // of the message of Pandora's
	host  []byte         // that the message of Pandora's told; the asker's own
	batch *batch         // that the reply is a part of; nil: it is all
}

var (
	errProviderLost = errors.New("target disconnected before it answered")
	errClosing      = errors.New("hub is closing")
)

// spares are flights that are over, for the next calls on the loop that has them: to take one from
// there costs next to nothing.
type spares struct {
	core    *core
	flights []*flight
}

// maxSpares is how many flights a loop keeps.
const maxSpares = 512

// sparesOf are those of the loop of p, on which the caller runs; nil: there are none.
func (c *core) sparesOf(p *peer) *spares {
	s, ok := p.link.(*socket)
	if !ok {
		return nil
	}
	local := s.conn.Local()
	if local == nil {
		return nil
	}
	of, _ := (*local).(*spares)
	if of == nil && *local == nil {
		of = &spares{core: c}
		*local = of
	}
	if of == nil || of.core != c { // the loop has connections of another hub as well
		return nil
	}
	return of
}

// recycle gives f, which is over, to the next call: on the loop of p, or wherever.
func (f *flight) recycle(p *peer) {
	if p != nil {
		if s := f.core.sparesOf(p); s != nil && len(s.flights) < maxSpares {
			s.flights = append(s.flights, f)
			return
		}
	}
	f.core.flights.Put(f)
}

// newFlight makes a flight to to, and counts it there.
func (c *core) newFlight(p *peer, r *route, to *target, m *method) *flight {
	var f *flight
	if s := c.sparesOf(p); s != nil && len(s.flights) > 0 {
		last := len(s.flights) - 1
		f, s.flights = s.flights[last], s.flights[:last]
	} else {
		f = c.flights.Get().(*flight)
	}
	f.ask.peer, f.to, f.route, f.method, f.start = p, to, r, m, c.arrived(p)
	to.load.Begin()
	m.begin()
	c.stats.flights.launched.Add(1)
	return f
}

// launch sends m as f, or has it wait behind others.
func (c *core) launch(f *flight, m *transport.Message) {
	b := &f.to.peer.member.backlog
	route := f.route
	if f.ask.batch != nil {
		route = nil // others have got theirs
	}
	if b.some.Load() {
		c.queue(b, f, route, f.to, m)
		return
	}
	if err := f.send(m); err == transport.ErrFull {
		c.queue(b, f, route, f.to, m)
	} else if err != nil {
		f.end(err)
	}
}

// send hands m to the provider's connection.
func (f *flight) send(m *transport.Message) error {
	conn, ticket := f.to.peer.member.conn, f.ticket
	id, err := conn.Begin(m, nil, f.done)
	if err != nil {
		return err
	}
	f.mu.Lock()
	mine := f.ticket == ticket // if not, it has ended already
	cancel := mine && f.canceled
	if mine {
		f.call, f.sent = id, true
	}
	f.mu.Unlock()
	if cancel {
		conn.Cancel(id)
	}
	return nil
}

// Canceled is told by the caller's connection that nobody waits any more.
func (f *flight) Canceled(ticket uint64, cause error) {
	f.mu.Lock()
	if f.ticket != ticket {
		f.mu.Unlock()
		return
	}
	f.canceled = true
	call, sent, to, pending := f.call, f.sent, f.to, f.pending
	f.mu.Unlock()
	if pending != 0 {
		f.core.Canceled(pending, cause)
	} else if sent {
		to.peer.member.conn.Cancel(call)
	} else if to.peer.member.backlog.remove(f, ticket) {
		f.end(context.Canceled)
		f.core.pump(to.peer) // there may be room for those who hold back
	}
}

// takeBack ends a call that was taken back before it began to wait in b.
func (f *flight) takeBack(b *backlog, ticket uint64) {
	f.mu.Lock()
	canceled := f.ticket == ticket && f.canceled
	f.mu.Unlock()
	if canceled && b.remove(f, ticket) {
		f.end(context.Canceled)
	}
}

// relayed notes the ticket of the pending call that has taken this use over. It says whether the
// call was taken back before, of which the pending call has not heard.
func (f *flight) relayed(ticket, pending uint64) (canceled bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ticket != ticket { // it is over already
		return false
	}
	f.pending = pending
	return f.canceled
}

// retire ends a use that a pending call has taken over.
func (f *flight) retire() {
	f.mu.Lock()
	f.ticket++
	f.pending, f.canceled = 0, false
	f.mu.Unlock()
	f.ask = asker{host: f.ask.host[:0]}
	f.to, f.route, f.method = nil, nil, nil
	f.recycle(nil)
}

// leave takes a call of one of Pandora's peers out of those that are under way.
func (f *flight) leave() {
	if p := f.ask.peer; p.member == nil {
		p.flights.leave(f)
	}
}

// answered is the callback of the provider's connection.
func (f *flight) answered(reply []byte, err error) { f.over(f.to.peer, reply, err) }

// end ends a call that the provider has not answered.
func (f *flight) end(err error) { f.over(nil, nil, err) }

// over ends the call. The caller runs on the loop of p, if that is not nil.
func (f *flight) over(p *peer, reply []byte, err error) {
	f.mu.Lock()
	id := f.call
	f.ticket++
	f.call, f.sent, f.canceled = 0, false, false
	f.mu.Unlock()

	c, ask := f.core, f.ask
	f.leave()
	at := f.ended(err)
	if err != nil && c.closing.Load() {
		err = errClosing
	}
	took := at - f.start
	if err == nil {
		f.to.load.End(took)
		c.stats.replies.Add(1)
	} else {
		f.to.load.Drop()
		c.failed(err)
	}
	f.method.end(took, err != nil)
	if taps := c.taps.on(); taps != nil && !spent(taps) {
		e := passage{kind: replyKind(err != nil), at: at, id: id, from: f.to.peer, to: ask.peer,
			copies: 1, took: took, object: f.route.name(), payload: reply,
			counted: true}
		_, e.called = f.method.names()
		if ask.held.Valid() {
			e.sent = ask.held.ID()
		}
		if err != nil {
			e.code, _ = remoteCode(err)
		}
		e.pass(taps)
	}
	c.stats.flights.landed.Add(1)
	f.to.ended()
	from := f.to.peer
	f.ask = asker{host: ask.host[:0]}
	if err == nil {
		ask.reply(c, from, reply)
	} else {
		code, text := remoteCode(err)
		if code == wire.CodeDeadline && text == "" && ask.peer.member == nil {
			text = f.wait.over()
		}
		ask.fail(c, from, code, text)
	}
	f.to, f.route, f.method = nil, nil, nil
	f.recycle(p)
}

// ended is when the call was over: when its reply was read, or, without one, now.
func (f *flight) ended(err error) time.Duration {
	if _, replied := err.(*transport.RemoteError); err == nil || replied {
		return f.to.peer.member.conn.Arrival()
	}
	return f.core.now()
}

// failed counts the end of a call without a result.
func (c *core) failed(err error) {
	var remote *transport.RemoteError
	switch {
	case errors.As(err, &remote):
		c.stats.replies.Add(1)
	case errors.Is(err, transport.ErrDeadline):
		c.stats.timedOut.Add(1)
	case errors.Is(err, context.Canceled):
		c.stats.canceled.Add(1)
	case errors.Is(err, errRefused), errors.Is(err, errNobody), errors.Is(err, errClosing),
		errors.Is(err, errPayload):
	default:
		c.stats.lost.Add(1)
	}
}

// remoteCode is what a caller is told about err.
func remoteCode(err error) (wire.Code, string) {
	var remote *transport.RemoteError
	var limit *transport.LimitError
	switch {
	case errors.As(err, &remote):
		return remote.Code, remote.Text
	case errors.Is(err, transport.ErrDeadline):
		return wire.CodeDeadline, ""
	case errors.Is(err, context.Canceled):
		return wire.CodeCanceled, ""
	case errors.As(err, &limit):
		return wire.CodeTooLarge, err.Error()
	case errors.Is(err, errRefused):
		return wire.CodeOverloaded, err.Error()
	case errors.Is(err, errNobody):
		return wire.CodeNoRoute, err.Error()
	case errors.Is(err, errPayload):
		return wire.CodeInvalid, err.Error()
	case errors.Is(err, errClosing), errors.Is(err, transport.ErrDraining):
		return wire.CodeDraining, err.Error()
	}
	return wire.CodePeerLost, errProviderLost.Error()
}

// reply hands the payload of a native provider's reply to the asker.
func (a *asker) reply(c *core, from *peer, payload []byte) {
	switch {
	case a.batch != nil && a.batch.native:
		a.batch.addResult(c, from.seq, wire.CodeOK, payload)
	case a.held.Valid():
		answerHeld(a.held, payload)
	default:
		c.replyPandora(a, from, payload)
	}
}

// answerHeld replies; a payload that the caller does not take is an error of its own.
func answerHeld(h transport.Held, payload []byte) {
	if err := h.Reply(payload); err != nil {
		if limit, ok := err.(*transport.LimitError); ok {
			_ = h.Fail(wire.CodeTooLarge, limit.Error())
		}
	}
}

// fail tells the asker that there is no result.
func (a *asker) fail(c *core, from *peer, code wire.Code, text string) {
	switch {
	case a.batch != nil && a.batch.native:
		a.batch.addResult(c, from.seq, code, []byte(text))
	case a.held.Valid():
		_ = a.held.Fail(code, text)
	default:
		c.failPandora(a, from, code, text)
	}
}
