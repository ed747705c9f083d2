package balancer_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/balancer"
)

// candidates is a set with these IDs.
func candidates(ids ...uint64) []balancer.Candidate {
	set := make([]balancer.Candidate, len(ids))
	for i, id := range ids {
		set[i].ID = id
	}
	return set
}

// upTo is a set with the IDs 1 to n.
func upTo(n int) []balancer.Candidate {
	set := make([]balancer.Candidate, n)
	for i := range set {
		set[i].ID = uint64(i + 1)
	}
	return set
}

func TestRoundRobinNobody(t *testing.T) {
	var r balancer.RoundRobin
	require.Equal(t, -1, r.Pick(nil, 7))
}

func TestRoundRobinInTurn(t *testing.T) {
	var r balancer.RoundRobin
	set := candidates(3, 5, 8)
	for n := range 12 {
		require.Equal(t, n%3, r.Pick(set, uint64(n)), "pick %d", n)
	}
}

func TestRoundRobinNewSnapshot(t *testing.T) {
	steps := []struct {
		name string
		ids  []uint64
		want uint64
	}{
		{"first of three", []uint64{3, 5, 8}, 3},
		{"second of three", []uint64{3, 5, 8}, 5},
		{"whose turn it was has gone", []uint64{3, 8, 9}, 8},
		{"the next has gone, too", []uint64{3, 12}, 12},
		{"end of the turn", []uint64{3, 12}, 3},
		{"one joins in front of the next", []uint64{3, 4, 12}, 4},
		{"all others are new", []uint64{40, 41}, 40},
		{"all before are back", []uint64{3, 12}, 3},
		{"alone", []uint64{3}, 3},
		{"still alone", []uint64{3}, 3},
	}
	var r balancer.RoundRobin
	for _, s := range steps {
		set := candidates(s.ids...)
		require.Equal(t, s.want, set[r.Pick(set, 0)].ID, s.name)
	}
}

// The law: two candidates that are in every snapshot never differ by more than one pick.
func TestRoundRobinFairWhileOthersComeAndGo(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	var r balancer.RoundRobin
	stay := map[uint64]int{10: 0, 20: 0, 30: 0, 40: 0}
	for range 20000 {
		var ids []uint64
		for id := uint64(1); id <= 45; id++ {
			if _, ok := stay[id]; ok || rng.IntN(3) == 0 {
				ids = append(ids, id)
			}
		}
		set := candidates(ids...)
		id := set[r.Pick(set, 0)].ID
		if _, ok := stay[id]; ok {
			stay[id]++
		}
		least, most := stay[10], stay[10]
		for _, n := range stay {
			least, most = min(least, n), max(most, n)
		}
		require.LessOrEqual(t, most-least, 1, "%v", stay)
	}
	require.Greater(t, stay[10], 500)
}

func TestRoundRobinManyGoroutines(t *testing.T) {
	const workers, each, n = 8, 7000, 7
	var r balancer.RoundRobin
	var hits [workers][n]int
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			set := upTo(n)
			for range each {
				hits[w][r.Pick(set, 0)]++
			}
		})
	}
	wg.Wait()
	for i := range n {
		sum := 0
		for w := range workers {
			sum += hits[w][i]
		}
		require.Equal(t, workers*each/n, sum, "candidate %d", i)
	}
}

func TestAllocsRoundRobin(t *testing.T) {
	var r balancer.RoundRobin
	set := upTo(100)
	require.Zero(t, testing.AllocsPerRun(1000, func() { r.Pick(set, 0) }))
}

func BenchmarkRoundRobin(b *testing.B) {
	for _, n := range []int{1, 4, 64, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var r balancer.RoundRobin
			set := upTo(n)
			b.ReportAllocs()
			for b.Loop() {
				r.Pick(set, 0)
			}
		})
	}
}
