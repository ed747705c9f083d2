//go:build linux && !portable

package transport

import (
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The rules of busy-polling.
const (
	sharedYield   = 2 * time.Microsecond   // a yield that took longer let somebody else run
	goschedAfter  = 20 * time.Microsecond  // a turn of polling ends in runtime.Gosched after this
	goschedYields = 16                     // or after so many yields
	firstPatience = 16                     // such yields in a row end the spin, twice as many
	maxPatience   = 1024                   // the next time, up to this; others take one off
	slowYield     = 50 * time.Microsecond  // a yield that took longer ends the spin,
	hogYield      = 400 * time.Microsecond // one that took so long is what a busy process takes:
	slowWeight    = 8                      // it adds this to the suspicion, a fast one
	suspicious    = 16                     // takes one off; from here on there is no spinning
	firstPause    = 10 * time.Millisecond  // for so long,
	maxPause      = time.Second            // doubled up to this if the first yield then is slow
	maxSkip       = 31                     // waits without spinning after many in vain
)

// pace is how many polls, or spins, there are between two of what takes longer.
type pace struct {
	yield int // empty polls, then the processor is given away
	hits  int // spins that paid, likewise: so that who wants it does not wait for a time slice
	epoll int // hot turns, then epoll is asked
}

// medium is what is polled: a poll of a ring is a load, one of a socket a system call.
type medium int

const (
	overSocket medium = iota
	overRing
)

var paces = [...]pace{
	overSocket: {yield: 20, hits: 32, epoll: 4},
	overRing:   {yield: 100, hits: 512, epoll: 64},
}

// spinner decides, for one waiter at a time (a loop, or the leader of a connection), whether to
// poll again or to block. It spins while that pays: each spin in vain doubles the number of waits
// until it tries again, one that is not ends this. It has to try, because a wait that blocks is
// longer, by the time that it takes to wake both sides. It gives the processor away in between, and
// keeps off for a while when somebody else turns out to want it.
type spinner struct {
	budget int64 // ns; 0: never; immutable

	medium   medium // of the last poll
	until    int64  // end of this spin; 0: none under way, untimed: nobody has looked at the clock
	polls    int    // since the last yield
	yields   int    // since the last Gosched
	turnAt   int64  // of the last Gosched
	asked    int    // hot turns since epoll was asked
	paid     int    // spins that paid since the last yield
	shared   bool   // others run on this processor, perhaps the peer: yield after every poll
	inRow    int    // yields that have let others run
	patience int    // how many of them end a spin; 0: firstPatience
	skip     int    // waits to come without spinning
	vain     int    // such waits after the last spin in vain; 0: the last one paid
	slow     int    // suspicion that others want the processor
	offUntil int64  // no spinning before
	pause    int64  // that ended then
	place    place  // where it runs

	hits, misses, yielded atomic.Uint64
}

func (s *spinner) init(budget time.Duration) {
	if runtime.GOMAXPROCS(0) > 1 {
		s.budget = int64(budget)
	}
}

// active says that something happened: the next wait may spin its whole budget.
func (s *spinner) active() {
	if s.until != 0 {
		s.hits.Add(1)
		s.vain = 0
		if s.paid++; s.paid >= paces[s.medium].hits {
			s.paid = 0
			s.giveWay(nanotime())
		}
	}
	s.until = 0
}

// giveWay yields the processor; it reports false when others want it, and ends the spin then.
func (s *spinner) giveWay(before int64) bool {
	s.yielded.Add(1)
	s.place.due = true
	schedYield()
	after := nanotime()
	if after-before > int64(slowYield) {
		s.tooSlow(after-before, after)
		return false
	}
	s.shared = after-before > int64(sharedYield)
	return s.bear()
}

// bear ends a spin after many yields in a row that let somebody else run: of those who share a
// processor one has to sleep for the kernel to find another one for it, as it moves nobody who has
// run just now.
func (s *spinner) bear() bool {
	s.patience = max(s.patience, firstPatience)
	if !s.shared {
		s.inRow = 0
		s.patience--
		return true
	}
	if s.inRow++; s.inRow < s.patience {
		return true
	}
	s.inRow, s.patience = 0, min(2*s.patience, maxPatience)
	s.until = 0
	s.misses.Add(1)
	return false
}

const (
	// untimed is until in a spin that is too young for the clock.
	untimed = -1
	// pollsTake is about what the polls before the first yield take, in nanoseconds.
	pollsTake = 1000
)

// again says whether to poll once more. It yields after most polls.
func (s *spinner) again(m medium) bool {
	s.medium = m
	if s.budget == 0 || s.skip > 0 {
		return false
	}
	if s.until == 0 {
		if s.offUntil != 0 {
			return s.begin(nanotime())
		}
		s.until, s.polls, s.yields = untimed, 0, 0
		return true
	}
	s.polls++
	if s.polls < paces[m].yield && !s.shared {
		return true
	}
	s.polls = 0
	return s.yield()
}

// begin starts to spin, unless a slow yield forbids it.
func (s *spinner) begin(now int64) bool {
	if now < s.offUntil {
		return false
	}
	s.offUntil = 0
	s.until = now + s.budget
	s.turnAt = now
	s.polls, s.yields = 0, 0
	return true
}

// yield gives the processor to others, then judges whether spinning still pays.
func (s *spinner) yield() bool {
	before := nanotime()
	if s.until == untimed {
		s.until, s.turnAt = before+s.budget-pollsTake, before
	}
	if before >= s.until {
		s.until = 0
		s.vain = min(2*s.vain+1, maxSkip)
		s.skip = s.vain
		s.misses.Add(1)
		return false
	}
	s.yields++
	if s.yields >= goschedYields || before-s.turnAt >= int64(goschedAfter) {
		runtime.Gosched()
		s.yields = 0
		s.turnAt = nanotime()
		before = s.turnAt
	}
	s.paid = 0
	if !s.giveWay(before) {
		return false
	}
	if s.slow > 0 {
		s.slow--
	} else {
		s.pause = 0
	}
	return true
}

// tooSlow ends this spin after a slow yield. One may be chance (an interrupt, a busy host); when
// more than one in slowWeight is slow, the processor is wanted, and there is no spinning for a
// while.
func (s *spinner) tooSlow(took, now int64) {
	s.until = 0
	s.misses.Add(1)
	if took < int64(hogYield) {
		return
	}
	s.slow += slowWeight
	s.place.wanted(now)
	if s.slow < suspicious {
		return
	}
	s.slow = suspicious - slowWeight // the next slow one proves it again
	s.pause = min(max(2*s.pause, int64(firstPause)), int64(maxPause))
	s.offUntil = now + s.pause
}

// slept tells how a wait that blocked went.
func (s *spinner) slept(began int64, woken bool) {
	s.until = 0
	if s.skip > 0 {
		s.skip--
	}
	if s.skip > 0 && woken && nanotime()-began <= s.budget {
		s.skip, s.vain = 0, 0
	}
}

// askEpoll says, in a hot turn, whether it is time to look at the other connections.
func (s *spinner) askEpoll(m medium) bool {
	s.asked++
	if s.asked < paces[m].epoll {
		return false
	}
	s.asked = 0
	return true
}

func schedYield() { unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
