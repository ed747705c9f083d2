package balancer

import (
	"math/bits"
	"sync/atomic"
)

// golden is the golden ratio's fraction of 2^64. Multiples of it, modulo 2^64, fall into every
// interval as evenly as a sequence can: among n of them there are as many as its length says, but
// for a difference that grows with the logarithm of n (the Kronecker sequence with the least
// discrepancy; Kuipers and Niederreiter, Uniform distribution of sequences, 1974, chapter 2).
const golden = 0x9e3779b97f4a7c15

// Weighted gives every candidate a share of the calls in proportion to its Weight. The shares are
// kept all the time, not only in the long run: no candidate gets its calls in one go. The only
// state is how many picks there were, so that weights may change, and candidates come and go, at
// every pick. The zero value is ready; it must not be copied after use.
//
//	0                                                      sum of weights
//	|   candidate 3, weight 1   |   candidate 8, weight 2                  |
//	      ^ pick 3                ^ pick 1     ^ pick 4        ^ pick 2
type Weighted struct {
	picks atomic.Uint64
}

var _ Picker = (*Weighted)(nil)

// Pick returns the index of the candidate in whose share the next point falls, -1 when set is
// empty. It looks at all of them.
func (p *Weighted) Pick(set []Candidate, _ uint64) int {
	if len(set) == 0 {
		return -1
	}
	var sum uint64
	for i := range set {
		sum += weightOf(&set[i])
	}
	at, _ := bits.Mul64(p.picks.Add(1)*golden, sum)
	for i := range set {
		w := weightOf(&set[i])
		if at < w {
			return i
		}
		at -= w
	}
	return len(set) - 1 // not reached while nobody changes the set
}

func weightOf(c *Candidate) uint64 { return max(1, uint64(c.Weight)) }
