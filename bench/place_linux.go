package bench

import (
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The rule for two who poll rings on one processor, the same as the product's: each says in the
// memory where it runs, and who dialed moves away after some yields in a row that let the other one
// run; not soon again when that led to where others are at work.
const (
	besideRow = 8
	firstStay = 2 * time.Millisecond
	stayTimes = 8
	lastStay  = time.Second
	longStay  = 10 // so many stays later the last one is forgotten
)

// place is where the thread of a spinner runs.
type place struct {
	// look tells the other sides about cpu, one more than its number, and says whether one of them
	// that this side has dialed is there, too. Nil: nobody is told.
	look  func(cpu uint64) (beside bool)
	row   int
	moved time.Duration
	stay  time.Duration
}

// yielded is called after each yield in time.
func (p *place) yielded(now time.Duration, shared bool) {
	if p.look == nil {
		return
	}
	cpu := rawProcessor()
	if !p.look(uint64(cpu)+1) || !shared {
		p.row = 0
		return
	}
	if p.row++; p.row < besideRow || now-p.moved < p.stay {
		return
	}
	if p.stay == 0 || now-p.moved > longStay*p.stay {
		p.stay = firstStay
	}
	p.row, p.moved = 0, now
	leaveProcessor(int(cpu))
}

// wanted is called when somebody else turns out to be at work here.
func (p *place) wanted(now time.Duration) {
	if now-p.moved <= longStay*p.stay {
		p.stay = min(stayTimes*p.stay, lastStay)
	}
}

// leaveProcessor moves the calling thread to another processor that it may use.
func leaveProcessor(cpu int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all unix.CPUSet
	if unix.SchedGetaffinity(0, &all) != nil {
		return
	}
	others := all
	others.Clear(cpu)
	if others.Count() > 0 && unix.SchedSetaffinity(0, &others) == nil {
		_ = unix.SchedSetaffinity(0, &all)
	}
}

// tell writes cpu, where it is news.
func tell(word *atomic.Uint64, cpu uint64) {
	if word.Load() != cpu {
		word.Store(cpu)
	}
}
