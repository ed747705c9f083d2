package balancer_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/balancer"
)

// The laws of the policies that look at loads.

func TestLeastPendingPicksTheLeast(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	var p balancer.LeastPending
	all := loaded(20)
	for range 20_000 {
		var set []balancer.Candidate // another snapshot for each call; the loads stay
		for _, c := range all {
			if rng.IntN(2) == 0 {
				set = append(set, c)
			}
		}
		i := p.Pick(set, 0)
		for _, c := range set {
			if set[i].Load.Pending() > c.Load.Pending() {
				t.Fatalf("%d has %d, %d has %d", set[i].ID, set[i].Load.Pending(), c.ID,
					c.Load.Pending())
			}
		}
		if i >= 0 {
			set[i].Load.Begin()
		}
		if c := all[rng.IntN(len(all))]; c.Load.Pending() > 0 {
			c.Load.End(1)
		}
	}
}

func TestLeastPendingInTurnWhenEqual(t *testing.T) {
	var p balancer.LeastPending
	set := loaded(3)
	for n := range 9 {
		require.Equal(t, n%3, p.Pick(set, 0))
	}
	set[1].Load.Begin()
	for _, want := range []int{0, 2, 0, 2} {
		require.Equal(t, want, p.Pick(set, 0))
	}
	set[0].Load.Begin()
	set[2].Load.Begin()
	for n := range 9 {
		require.Equal(t, n%3, p.Pick(set, 0), "all have one")
	}
	require.Equal(t, 0, p.Pick(candidates(4, 5), 0), "nothing is known of them")
}

// serve picks for one call after the other, each of which lasts until the candidate has had as many
// turns as its slowness says, and returns how many calls each got.
func serve(p balancer.Picker, set []balancer.Candidate, slowness []int, calls int) []int {
	type call struct{ who, left int }
	hits := make([]int, len(set))
	var open []call
	for range calls {
		i := p.Pick(set, 0)
		set[i].Load.Begin()
		hits[i]++
		open = append(open, call{i, slowness[i]})
		rest := open[:0]
		for _, c := range open {
			if c.left--; c.left > 0 {
				rest = append(rest, c)
				continue
			}
			set[c.who].Load.End(time.Duration(slowness[c.who]) * time.Millisecond)
		}
		open = rest
	}
	for _, c := range open {
		set[c.who].Load.Drop()
	}
	return hits
}

// Those that are faster get more, in both policies, without being told who is fast.
func TestSlowOnesGetLess(t *testing.T) {
	for name, p := range map[string]balancer.Picker{"least pending": new(balancer.LeastPending),
		"power of two": balancer.PowerOfTwo{}} {
		t.Run(name, func(t *testing.T) {
			hits := serve(p, loaded(4), []int{2, 2, 2, 40}, 20_000)
			for _, fast := range hits[:3] {
				require.Greater(t, fast, 5*hits[3], "%v", hits)
				require.Greater(t, fast, 5000, "%v", hits)
			}
			require.Positive(t, hits[3], "%v", hits)
		})
	}
}

// One that was slow, and is fast again, gets its share again.
func TestPowerOfTwoFindsWhoHasRecovered(t *testing.T) {
	for _, n := range []int{2, 5} {
		set, slowness := loaded(n), make([]int, n)
		for i := range slowness {
			slowness[i] = 1
		}
		slowness[0] = 20
		var p balancer.PowerOfTwo
		before := serve(p, set, slowness, 20_000)
		require.Less(t, before[0], 20_000/n/10, "%v", before)
		slowness[0] = 1
		serve(p, set, slowness, 5000) // in which it is found
		after := serve(p, set, slowness, 20_000)
		require.Greater(t, after[0], 20_000/n/2, "%v", after)
	}
}

// A candidate that has just come is not flooded while it has answered nothing yet.
func TestPowerOfTwoDoesNotFloodTheUnknown(t *testing.T) {
	set := loaded(4)
	for i := range set[:3] {
		set[i].Load.Begin()
		set[i].Load.End(time.Second)
	}
	var p balancer.PowerOfTwo
	for range 4000 { // calls that nobody answers
		set[p.Pick(set, 0)].Load.Begin()
	}
	require.InDelta(t, 1000, set[3].Load.Pending(), 100)
}

// The theorem: of n calls to n candidates the most that one gets is ln ln n / ln 2 and a constant,
// where by chance alone it is ln n / ln ln n and a constant.
func TestPowerOfTwoIsBetterThanChance(t *testing.T) {
	const n = 10_000
	most := func(p balancer.Picker) int {
		set, most := loaded(n), 0
		for range n {
			l := set[p.Pick(set, 0)].Load
			l.Begin()
			most = max(most, l.Pending())
		}
		return most
	}
	require.LessOrEqual(t, most(balancer.PowerOfTwo{}), int(math.Log(math.Log(n))/math.Ln2+3))
	require.GreaterOrEqual(t, most(balancer.Random{}), 5)
}
