package bench

import (
	"runtime"
	"time"
)

// The rules of a polite spin, the same as the product's: poll some times, then yield the processor,
// and let the Go scheduler have a turn often enough that a stop of the world never waits long. A
// yield that took long shows that others want the processor: no spinning for a while then.
const (
	pollsPerYield = 20
	yieldsPerTurn = 16
	turnTime      = 20 * time.Microsecond
	slowYield     = 50 * time.Microsecond
	firstQuiet    = 10 * time.Millisecond
	lastQuiet     = time.Second
	spinLimit     = 20 * time.Millisecond // without a byte, after which a raw spinner blocks
)

// spinner decides how one goroutine waits. It belongs to that goroutine.
type spinner struct {
	base   time.Time
	begun  time.Duration // when this wait began, since base
	turn   time.Duration // when the scheduler last had its turn
	quiet  time.Duration // how long the last slow yield silenced
	until  time.Duration // no spinning before; 0: no slow yield yet
	polls  int
	yields int
}

func newSpinner() *spinner {
	return &spinner{base: time.Now()}
}

// reset begins a new wait.
func (s *spinner) reset() {
	s.polls, s.yields = 0, 0
}

// spin is called after each empty poll. False means block.
func (s *spinner) spin() bool {
	s.polls++
	if s.polls%pollsPerYield != 0 {
		return s.polls > pollsPerYield || s.allowed()
	}
	before := time.Since(s.base)
	if s.polls == pollsPerYield {
		s.begun, s.turn = before, before
	}
	if before-s.begun > spinLimit {
		return false
	}
	rawYield()
	now := time.Since(s.base)
	if now-before > slowYield {
		s.silence(now)
		return false
	}
	s.yields++
	if s.yields%yieldsPerTurn == 0 || now-s.turn > turnTime {
		runtime.Gosched()
		s.turn = time.Since(s.base)
	}
	return true
}

// silence forbids spinning for a while: twice as long as before if the last time did not help,
// which shows when spinning goes wrong again sooner than it lasted.
func (s *spinner) silence(now time.Duration) {
	if s.quiet > 0 && now < s.until+s.quiet {
		s.quiet = min(2*s.quiet, lastQuiet)
	} else {
		s.quiet = firstQuiet
	}
	s.until = now + s.quiet
}

// allowed reports, at the first empty poll of a wait, whether this wait may spin.
func (s *spinner) allowed() bool {
	return s.polls > 1 || s.until == 0 || time.Since(s.base) >= s.until
}
