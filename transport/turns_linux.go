//go:build linux && !portable

package transport

import "runtime"

// takeForLoop takes the read lease for the loop, if it is free.
func (c *econn) takeForLoop() bool {
	return c.in.lease.CompareAndSwap(leaseArmed, leaseLoop) ||
		c.in.lease.CompareAndSwap(leaseParked, leaseLoop)
}

// turn reads once, with the read lease in the loop's hands, and decides who reads next.
func (c *econn) turn() { c.after(c.readGuarded()) }

// hotTurn is turn for a connection that the loop kept; it reports whether something came.
func (c *econn) hotTurn() bool {
	o := c.readGuarded()
	if o == readSome && (c.in.busy || c.in.w > relayMost) {
		c.loop.spin.asked += paces[overRing].epoll / 4 // that took a while: the others' turn
	}
	if c.dirty { // by a callback of another connection
		c.dirty = false
		c.flushOrArm()
	}
	if o == readEmpty && !c.out.broken.Load() && !c.ending.dead.Load() {
		before := c.count.bytesOut.Load()
		if c.out.stalled.Load() {
			c.out.stalled.Store(false)
			c.flushOrArm()
		}
		c.loop.addHot(c) // its place was free a moment ago
		return c.count.bytesOut.Load() != before
	}
	c.after(o)
	return o == readSome
}

func (c *econn) after(o outcome) {
	if o == readSome && c.forOne() {
		c.leave()
		return
	}
	if c.dirty {
		c.dirty = false
		c.flushOrArm()
	} else {
		c.stash.giveBack(c)
	}
	c.yieldToWoken()
	switch {
	case c.ending.dead.Load() || o == readOver:
		c.in.lease.Store(leaseArmed) // free for the reaper
	case o == readEmpty && c.out.broken.Load():
		c.kill(c.ending.cause.Load().err)
		c.in.lease.Store(leaseArmed)
	case o == readEmpty || !c.loop.keepHot(c):
		c.cool()
	}
}

// unpark has epoll report what is to come, when no caller is about to read it.
func (c *econn) unpark() {
	if c.in.lease.Load() == leaseParked && c.in.lease.CompareAndSwap(leaseParked, leaseArmed) {
		c.armRead()
	}
}

// For how many ticks a connection is not parked: after a request of the peer's, so that only the
// first one of many has to wait for a tick; after a leader met what he may not handle.
const (
	manyTicks = 250
	fewTicks  = 1
)

// lonely is after how many reads in a row for a single caller the loop leaves the reading to him.
const lonely = 4

// forOne says that the last reads of the loop brought nothing but the reply that a single caller
// waited for, so that he can as well read himself.
func (c *econn) forOne() bool {
	p, in := &c.lead, &c.in
	if p.woken == 0 && !c.dirty && (!in.busy || in.leads()) {
		return false // a piece of a long reply, or credit, says nothing
	}
	if p.woken != 1 || c.dirty || in.busy || in.r != in.w || c.out.pending.Load() ||
		c.calls.waiting() > 1 {
		p.lone = 0
		return false
	}
	if p.lone++; p.lone < lonely {
		return false
	}
	p.lone = 0
	if n := p.inbound.Load(); n > fewTicks {
		p.inbound.Store(n - 1)
		return false
	}
	return true
}

// leave gives the read lease to the next caller: epoll stays silent for the while.
func (c *econn) leave() {
	p := &c.lead
	p.due.Add(int32(p.woken))
	p.woken = 0
	p.collects.Store(false)
	if !c.flush(flushBudget) {
		c.armWrite()
	}
	p.seen.Store(p.uses.Load())
	if !p.inPark.Load() {
		p.inPark.Store(true)
		c.loop.park(c)
	}
	c.stash.giveBack(c)
	c.in.release(c.pub.group)
	c.in.lease.Store(leaseParked)
	if (c.calls.waiting() > 1 || c.dead()) && c.takeForLoop() {
		c.cool()
	}
	runtime.Gosched() // he was made ready on this processor, where the loop would spin now
}

// cool gives the read lease back and has epoll report again.
func (c *econn) cool() {
	if c.dirty {
		c.dirty = false
		c.flushOrArm()
	}
	c.in.release(c.pub.group)
	c.in.lease.Store(leaseArmed)
	c.arm(true, c.out.stalled.Load())
}

// readGuarded is read for the loop. A handler that panics fails its call, not the process, and what
// is in the inbox behind its frame is handled as if nothing had happened.
func (c *econn) readGuarded() outcome {
	for {
		if o, panicked := c.tryRead(); !panicked {
			return o
		}
		c.in.left = true
	}
}

func (c *econn) tryRead() (o outcome, panicked bool) {
	c.loop.reading = c
	defer func() {
		c.loop.reading = nil
		r := c.loop.serve.handling
		if r == nil {
			return
		}
		c.loop.serve.handling = nil
		r.panicked(recover())
		c.served(r)
		o, panicked = readSome, true
	}()
	if c.ending.dead.Load() {
		return readOver, false
	}
	return c.read(false), false
}
