//go:build linux && !portable

package transport

import (
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pithos-ipc/pithos/wire"
)

// The rules of moving to another processor.
const (
	besideRow = 8                    // yields in a row that let the peer run, and then a move
	firstStay = 2 * time.Millisecond // between two moves, at least;
	stayTimes = 8                    // so many times as long when it led to where others work,
	maxStay   = time.Second          // up to this,
	longStay  = 10                   // which is forgotten after so many times that
)

// place is where the thread of a spinner runs, and how it gets away from the processor that its
// peer runs on. The kernel moves nobody who has run within the last half millisecond, so of two who
// poll for one another on one processor neither gets away by itself, whether another one is idle or
// not: each waits for the other one to yield, and their work adds up.
//
// Who dialed moves; who listens stays, as he may have many peers. Each side says in the ring which
// processor it runs on, a server on a socket by a frame. See ARCHITECTURE.md, section 10.
type place struct {
	due   bool   // there was a yield since the last look
	cpu   uint32 // 1 + its number, then; 0: not known
	row   int    // yields in a row at which the peer was on it, too
	moved int64  // when; 0: never
	stay  int64  // ns until the next move
	moves atomic.Uint64
}

// look finds out which processor the caller runs on.
func (p *place) look() uint32 {
	p.due = false
	if cpu := processor(); cpu != p.cpu {
		p.cpu, p.row = cpu, 0
	}
	return p.cpu
}

// beside counts a yield; peer says that the peer has the same processor, and that others than this
// thread ran on it. After some such yields in a row it says that it is time to leave.
func (p *place) beside(peer bool, now int64) (leave bool) {
	if !peer {
		p.row = 0
		return false
	}
	if p.row++; p.row < besideRow || p.moved != 0 && now-p.moved < p.stay {
		return false
	}
	if p.moved == 0 || now-p.moved > longStay*p.stay {
		p.stay = int64(firstStay)
	}
	p.row, p.moved = 0, now
	p.moves.Add(1)
	return true
}

// wanted says that somebody else is at work on this processor.
func (p *place) wanted(now int64) {
	if p.moved != 0 && now-p.moved <= longStay*p.stay {
		p.stay = min(stayTimes*p.stay, int64(maxStay))
	}
}

// leaveProcessor moves the calling thread from the processor cpu, counted from 1, to another one of
// those that it may use. Then it may use all of them again: where it goes next is the kernel's
// affair. Nothing else runs on the thread meanwhile, and no new one inherits what it may use.
func leaveProcessor(cpu uint32) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all unix.CPUSet
	if unix.SchedGetaffinity(0, &all) != nil {
		return
	}
	others := all
	others.Clear(int(cpu) - 1)
	if others.Count() == 0 || unix.SchedSetaffinity(0, &others) != nil {
		return
	}
	_ = unix.SchedSetaffinity(0, &all)
}

// lookAround tells the peers of the connections that the loop polls where it runs, and moves away
// from them. It is called after a yield.
func (l *loop) lookAround() {
	cpu, peer := l.spin.place.look(), false
	for _, c := range l.hot[0] {
		peer = c.besidePeer(cpu) || peer
	}
	l.spin.settle(cpu, peer)
}

// lookAround is that of a leader, which polls for one peer.
func (c *econn) lookAround() {
	cpu := c.lead.spin.place.look()
	c.lead.spin.settle(cpu, c.besidePeer(cpu))
}

// settle leaves the processor when it is time to. One that others want as well is no reason to:
// they may be wherever the thread would go.
func (s *spinner) settle(cpu uint32, peer bool) {
	if s.place.beside(peer && s.shared && s.slow == 0, nanotime()) {
		leaveProcessor(cpu)
	}
}

// besidePeer tells the peer which processor this side runs on, and says whether the peer runs on
// the same one, and this side is to move. The read lease is held.
func (c *econn) besidePeer(cpu uint32) bool {
	theirs := c.side.place
	switch {
	case c.lane.in != nil:
		if mine := &c.lane.in.shared.cpu; mine.Load() != cpu {
			mine.Store(cpu)
		}
		theirs = c.lane.at.Load().out.shared.cpu.Load()
	case c.set.server:
		c.tellPlace(cpu)
	}
	return theirs == cpu && cpu != 0 && !c.set.server && c.movesAtAll()
}

// movesAtAll says that places matter to this side.
func (c *econn) movesAtAll() bool { return !c.set.Socket.Stay && c.set.busyPoll > 0 }

// tellPlace sends the client which processor the loop of a server runs on, if that is news and it
// wants to know.
func (c *econn) tellPlace(cpu uint32) {
	if c.side.place != cpu && c.side.places && c.lane.at.Load() == nil && c.loop.here() {
		c.side.place = cpu
		c.out.putControl(c.pub.group, wire.KindPlace, cpu, 0)
		c.dirtyNow()
	}
}
