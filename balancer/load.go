package balancer

import (
	"sync/atomic"
	"time"
)

// How fast an average follows, as a shift.
const (
	gain = 3 // a sample counts 1/8, as in the smoothed round trip time of TCP (RFC 6298)
	fade = 7 // a comparison that is lost takes 1/128 off, so that old bad times are forgotten
)

// Load is what is known of the calls of one candidate: how many are under way, and how long the
// last ones took. Whoever sends the calls keeps it, by one Begin for each and one End or Drop; the
// policies read it. It takes no lock. The zero value is ready; it must not be copied after use.
type Load struct {
	pending atomic.Int64 // partner: Begin, End and Drop against the policies
	latency atomic.Int64 // moving average in ns; 0 when unknown
	_       [48]byte     // a cache line of its own
}

// Begin counts a call that is being sent to the candidate.
func (l *Load) Begin() { l.pending.Add(1) }

// End takes off a call that the candidate has answered after took. For one that failed because the
// candidate is broken, took should be the time that the caller would have waited: a candidate that
// fails at once looks like a fast one otherwise.
func (l *Load) End(took time.Duration) {
	l.pending.Add(-1)
	old := l.latency.Load()
	now := max(1, int64(took))
	if old != 0 {
		now = max(1, old+(now-old)>>gain)
	}
	l.latency.CompareAndSwap(old, now) // when another sample was faster, this one is not missed
}

// Drop takes off a call of which nothing was learned: it was cancelled, or lost.
func (l *Load) Drop() { l.pending.Add(-1) }

// Pending is how many calls are under way.
func (l *Load) Pending() int { return int(l.pending.Load()) }

// Latency is the moving average of how long calls took; 0: none has been answered yet.
func (l *Load) Latency() time.Duration { return time.Duration(l.latency.Load()) }

// lost makes the average a little better, since the candidate was not picked for it.
func (l *Load) lost(latency int64) {
	l.latency.CompareAndSwap(latency, latency-latency>>fade)
}

// pendingOf is the calls under way at c, 0 when nothing is known.
func pendingOf(c *Candidate) int64 {
	if c.Load == nil {
		return 0
	}
	return c.Load.pending.Load()
}
