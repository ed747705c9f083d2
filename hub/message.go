package hub

import (
	"fmt"

	"github.com/pithos-ipc/pithos/hub/internal/js"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// message takes one MSG_UP of p, and sends it on to whom it is for.
func (c *core) message(p *peer, t *turn, id uint32, raw []byte) {
	c.stats.messages.Add(1)
	t.id = id
	m := &t.message
	js.Fields(raw, messageKeys, m[:])
	remote, need := m[messageRemote], js.Truthy(m[messageNeedReply])
	all := js.Truthy(m[messageBroadcast])
	if all && !js.Truthy(remote) {
		c.broadcast(p, t, id, raw, need)
		return
	}
	t.scratch = t.wanted.parse(remote, t.scratch[:0])
	if t.wanted.all() {
		c.sweep() // everybody is meant, who has just connected too
	}
	c.mu.Lock()
	if p.gone.Load() || c.closed { // the connection ends, or has ended
		c.unlock()
		return
	}
	var jobs []job
	var r *route
	if isNothing(remote) {
		t.found.reset()
	} else {
		r, jobs = c.chooseLocked(t, all)
	}
	if len(t.found.targets) == 0 {
		empty := len(c.table.order) == 0
		c.unlock()
		if taps := c.taps.on(); taps != nil {
			c.passDown(taps, p, t, r, raw)
		}
		c.notFound(p, t, id, remote, need, empty)
		c.deliver(jobs)
		return
	}
	var b *batch
	if need {
		var err error
		if b, err = c.openLocked(p, t, r, id, all); err != nil {
			c.unlock()
			c.stats.refused.Add(1)
			c.fail(p, t, id, "RangeError", fmt.Append(nil, err))
			c.deliver(jobs)
			return
		}
	} else {
		c.numberLocked(t)
	}
	c.unlock()
	raw = t.share(p, raw)
	c.down(jobs, p, t, r, raw)
	for _, to := range t.natives {
		c.down1(p, t, r, to, b, id, need, raw)
	}
}

// chooseLocked puts into t.found whom t.wanted selects: all of them, or the one whose turn it is.
// Native ones go to t.natives, and those are left out who have turned out to be native without
// being online.
func (c *core) chooseLocked(t *turn, all bool) (r *route, jobs []job) {
	r = c.routeLocked(&t.wanted, t)
	r.calls.Add(1)
	s := c.currentLocked(r)
	for c.retireTargetsLocked(&jobs, s.targets) {
		s = c.currentLocked(r)
	}
	t.found.reset()
	targets := s.targets
	if n := len(targets); !all && n > 0 {
		i := 0
		if n > 1 {
			i = r.picker.Pick(s.set, 0)
		}
		targets = targets[i : i+1]
	}
	t.found.targets = append(t.found.targets, targets...)
	for _, to := range targets {
		if to.peer.member != nil {
			t.natives = append(t.natives, to)
		} else {
			t.found.peers = append(t.found.peers, to.peer)
		}
	}
	return r, jobs
}

// retireTargetsLocked is retireLocked for targets.
func (c *core) retireTargetsLocked(jobs *[]job, targets []*target) (some bool) {
	for _, to := range targets {
		if p := to.peer; p.member == nil && !p.spoken.Load() && p.link.native() {
			*jobs = c.dropLocked(*jobs, p)
			some = true
		}
	}
	return some
}

// down1 sends the message to a native provider.
func (c *core) down1(p *peer, t *turn, r *route, to *target, b *batch, id uint32, need bool,
	raw []byte) {
	c.stats.delivered.Add(1)
	var f *flight
	if need {
		f = c.newFlight(p, r, to, r.object.method(t.counted()))
		f.ask.id, f.ask.batch = id, b
		f.ask.host = append(f.ask.host[:0], t.message[messageHost]...)
		if ticket := f.ticket; !p.flights.enter(f) {
			f.Canceled(ticket, transport.ErrConnLost)
		}
	}
	if b != nil || js.Truthy(t.message[messageBroadcast]) {
		r = nil
	}
	c.downNative(p, t, r, to, f, raw)
}

// notFound answers a message for which there is nobody, if it wants an answer. A remote that is
// missing is a TypeError in Pandora, unless there is nothing to compare it with.
func (c *core) notFound(p *peer, t *turn, id uint32, remote []byte, need, empty bool) {
	c.stats.notFound.Add(1)
	if !need {
		return
	}
	if isNothing(remote) && !empty {
		t.scratch = appendNoProperty(t.scratch[:0], remote, selectorKeys[0])
		c.fail(p, t, id, "TypeError", t.scratch)
		return
	}
	t.scratch = appendNotFound(t.scratch[:0], remote)
	c.fail(p, t, id, "Error", t.scratch)
}

// broadcast sends a message to every connection, those included that were made just before it, and
// answers at once.
func (c *core) broadcast(p *peer, t *turn, id uint32, raw []byte, need bool) {
	c.stats.broadcasts.Add(1)
	c.sweep()
	var jobs []job
	t.found.reset()
	c.mu.Lock()
	if !p.gone.Load() && !c.closed {
		c.everybodyLocked(t, &jobs)
	}
	c.numberLocked(t)
	c.unlock()
	raw = t.share(p, raw)
	c.down(jobs, p, t, nil, raw)
	for _, to := range t.natives {
		c.downNative(p, t, nil, to, nil, raw)
	}
	if need {
		c.succeed(p, t, id)
	}
}

// everybodyLocked puts all peers into t.found.
func (c *core) everybodyLocked(t *turn, jobs *[]job) {
	for again := true; again; again = c.retireLocked(jobs, t.found.peers) {
		t.found.peers = append(t.found.peers[:0], c.peers...)
	}
	t.found.reset()
	for _, p := range c.peers {
		t.found.targets = append(t.found.targets, &p.self)
		if p.member != nil {
			t.natives = append(t.natives, &p.self)
		} else {
			t.found.peers = append(t.found.peers, p)
		}
	}
}

// numberLocked gives each of those that were found its id of the frame, where no reply is due.
func (c *core) numberLocked(t *turn) {
	t.ids = t.ids[:0]
	for _, to := range t.found.peers {
		t.ids = append(t.ids, to.unusedID())
	}
}

// openLocked enters a call for each of Pandora's providers that were found, which gives the ids of
// the frames, and the batch that all replies go into.
func (c *core) openLocked(p *peer, t *turn, r *route, id uint32, all bool) (*batch, error) {
	n := len(t.found.targets)
	if asking, limit := p.askingLocked()+n, c.limits.MaxPending; asking > limit {
		return nil, fmt.Errorf("calls without a reply: %d, limit %d", asking, limit)
	}
	var b *batch
	if all {
		b = &batch{ask: asker{peer: p, id: id}, left: n, none: true, limit: c.limits.MaxBatch}
		b.body = appendBatchHead(nil, id, t.message[messageHost])
	}
	t.ids = t.ids[:0]
	if len(t.found.peers) == 0 {
		return b, nil
	}
	wait := parseTimeout(t.message[messageTimeout])
	wait.keep()
	m := r.object.method(t.counted())
	now := c.arrived(p)
	for _, to := range t.found.peers {
		call := c.pending.open(p, id, to, wait, now)
		call.ask.batch, call.method = b, m
		m.begin()
		to.self.load.Begin()
		t.ids = append(t.ids, call.id)
	}
	c.armLocked()
	return b, nil
}

// down writes the message to Pandora's peers among t.found, and then the jobs.
func (c *core) down(jobs []job, p *peer, t *turn, r *route, raw []byte) {
	if taps := c.taps.on(); taps != nil {
		c.passDown(taps, p, t, r, raw)
	}
	b := body{shared: t.shared}
	if b.shared == nil {
		b.pieces = t.framed(downHead, raw)
	}
	for i, to := range t.found.peers {
		if err := to.sendBody(t.ids[i], b); err != nil {
			jobs = c.cut(jobs, to, err)
			continue
		}
		c.stats.delivered.Add(1)
	}
	c.deliver(jobs)
}

// passDown shows a message of Pandora's to those who tap, once for each receiver; a broadcast only
// once.
func (c *core) passDown(taps *[]*Tap, p *peer, t *turn, r *route, raw []byte) {
	e := passage{kind: callKind(!js.Truthy(t.message[messageNeedReply])), at: c.arrived(p),
		id: t.id, from: p, copies: 1, object: r.name(), payload: raw,
		method: t.called()}
	if r == nil || len(t.found.targets) == 0 {
		e.copies = len(t.found.targets)
		e.pass(taps)
		return
	}
	for _, to := range t.found.targets {
		e.to = to.peer
		e.pass(taps)
	}
}

// called is the method that the message calls, or else what it asks for, as calledBy says of native
// ones.
func (t *turn) called() []byte {
	for _, k := range [...]int{messageProperty, messageRegister} {
		if name := t.text(t.message[k]); len(name) > 0 {
			return name
		}
	}
	return t.text(t.message[messageAction])
}

// counted is the method under which the message is counted, as countedBy says of native ones.
func (t *turn) counted() []byte {
	a := t.text(t.message[messageAction])
	if len(a) == 0 || string(a) == ActionInvoke {
		return t.text(t.message[messageProperty])
	}
	return a
}

// answer hands the reply package of a provider to the caller that waits for it.
func (c *core) answer(p *peer, t *turn, id uint32, pkg []byte) {
	o := parseOutcome(pkg)
	c.mu.Lock()
	call := p.waiting[id]
	if call == nil {
		c.unlock()
		c.stats.lateReplies.Add(1)
		return
	}
	at := c.arrived(p)
	ask, took, method := call.ask, at-call.start, call.method
	c.forgetCallLocked(call, at, o.code != wire.CodeOK)
	c.unlock()
	if taps := c.taps.on(); taps != nil && !spent(taps) {
		e := passage{kind: replyKind(o.code != wire.CodeOK), code: o.code, at: at, id: id,
			from: p, to: ask.peer, copies: 1, payload: pkg, took: took, counted: true}
		e.object, e.called = method.names()
		e.sent = ask.id
		if ask.held.Valid() {
			e.sent = ask.held.ID()
		}
		e.pass(taps)
	}
	c.stats.answered.Add(1)
	if ask.peer.member != nil {
		c.answerNative(&ask, p, o)
		return
	}
	if ask.batch != nil {
		ask.batch.addPackage(c, pkg)
		return
	}
	if err := ask.peer.send(ask.peer.id(), t.reply(ask.id, pkg)); err != nil {
		c.deliver(c.cut(nil, ask.peer, err))
	}
}
