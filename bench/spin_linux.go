package bench

import (
	"runtime"
	"time"
)

// The rules of a polite spin, the same as the product's: poll some times, then yield the processor,
// and let the Go scheduler have a turn often enough that a stop of the world never waits long.
// Waits that are over before their first yield yield, too, now and then. A slow yield ends the
// spin. So do many in a row that let somebody else run: it may be that the kernel can part the two.
// Yields that take as long as a busy process does show that others want the processor: no spinning
// for a while then.
const (
	pollsPerYield = 20  // of a socket, where a poll is a system call
	ringPolls     = 100 // of a ring, where it is a load
	paidPerYield  = 32  // waits for a socket that were over in time
	ringPaid      = 512 // those for a ring
	yieldsPerTurn = 16
	turnTime      = 20 * time.Microsecond
	sharedYield   = 2 * time.Microsecond // somebody else had the processor: yield at each poll
	firstPatience = 16                   // such yields in a row end a spin; twice as many the next
	lastPatience  = 1024
	slowYield     = 50 * time.Microsecond
	hogYield      = 400 * time.Microsecond
	slowWeight    = 8  // what a yield over hogYield adds to the suspicion; a fast one takes one off
	suspicious    = 16 // from here on there is no spinning
	firstQuiet    = 10 * time.Millisecond
	lastQuiet     = time.Second
	spinLimit     = 20 * time.Millisecond // without a byte, after which a raw spinner blocks
)

// spinner decides how one goroutine waits. It belongs to that goroutine.
type spinner struct {
	most   int // polls between two yields; immutable
	hits   int // waits between two; immutable
	base   time.Time
	begun  time.Duration // when this wait began to yield, since base
	turn   time.Duration // when the scheduler last had its turn in this wait
	polls  int           // empty ones of this wait, since the last yield
	yields int           // since the scheduler had its turn
	paid   int           // waits since the last yield
	shared bool          // the last yield let somebody run, perhaps the peer

	inRow, patience int // such yields, and how many end a spin

	place place // for spins over a ring

	suspicion int
	quiet     time.Duration // how long the last silence lasted; 0: yields are fast again
	until     time.Duration // no spinning before
}

func newSpinner(polls, hits int) *spinner {
	return &spinner{most: polls, hits: hits, base: time.Now(), patience: firstPatience}
}

// reset ends a wait, and begins another one.
func (s *spinner) reset() {
	if s.polls > 0 || s.begun > 0 {
		if s.paid++; s.paid >= s.hits {
			before := time.Since(s.base)
			s.paid = 0
			rawYield()
			s.judge(time.Since(s.base), before)
		}
	}
	s.polls, s.yields, s.begun = 0, 0, 0
}

// spin is called after each empty poll. False means block.
func (s *spinner) spin() bool {
	s.polls++
	if s.polls < s.most && !s.shared {
		return s.polls > 1 || s.begun != 0 || s.until == 0 || time.Since(s.base) >= s.until
	}
	s.polls, s.paid = 0, 0
	before := time.Since(s.base)
	if before < s.until {
		return false
	}
	if s.begun == 0 {
		s.begun, s.turn = before, before
	}
	if before-s.begun > spinLimit {
		return false
	}
	s.yields++
	if s.yields >= yieldsPerTurn || before-s.turn > turnTime {
		runtime.Gosched()
		before = time.Since(s.base)
		s.yields, s.turn = 0, before
	}
	rawYield()
	return s.judge(time.Since(s.base), before)
}

// judge says whether a yield that lasted from before until now lets the spin go on.
func (s *spinner) judge(now, before time.Duration) bool {
	took := now - before
	if took <= slowYield {
		s.shared = took > sharedYield
		if s.suspicion > 0 {
			s.suspicion--
		} else {
			s.quiet = 0
		}
		s.place.yielded(now, s.shared && s.suspicion == 0)
		return s.bear()
	}
	if took < hogYield {
		return false
	}
	s.place.wanted(now)
	if s.suspicion += slowWeight; s.suspicion >= suspicious {
		s.suspicion = suspicious - slowWeight // the next slow one proves it again
		s.quiet = min(max(2*s.quiet, firstQuiet), lastQuiet)
		s.until = now + s.quiet
	}
	return false
}

// bear says whether there have not been too many yields in a row that let others run.
func (s *spinner) bear() bool {
	if !s.shared {
		s.inRow, s.patience = 0, max(s.patience-1, firstPatience)
		return true
	}
	if s.inRow++; s.inRow < s.patience {
		return true
	}
	s.inRow, s.patience = 0, min(2*s.patience, lastPatience)
	return false
}
