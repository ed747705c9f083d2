package balancer

import "sync/atomic"

// LeastPending picks the candidate with the fewest calls under way; of several it gives every one
// its turn, in rising order of ID, as RoundRobin does. Calls that are picked at the same moment
// may go to the same candidate, since its Load counts them only when they begin. The zero value is
// ready; it must not be copied after use.
type LeastPending struct {
	last atomic.Uint64 // ID of whom it was last; only Pick changes it, by CAS
}

var _ Picker = (*LeastPending)(nil)

// Pick returns the index of the first candidate behind the one of the last pick that has as few
// calls under way as any, -1 when set is empty. It looks at all of them.
func (p *LeastPending) Pick(set []Candidate, _ uint64) int {
	if len(set) == 0 {
		return -1
	}
	for {
		last := p.last.Load()
		i := least(set, after(set, last))
		if p.last.CompareAndSwap(last, set[i].ID) {
			return i
		}
	}
}

// least is the index of the first candidate with the fewest calls under way, from start on and
// round the end.
func least(set []Candidate, start int) int {
	best, fewest := start, pendingOf(&set[start])
	for n := 1; n < len(set) && fewest > 0; n++ {
		i := start + n
		if i >= len(set) {
			i -= len(set)
		}
		if pending := pendingOf(&set[i]); pending < fewest {
			best, fewest = i, pending
		}
	}
	return best
}
