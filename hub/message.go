package hub

import (
	"fmt"

	"github.com/pithos-ipc/pithos/hub/internal/js"
)

// message takes one MSG_UP of p, and sends it on to whom it is for.
func (c *core) message(p *peer, t *turn, id uint32, raw []byte) {
	c.stats.messages.Add(1)
	m := &t.message
	js.Fields(raw, messageKeys, m[:])
	remote, need := m[messageRemote], js.Truthy(m[messageNeedReply])
	all := js.Truthy(m[messageBroadcast])
	if all && !js.Truthy(remote) {
		c.broadcast(p, t, id, raw, need)
		return
	}
	t.scratch = t.wanted.parse(remote, t.scratch[:0])
	c.mu.Lock()
	if p.gone.Load() || c.closed { // the connection ends, or has ended
		c.mu.Unlock()
		return
	}
	var jobs []job
	if isNothing(remote) {
		t.found.reset()
	} else {
		jobs = c.findLocked(t)
	}
	if len(t.found.peers) == 0 {
		empty := len(c.table.routes) == 0
		c.mu.Unlock()
		c.notFound(p, t, id, remote, need, empty)
		c.deliver(jobs)
		return
	}
	if !all {
		c.pickLocked(t)
	}
	if need {
		if err := c.openLocked(p, t, id, all); err != nil {
			c.mu.Unlock()
			c.stats.refused.Add(1)
			c.fail(p, t, id, "RangeError", fmt.Append(nil, err))
			c.deliver(jobs)
			return
		}
	} else {
		c.numberLocked(t)
	}
	c.mu.Unlock()
	c.down(jobs, t, raw)
}

// findLocked puts into t.found whom t.wanted selects, without those who have turned out to be
// native.
func (c *core) findLocked(t *turn) (jobs []job) {
	for {
		c.table.find(&t.wanted, &t.found)
		if !c.retireLocked(&jobs, t.found.peers) {
			return jobs
		}
	}
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
		for again := true; again; again = c.retireLocked(&jobs, t.found.peers) {
			t.found.peers = append(t.found.peers[:0], c.peers...)
		}
	}
	c.numberLocked(t)
	c.mu.Unlock()
	c.down(jobs, t, raw)
	if need {
		c.succeed(p, t, id)
	}
}

// pickLocked leaves one of those that were found, whose turn it is.
func (c *core) pickLocked(t *turn) {
	if len(t.found.peers) == 1 {
		return
	}
	// The texts of wanted may lie in scratch, so the key goes behind them.
	start := len(t.scratch)
	t.scratch = t.wanted.appendKey(t.scratch)
	key := t.scratch[start:]
	picker := c.pickers[string(key)]
	if picker == nil {
		if len(c.pickers) >= maxPickers {
			clear(c.pickers)
		}
		picker = c.picker()
		c.pickers[string(key)] = picker
	}
	t.found.keep(picker.Pick(t.found.set, 0))
}

// numberLocked gives each of those that were found its id of the frame, where no reply is due.
func (c *core) numberLocked(t *turn) {
	t.ids = t.ids[:0]
	for _, to := range t.found.peers {
		t.ids = append(t.ids, to.unusedID())
	}
}

// openLocked enters a call for each of those that were found, which gives the ids of the frames.
func (c *core) openLocked(p *peer, t *turn, id uint32, all bool) error {
	n := len(t.found.peers)
	if limit := c.limits.MaxPending; p.asking+n > limit {
		return fmt.Errorf("calls without a reply: %d, limit %d", p.asking+n, limit)
	}
	var b *batch
	if all {
		b = &batch{left: n, none: true, limit: c.limits.MaxBatch}
		b.body = appendBatchHead(nil, id, t.message[messageHost])
	}
	wait := parseTimeout(t.message[messageTimeout])
	wait.keep()
	now := c.now()
	t.ids = t.ids[:0]
	for _, to := range t.found.peers {
		call := c.pending.open(p, id, to, wait, now)
		call.batch = b
		t.ids = append(t.ids, call.id)
	}
	c.armLocked()
	return nil
}

// down writes the message to all of t.found, and then the jobs.
func (c *core) down(jobs []job, t *turn, raw []byte) {
	pieces := t.framed(downHead, raw)
	for i, to := range t.found.peers {
		if err := to.send(t.ids[i], pieces); err != nil {
			jobs = c.cut(jobs, to, err)
			continue
		}
		c.stats.delivered.Add(1)
	}
	c.deliver(jobs)
}

// answer hands the reply package of a provider to the caller that waits for it.
func (c *core) answer(p *peer, t *turn, id uint32, pkg []byte) {
	c.mu.Lock()
	call := p.waiting[id]
	if call == nil {
		c.mu.Unlock()
		c.stats.lateReplies.Add(1)
		return
	}
	c.pending.settle(call)
	caller, callerID, b := call.caller, call.callerID, call.batch
	c.pending.recycle(call)
	last := b == nil || b.add(pkg)
	c.mu.Unlock()
	c.stats.replies.Add(1)
	if !last {
		return
	}
	var err error
	if b != nil {
		err = caller.send(caller.id(), t.whole(b.reply(callerID)))
	} else {
		err = caller.send(caller.id(), t.reply(callerID, pkg))
	}
	if err != nil {
		c.deliver(c.cut(nil, caller, err))
	}
}
