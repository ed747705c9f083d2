//go:build linux && !portable

package transport

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/wire"
)

// leaderNap is the longest time that a leader blocks in the kernel for its reply. After it the loop
// reads, and the caller waits as any other goroutine: so that a cancelled context, a ping, or a
// call of the peer's waits no longer than this for a leader that the kernel holds.
const leaderNap = 500 * time.Microsecond

// do sends a call and waits for its reply.
func (c *econn) do(ctx context.Context, m Message, buf []byte) ([]byte, error) {
	if c.loop.here() {
		return nil, ErrOnLoop
	}
	timeout, err := c.check(ctx, &m)
	if err != nil {
		return nil, err
	}
	var meta wire.Meta
	m.meta(&meta, timeout)
	cost := m.cost(&meta)
	s, err := c.calls.acquire(c, cost)
	if err == ErrFull {
		s, err = c.calls.wait(ctx, c, cost, true, timeout)
	}
	if err != nil {
		return nil, err
	}
	id := s.id
	s.buf = buf
	var until int64
	if m.Timeout > 0 {
		until = nanotime() + int64(m.Timeout)
	}
	if err := c.calls.open(c, s, id, until, cost); err != nil {
		return nil, err
	}
	s.parcel, err = c.submit(wire.FlagsCall, id, &m, &meta, cost, false)
	if err != nil && c.takeUp(s, id, cost) {
		return nil, err
	}
	stalled := false
	if s.parcel != nil {
		stalled = !c.flush(flushBudget + m.size())
	} else {
		stalled = !c.flushCrowd()
	}
	return c.await(ctx, s, id, until, stalled, cost)
}

// A caller who is one of many writes when so many frames wait: as many as make a system call cheap,
// and so few that the peer works on them while the others are still at it.
const (
	crowdFrames = 24
	crowdParts  = 2 // or this fraction of the calls under way
)

// flushCrowd is flush for a caller. When other calls are under way it lets their callers append
// first, so that one write takes all of them.
func (c *econn) flushCrowd() bool {
	o := &c.out
	calls := c.calls.waiting()
	if c.lead.collects.Load() {
		if int(o.frames.Load()) < max(crowdFrames, calls/crowdParts) {
			return true // the reader looks after he has said that he collects no more
		}
	} else if calls > 1 && !o.stalled.Load() && o.lease.CompareAndSwap(false, true) {
		runtime.Gosched()
		stalled, spent := c.write(flushBudget)
		o.lease.Store(false)
		c.checkQuiet()
		if stalled {
			return false
		}
		if spent {
			c.loop.post(c, errandFlush)
			return true
		}
	}
	return c.flush(flushBudget)
}

// await waits until the call in s is over, and frees the slot.
func (c *econn) await(ctx context.Context, s *slot, id uint32, until int64, stalled bool,
	cost int64) ([]byte, error) {
	done := ctx.Done()
	mayLead := true
	var err error
	for err == nil && s.phase(id) != phaseDone {
		if mayLead && c.leaseFree() && c.takeForLeader() {
			mayLead = c.leadReads(ctx, s, id, until)
			stalled = false
			err = overtime(ctx, until)
			continue
		}
		if stalled {
			stalled = false
			c.armWrite()
		}
		if !mayLead || !c.leaseFree() {
			if done == nil {
				<-s.wakeup
			} else {
				select {
				case <-s.wakeup:
				case <-done:
				}
			}
		}
		err = overtime(ctx, until)
	}
	if stalled {
		c.armWrite() // the reply was quicker
	}
	if err != nil && c.giveUp(s, id, err, cost) {
		return nil, err
	}
	return c.collect(s, id)
}

// hasRun tells a reader who waits for those that he woke.
func (c *econn) hasRun() {
	p := &c.lead
	if p.due.Add(-1) == 0 && p.waits.Load() {
		select {
		case p.ran <- struct{}{}:
		default:
		}
	}
}

// overtime is the error of a caller that has to stop waiting, or nil.
func overtime(ctx context.Context, until int64) error {
	if until != 0 && nanotime() >= until {
		return ErrDeadline
	}
	return ctx.Err()
}

// collect returns the result of a call that is done, and frees its slot.
func (c *econn) collect(s *slot, id uint32) ([]byte, error) {
	c.takeBack(s)
	reply, err := s.reply, s.err
	if s.awaited {
		c.hasRun()
	}
	c.calls.release(c, s, 0)
	return reply, err
}

// takeBack makes sure that nothing refers to the lent request.
func (c *econn) takeBack(s *slot) (unsent bool) {
	p := s.parcel
	if p == nil {
		return false
	}
	unsent = c.withdraw(p, true)
	s.parcel = nil
	c.pub.group.putParcel(p)
	return unsent
}

// giveUp leaves a call that is not done: its slot becomes a tombstone and the peer is told. It
// reports false when the reply was quicker.
func (c *econn) giveUp(s *slot, id uint32, cause error, cost int64) bool {
	p := s.parcel
	for !s.move(id, phaseWaiting, phaseTomb) && !s.move(id, phasePartial, phaseTomb) {
		if s.phase(id) == phaseDone {
			return false
		}
		runtime.Gosched() // filling: the reader is about to move it
	}
	c.calls.tombs.Add(1)
	if p != nil {
		unsent := c.withdraw(p, true)
		c.pub.group.putParcel(p)
		if unsent && s.move(id, phaseTomb, phaseDone) {
			c.calls.tombs.Add(-1)
			c.calls.release(c, s, cost)
			return true
		}
	}
	c.out.putControl(c.pub.group, wire.KindCancel, id, 0)
	if !c.flush(flushBudget) {
		c.armWrite()
	}
	return true
}

// leaseFree says whether there is a lease for a caller to take. In a crowd the loop is the better
// reader, as it goes on whosever reply comes, while a leader leaves with his own.
func (c *econn) leaseFree() bool {
	switch c.in.lease.Load() {
	case leaseParked:
		return true
	case leaseArmed:
		return !c.crowded()
	}
	return false
}

// crowded says that several calls are under way, and the loop may spin for their replies.
func (c *econn) crowded() bool {
	return c.lead.spin.budget > 0 && c.calls.waiting() > 2
}

// takeForLeader takes the read lease for the calling goroutine, if it is free.
func (c *econn) takeForLeader() bool {
	at := c.in.lease.Load()
	return (at == leaseParked || at == leaseArmed) && c.in.lease.CompareAndSwap(at, leaseLeader)
}

// leadReads reads the socket until the caller's own reply is there, and completes others on the
// way. It reports whether the caller may lead again; else the loop reads, or is about to.
func (c *econn) leadReads(ctx context.Context, s *slot, id uint32, until int64) bool {
	c.lead.slot = s
	tryRead, yielded := c.lead.spin.budget > 0, false
	m := overSocket
	if c.lane.in != nil {
		m, tryRead = overRing, true // to look costs next to nothing
	}
	for turn := 1; ; turn++ {
		o := readEmpty
		if tryRead || c.in.left {
			o = c.read(true)
		}
		if o == readSome {
			c.lead.spin.active()
		}
		if s.phase(id) == phaseDone {
			c.retire()
			return true
		}
		switch o {
		case readOver:
			c.lead.slot = nil
			c.in.lease.Store(leaseArmed) // for the reaper
			return false
		case readOther:
			c.handOver()
			return false
		case readSome:
			yielded = c.yieldToWoken()
			tryRead = !yielded
			continue
		}
		if c.out.broken.Load() {
			c.handOver()
			return false
		}
		if c.pushOn() {
			c.lead.spin.active()
			tryRead, yielded = true, false
			continue
		}
		if c.spinOn(m) {
			if turn&63 == 0 && overtime(ctx, until) != nil {
				c.retire()
				return true
			}
			tryRead, yielded = true, false
			continue
		}
		if overtime(ctx, until) != nil {
			c.retire()
			return true
		}
		if !yielded {
			runtime.Gosched() // who can run should not wait behind a system call
			yielded = true
			tryRead = false
			continue
		}
		if c.out.pending.Load() && !c.out.stalled.Load() {
			continue // somebody left it to whoever had the lease
		}
		if !c.napForReply(until) {
			c.retireArmed()
			return false
		}
		tryRead, yielded = true, false
	}
}

// spinOn says whether to poll once more.
func (c *econn) spinOn(m medium) bool {
	again := c.lead.spin.again(m)
	if c.lead.spin.place.due {
		c.lookAround()
	}
	return again
}

// pushOn writes what waits, before the leader waits for an answer to it: the socket may take more
// now. It reports whether it took some. Whoever collects for a write gets his turn instead.
func (c *econn) pushOn() (some bool) {
	o := &c.out
	if !o.pending.Load() {
		return false
	}
	if !o.lease.CompareAndSwap(false, true) {
		runtime.Gosched()
		return false
	}
	before := c.count.bytesOut.Load()
	c.write(flushBudget)
	o.lease.Store(false)
	c.checkQuiet()
	return c.count.bytesOut.Load() != before
}

// leaveWrites sees to it that what waits to be written is, without the leader.
func (c *econn) leaveWrites() {
	if c.out.pending.Load() && (c.out.stalled.Load() || !c.flush(flushBudget)) {
		c.armWrite()
	}
}

// yieldToWoken lets those run who were completed. What they send in this time they leave to the
// reader, who writes all of it at once. It reports whether there were some.
func (c *econn) yieldToWoken() bool {
	p := &c.lead
	if p.woken == 0 {
		return false
	}
	p.collects.Store(true)
	p.due.Add(int32(p.woken))
	p.woken = 0
	for p.due.Load() > 0 {
		p.waits.Store(true)
		if p.due.Load() > 0 {
			<-p.ran
		}
		p.waits.Store(false)
	}
	p.collects.Store(false)
	if !c.flush(flushBudget) {
		c.armWrite()
	}
	return true
}

// napForReply blocks until the socket has something, for a short while. It reports false when the
// loop should take over.
func (c *econn) napForReply(until int64) bool {
	places := &c.pub.group.loops.leaders
	if places.Add(1) > int32(2*runtime.GOMAXPROCS(0)) {
		places.Add(-1)
		return false
	}
	defer places.Add(-1)
	began := nanotime()
	d := leaderNap
	if until != 0 {
		d = time.Duration(max(0, min(int64(d), until-began)))
	}
	events := int16(unix.POLLIN)
	if c.out.stalled.Load() {
		events |= unix.POLLOUT
	}
	woken := false
	if c.lane.in != nil {
		woken = c.laneNap(d)
	} else {
		c.count.polls.Add(1)
		woken = waitSocket(c.fd, events, d)
	}
	c.lead.spin.slept(began, woken)
	return woken
}

// handOver gives the read lease to the loop, which goes on with what is in the inbox.
func (c *econn) handOver() {
	c.lead.slot = nil
	c.lead.inbound.Store(max(c.lead.inbound.Load(), fewTicks))
	c.leaveWrites()
	c.in.lease.Store(leaseParked)
	c.loop.post(c, errandRead)
}

// retire gives the read lease back after the leader's own reply. When nobody waits and the loop
// looks after the connection, epoll stays silent: the next call will most likely lead again.
func (c *econn) retire() {
	p := &c.lead
	p.uses.Add(1)
	if c.in.left || c.crowded() {
		c.handOver()
		return
	}
	if !p.inPark.Load() || p.inbound.Load() > 0 || c.out.stalled.Load() {
		c.retireArmed()
		return
	}
	p.slot = nil
	c.leaveWrites()
	if c.lane.in == nil { // else the tick does it, if there is no other call before
		c.in.release(c.pub.group)
	}
	c.in.lease.Store(leaseParked)
	if c.calls.waiting() > 1 || !p.inPark.Load() {
		c.unpark()
	}
}

// retireArmed gives the read lease back and has epoll report again.
func (c *econn) retireArmed() {
	c.lead.slot = nil
	c.leaveWrites()
	c.in.release(c.pub.group)
	c.in.lease.Store(leaseArmed)
	c.armRead()
}
