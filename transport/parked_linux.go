//go:build linux && !portable

package transport

import (
	"sync"
	"sync/atomic"
	"time"
)

// tick is how often the connections of a loop that are parked are looked after.
const tick = 4 * time.Millisecond

// parked are the connections that epoll is silent about, or whose leader may not be alone with
// them. A timer of the runtime's looks at them every tick, and has the loop do it when one of them
// is not in use any more. As long as all are, the loop sleeps on: if its own sleep ended at every
// tick, then with GOMAXPROCS 2, a leader on the one processor and the loop in the kernel with the
// other, the runtime would have to take that processor back every time, for which its monitor stays
// awake and looks every 70 us. Each look stops one of two peers that spin for some microseconds: a
// call in a hundred.
//
//	         park                        one is idle
//	silent --------> the timer runs --------------------> due -- the loop has ticked --> either
//	                  ^          |
//	                  +----------+ all are in use
type parked struct {
	due   atomic.Bool // the loop is to tick; partner: loop.sleep
	spare []*econn    // loop only

	mu    sync.Mutex  // held for moments, within no other lock but leases
	conns []*econn    // guarded by mu
	timer *time.Timer // made with the first, guarded by mu
	runs  bool        // the timer does, guarded by mu
	over  bool        // the loop has ended, guarded by mu
}

// park looks after c every tick from now on. Loop only.
func (l *loop) park(c *econn) {
	p := &l.parked
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, c)
	if p.runs || p.over {
		return
	}
	p.runs = true
	if p.timer == nil {
		p.timer = time.AfterFunc(tick, l.watchParked)
	} else {
		p.timer.Reset(tick)
	}
}

// watchParked is what the timer does.
func (l *loop) watchParked() {
	p := &l.parked
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	for _, c := range p.conns {
		if !c.inUse() {
			p.runs = false
			p.due.Store(true)
			l.wake()
			return
		}
	}
	for _, c := range p.conns {
		c.lead.seen.Store(c.lead.uses.Load())
	}
	p.timer.Reset(tick)
}

// tickParked arms the connections that nobody used since the last tick. Loop only.
func (l *loop) tickParked() {
	p := &l.parked
	p.due.Store(false)
	p.mu.Lock()
	conns := p.conns
	p.conns, p.spare = p.spare[:0], nil
	p.mu.Unlock()
	for i, c := range conns {
		conns[i] = nil
		if c.tick() {
			l.park(c)
		}
	}
	p.spare = conns
}

// end stops the timer: afterwards it wakes nobody.
func (p *parked) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	if p.timer != nil {
		p.timer.Stop()
	}
}

// inUse says that a tick of the loop would go on looking after the connection, and change nothing.
func (c *econn) inUse() bool {
	p := &c.lead
	if c.ending.dead.Load() || p.inbound.Load() > 0 {
		return false
	}
	lease := c.in.lease.Load()
	return lease == leaseLeader || lease == leaseParked && p.uses.Load() != p.seen.Load()
}

// tick looks at a parked connection; it reports whether to go on doing so. Loop only.
func (c *econn) tick() bool {
	p := &c.lead
	if c.ending.dead.Load() {
		p.inPark.Store(false)
		return false
	}
	uses := p.uses.Load()
	idle := uses == p.seen.Load()
	p.seen.Store(uses)
	if n := p.inbound.Load(); n > 0 {
		p.inbound.Store(n - 1)
	}
	lease := c.in.lease.Load()
	if lease == leaseLeader || lease == leaseParked && !idle {
		return true
	}
	p.inPark.Store(false)
	if c.in.lease.CompareAndSwap(leaseParked, leaseLoop) {
		c.cool()
	} else if c.in.lease.Load() == leaseLeader {
		p.inPark.Store(true) // it came just now, and may have seen that it may park
		return true
	}
	return false
}
