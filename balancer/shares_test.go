package balancer_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/balancer"
)

// The laws of the policies that divide: by weight, and by key.

// At every moment each candidate has had its share, to within a few picks.
func TestWeightedShares(t *testing.T) {
	for _, weights := range [][]uint32{{1, 1}, {1, 2, 5}, {0, 1, 3}, {1, 1000}, {7, 7, 7},
		{1 << 31, 1 << 31, 1<<32 - 1}} {
		t.Run(fmt.Sprint(weights), func(t *testing.T) {
			set, sum := upTo(len(weights)), 0.0
			for i, w := range weights {
				set[i].Weight = w
				sum += float64(max(1, w))
			}
			hits := make([]int, len(set))
			var p balancer.Weighted
			for n := 1; n <= 100_000; n++ {
				hits[p.Pick(set, 0)]++
				for i, w := range weights {
					off := float64(n)*float64(max(1, w))/sum - float64(hits[i])
					if math.Abs(off) > 4 {
						t.Fatalf("pick %d, candidate %d: off by %g", n, i, off)
					}
				}
			}
		})
	}
}

// The share of those that stay is kept while others come and go, and when a weight changes.
func TestWeightedWhileOthersComeAndGo(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	all := upTo(30)
	for i := range all {
		all[i].Weight = uint32(1 + i%3)
	}
	all[9].Weight, all[19].Weight = 2, 6 // who stay
	var p balancer.Weighted
	count := func() (light, heavy int) {
		for range 40_000 {
			var set []balancer.Candidate
			for i, c := range all {
				if i == 9 || i == 19 || rng.IntN(3) == 0 {
					set = append(set, c)
				}
			}
			switch set[p.Pick(set, 0)].ID {
			case 10:
				light++
			case 20:
				heavy++
			}
		}
		return light, heavy
	}
	light, heavy := count()
	band(t, light+heavy, light, 0.25, "2 of 8")
	all[9].Weight = 6
	light, heavy = count()
	band(t, light+heavy, light, 0.5, "6 of 12")
}

// Snapshots that change in step with the picks do not get a candidate out of its share.
func TestWeightedInStepWithSnapshots(t *testing.T) {
	a, b := candidates(1, 2, 3), candidates(2, 3, 4)
	hits := map[uint64]int{}
	var p balancer.Weighted
	for n := range 30_000 {
		set := a
		if n%2 == 1 {
			set = b
		}
		hits[set[p.Pick(set, 0)].ID]++
	}
	for id, want := range map[uint64]int{1: 5000, 2: 10_000, 3: 10_000, 4: 5000} {
		require.InDelta(t, want, hits[id], 10, "candidate %d", id)
	}
}

// owners says who gets each of the keys.
func owners(p balancer.Picker, set []balancer.Candidate, keys int) []uint64 {
	who := make([]uint64, keys)
	for k := range who {
		who[k] = set[p.Pick(set, balancer.KeyOf(fmt.Sprint("order ", k)))].ID
	}
	return who
}

func TestConsistentHashMovesAsLittleAsPossible(t *testing.T) {
	const keys = 40_000
	var p balancer.ConsistentHash
	before := owners(&p, upTo(8), keys)
	require.Equal(t, before, owners(new(balancer.ConsistentHash), upTo(8), keys), "no state")
	hits := map[uint64]int{}
	for _, id := range before {
		hits[id]++
	}
	for id := uint64(1); id <= 8; id++ {
		band(t, keys, hits[id], 1.0/8, fmt.Sprint("candidate ", id))
	}

	without := owners(&p, candidates(1, 2, 4, 5, 6, 7, 8), keys)
	taken := map[uint64]int{}
	for k, id := range without {
		if before[k] != 3 {
			require.Equal(t, before[k], id, "the key of one that stays has moved")
			continue
		}
		taken[id]++
	}
	require.Len(t, taken, 7)
	for id, got := range taken {
		band(t, hits[3], got, 1.0/7, fmt.Sprint("taken over by ", id))
	}

	moved := 0
	for k, id := range owners(&p, upTo(9), keys) {
		if id != before[k] {
			require.Equal(t, uint64(9), id, "a key has moved to one that was there before")
			moved++
		}
	}
	band(t, keys, moved, 1.0/9, "taken by the new one")
}

// One that comes back under its name has the keys that it had, although its ID is new.
func TestConsistentHashByName(t *testing.T) {
	set := candidates(4, 5, 6)
	for i := range set {
		set[i].Name = balancer.KeyOf(fmt.Sprint("worker ", i))
	}
	var p balancer.ConsistentHash
	for k := range uint64(1000) {
		i := p.Pick(set, k+1)
		again := []balancer.Candidate{set[0], set[2], {ID: 9, Name: set[1].Name}}
		require.Equal(t, []int{0, 2, 1}[i], p.Pick(again, k+1))
	}
}

func TestConsistentHashWithoutKeyGoesRound(t *testing.T) {
	var p balancer.ConsistentHash
	for n := range 12 {
		require.Equal(t, n%4, p.Pick(upTo(4), 0))
		p.Pick(upTo(4), 99) // takes nobody's turn
	}
}

func TestKeyOf(t *testing.T) {
	// The values of the FNV-1a page of its authors.
	require.Equal(t, uint64(0xcbf29ce484222325), balancer.KeyOf(""))
	require.Equal(t, uint64(0xaf63dc4c8601ec8c), balancer.KeyOf("a"))
	require.Equal(t, uint64(0x85944171f73967e8), balancer.KeyOf([]byte("foobar")))
	require.Zero(t, testing.AllocsPerRun(100, func() { balancer.KeyOf("a key") }))
}
