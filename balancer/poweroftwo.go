package balancer

import "math/rand/v2"

// PowerOfTwo takes two candidates by chance and picks the better one: the one with the smaller
// product of latency and calls under way. Where the latency of one of them is not known yet, calls
// under way alone decide. That avoids the worst candidates almost as well as looking at all of them
// does, and does not send everybody to the one that looked best a moment ago (M. Mitzenmacher, The
// power of two choices in randomized load balancing, 1996; latency times calls as in the load
// balancer of Twitter's Finagle).
//
// A candidate that was slow is not picked and so could never show that it has recovered. Therefore
// the average of the one that is not picked fades a little each time: one that was ten times slower
// than the others is tried again after it has lost about 300 times.
type PowerOfTwo struct{}

var _ Picker = PowerOfTwo{}

// Pick returns the index of the better one of two, -1 when set is empty.
func (PowerOfTwo) Pick(set []Candidate, _ uint64) int {
	n := len(set)
	if n < 2 {
		return n - 1
	}
	i, j := rand.IntN(n), rand.IntN(n-1)
	if j >= i {
		j++
	}
	a, b := set[i].Load, set[j].Load
	if a == nil || b == nil {
		return i
	}
	// One more than there are: the call that is to be sent counts, too.
	costA, costB := a.pending.Load()+1, b.pending.Load()+1
	slowA, slowB := a.latency.Load(), b.latency.Load()
	if slowA == 0 || slowB == 0 {
		if costB < costA {
			return j
		}
		return i
	}
	// The product is that of floats, since two integers could overflow.
	if float64(costB)*float64(slowB) < float64(costA)*float64(slowA) {
		a.lost(slowA)
		return j
	}
	b.lost(slowB)
	return i
}
