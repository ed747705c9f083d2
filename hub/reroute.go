package hub

import (
	"context"
	"time"

	"github.com/pithos-ipc/pithos/transport"
)

// withdraw takes the calls and oneways for to out that are not being sent, in order.
func (b *backlog) withdraw(c *core, to *target) (out []*waiting) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var prev *waiting
	for w := b.head; w != nil; w = w.next {
		if w.to != to || w.route == nil || prev == nil && b.busy {
			prev = w
			continue
		}
		if prev == nil {
			b.head = w.next
		} else {
			prev.next = w.next
		}
		if b.tail == w {
			b.tail = prev
		}
		b.tookLocked(w)
		c.queued.Add(-w.size)
		out = append(out, w)
	}
	return out
}

// reroute sends what waits for to, which takes no more, to others that its routes find. Nothing of
// it was begun. What finds nobody else is answered.
func (c *core) reroute(to *target) {
	if to.peer.member == nil {
		return
	}
	for _, w := range to.peer.member.backlog.withdraw(c, to) {
		if s := c.current(w.route); len(s.targets) == 0 {
			c.lose(&to.peer.member.backlog, w, errNobody)
		} else {
			c.stats.rerouted.Add(1)
			c.redirect(w, s.targets[w.route.picker.Pick(s.set, w.m.Key)])
		}
		w.m.Shared.Release()
	}
	c.pump(to.peer) // there may be room for those who hold back
}

// redirect sends w to another target.
func (c *core) redirect(w *waiting, next *target) {
	if !w.by.IsZero() {
		if w.m.Timeout = time.Until(w.by); w.m.Timeout <= 0 {
			c.lose(&w.to.peer.member.backlog, w, transport.ErrDeadline)
			return
		}
	}
	if next.peer.member == nil {
		if err := c.relay(w, next); err != nil {
			c.lose(&w.to.peer.member.backlog, w, err)
		}
		return
	}
	w.m.Route = next.pub
	f := w.f
	if f == nil {
		c.post(w.route, next, &w.m)
		return
	}
	f.to.load.Drop()
	f.to.ended()
	f.mu.Lock()
	f.to = next
	canceled := f.canceled
	f.mu.Unlock()
	next.load.Begin()
	if canceled {
		f.end(context.Canceled)
		return
	}
	c.launch(f, &w.m)
}

// relay sends w to a provider of Pandora's, in the form that it would have had at first. What a
// flight knows of a call, the pending call knows from then on; the flight only hears of its cancel.
func (c *core) relay(w *waiting, next *target) error {
	t := c.turns.Get().(*turn)
	defer c.putTurn(t)
	pieces, err := c.recompose(t, w)
	if err != nil {
		return err
	}
	if n := size(pieces); n > c.limits.MaxBody {
		return &transport.LimitError{What: "body bytes", Value: int64(n),
			Limit: int64(c.limits.MaxBody)}
	}
	if w.f == nil {
		c.sendPandora(next.peer, body{pieces: pieces})
		return nil
	}
	f := w.f
	wait := timeout{ms: maxTimeout.Seconds() * 1000}
	if !w.by.IsZero() {
		wait.ms = w.m.Timeout.Seconds() * 1000
	}
	ticket := c.tickets.Add(1)
	c.mu.Lock()
	if next.peer.gone.Load() || c.closed {
		c.unlock()
		return errNobody
	}
	call := c.pending.open(f.ask.peer, f.ask.id, next.peer, wait, c.now())
	call.ask, call.ticket, call.method, call.start = f.ask, ticket, f.method, f.start
	if call.flight = f; f.ask.peer.member == nil {
		call.timeout = f.wait
		f.leave()
	}
	id := call.id
	c.askers[ticket] = call
	c.stats.flights.handed.Add(1)
	next.load.Begin()
	c.armLocked()
	c.unlock()
	w.to.load.Drop()
	w.to.ended()
	if f.relayed(w.ticket, ticket) {
		c.Canceled(ticket, context.Canceled)
	}
	if err := next.peer.send(id, pieces); err != nil {
		c.deliver(c.cut(nil, next.peer, err))
		return nil
	}
	c.stats.delivered.Add(1)
	return nil
}

// recompose makes the body for a provider of Pandora's of what has waited for a native one.
func (c *core) recompose(t *turn, w *waiting) ([][]byte, error) {
	c.mu.Lock()
	from, host := c.peerLocked(w.m.Caller), ""
	if from != nil {
		host = from.name
	}
	c.unlock()
	switch {
	case from != nil && from.member != nil:
		host = from.member.location
	case from != nil && wholeMessage(string(w.m.Action)):
		return t.framed(downHead, w.m.Body), nil
	case w.f != nil && len(w.f.ask.host) > 0:
		host = string(w.f.ask.host)
	case location(host) == nil: // it was cut, or is none
		host = ""
	}
	return t.compose(host, &w.m, w.route.raw, w.f != nil, false)
}
