package balancer

import "math/rand/v2"

// Random picks every candidate with the same chance. It remembers nothing.
type Random struct{}

var _ Picker = Random{}

// Pick returns an index by chance, -1 when set is empty.
func (Random) Pick(set []Candidate, _ uint64) int {
	if len(set) == 0 {
		return -1
	}
	return rand.IntN(len(set))
}
