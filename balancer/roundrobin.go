package balancer

import "sync/atomic"

// RoundRobin gives every candidate its turn, in rising order of ID. Candidates that are in every
// snapshot are picked equally often, to within one, whatever joins or leaves in between and however
// many goroutines pick. The zero value is ready; it must not be copied after use.
type RoundRobin struct {
	last atomic.Uint64 // ID of whom it was last; only Pick changes it, by CAS
}

var _ Picker = (*RoundRobin)(nil)

// Pick returns the index of the first candidate behind the one of the last pick, 0 at the end of
// the turn, -1 when set is empty. It costs one binary search.
func (r *RoundRobin) Pick(set []Candidate, _ uint64) int {
	if len(set) == 0 {
		return -1
	}
	for {
		last := r.last.Load()
		i := after(set, last)
		if r.last.CompareAndSwap(last, set[i].ID) {
			return i
		}
	}
}

// after is the index of the first candidate whose ID is above last, or 0 when there is none.
func after(set []Candidate, last uint64) int {
	low, high := 0, len(set)
	for low < high {
		mid := int(uint(low+high) >> 1)
		if set[mid].ID > last {
			high = mid
		} else {
			low = mid + 1
		}
	}
	if low == len(set) {
		return 0
	}
	return low
}
