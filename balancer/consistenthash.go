package balancer

// ConsistentHash sends calls with equal keys to the same candidate for as long as it is there. When
// one goes, its keys alone move, to all others evenly; when one comes, it takes its part from all
// others evenly. Calls without a key go round, as with RoundRobin. The zero value is ready; it must
// not be copied after use.
//
// Every candidate bids with a hash of the key and of itself, and the highest bid wins: rendezvous
// hashing (D. Thaler, C. V. Ravishankar, Using name-based mappings to increase hit rates, 1998). A
// ring of points would find the winner faster among thousands, but has to be built again for each
// snapshot, and is even only with hundreds of points for each candidate.
type ConsistentHash struct {
	turn RoundRobin // for calls without a key
}

var _ Picker = (*ConsistentHash)(nil)

// Pick returns the index of the candidate that key belongs to, -1 when set is empty. It looks at
// all of them.
func (p *ConsistentHash) Pick(set []Candidate, key uint64) int {
	if key == 0 {
		return p.turn.Pick(set, 0)
	}
	best, highest := -1, uint64(0)
	for i := range set {
		name := set[i].Name
		if name == 0 {
			name = set[i].ID
		}
		if bid := mix(key ^ mix(name+golden)); best < 0 || bid > highest {
			best, highest = i, bid
		}
	}
	return best
}

// KeyOf is the key for calls that are about what text says. It is never 0, and is the same in every
// process and version (FNV-1a, 64 bits).
func KeyOf[T string | []byte](text T) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return max(1, h)
}

// mix makes every bit of the result depend on every bit of x (the finalizer of splitmix64; G. L.
// Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators, 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
