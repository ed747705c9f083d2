package balancer_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/balancer"
)

// The laws that hold for every policy, and where they differ, its own below.

// loaded is a set with the IDs 1 to n, each with a Load.
func loaded(n int) []balancer.Candidate {
	set := upTo(n)
	for i := range set {
		set[i].Load = new(balancer.Load)
	}
	return set
}

// forEach runs a test for each policy that there is.
func forEach(t *testing.T, test func(t *testing.T, fresh func() balancer.Picker)) {
	for _, name := range balancer.Names() {
		fresh, err := balancer.Parse(name)
		require.NoError(t, err)
		t.Run(name, func(t *testing.T) { test(t, fresh) })
	}
}

func TestParse(t *testing.T) {
	require.Equal(t, []string{"round-robin", "random", "least-pending", "power-of-two", "weighted",
		"consistent-hash"}, balancer.Names())
	_, err := balancer.Parse("fastest")
	require.EqualError(t, err, `balancer: unknown policy "fastest", known are round-robin, `+
		`random, least-pending, power-of-two, weighted, consistent-hash`)
	one, err := balancer.Parse("round-robin")
	require.NoError(t, err)
	require.NotSame(t, one(), one())
}

func TestNobodyAndAlone(t *testing.T) {
	forEach(t, func(t *testing.T, fresh func() balancer.Picker) {
		p := fresh()
		for key := range uint64(20) {
			require.Equal(t, -1, p.Pick(nil, key))
			require.Equal(t, 0, p.Pick(candidates(77), key))
			require.Equal(t, 0, p.Pick(loaded(1), key))
		}
	})
}

func TestAllocs(t *testing.T) {
	forEach(t, func(t *testing.T, fresh func() balancer.Picker) {
		p, key := fresh(), uint64(0)
		for _, set := range [][]balancer.Candidate{upTo(100), loaded(100)} {
			require.Zero(t, testing.AllocsPerRun(1000, func() {
				i := p.Pick(set, key)
				key++
				if l := set[i].Load; l != nil {
					l.Begin()
					l.End(time.Duration(key))
				}
			}))
		}
	})
}

// band fails when got is further from want than chance explains: 7 standard deviations, which is
// once in 400 billion.
func band(t *testing.T, picks, got int, share float64, who string) {
	t.Helper()
	n := float64(picks)
	require.InDelta(t, n*share, got, 7*math.Sqrt(n*share*(1-share))+1, who)
}

// Without anything to tell them apart, all candidates get the same, whatever the policy.
func TestEvenWhenEqual(t *testing.T) {
	const n, picks = 7, 70_000
	forEach(t, func(t *testing.T, fresh func() balancer.Picker) {
		p, set := fresh(), loaded(n)
		rng := rand.New(rand.NewPCG(1, 2))
		var hits [n]int
		for range picks {
			hits[p.Pick(set, rng.Uint64())]++
		}
		for i, got := range hits {
			band(t, picks, got, 1.0/n, fmt.Sprint("candidate ", i))
		}
	})
}

// Those that stay get the same as each other while others come and go, all the time.
func TestEvenWhileOthersComeAndGo(t *testing.T) {
	forEach(t, func(t *testing.T, fresh func() balancer.Picker) {
		p, all := fresh(), loaded(45)
		rng := rand.New(rand.NewPCG(3, 4))
		stay := map[uint64]int{10: 0, 20: 0, 30: 0, 40: 0}
		sum := 0
		for range 40_000 {
			var set []balancer.Candidate
			for _, c := range all {
				if _, ok := stay[c.ID]; ok || rng.IntN(3) == 0 {
					set = append(set, c)
				}
			}
			id := set[p.Pick(set, rng.Uint64())].ID
			if _, ok := stay[id]; ok {
				stay[id]++
				sum++
			}
		}
		require.Greater(t, sum, 5000)
		for id, got := range stay {
			band(t, sum, got, 0.25, fmt.Sprint("candidate ", id))
		}
	})
}

// Any number of goroutines may pick, and no pick is out of range.
func TestManyGoroutines(t *testing.T) {
	const workers, each, n = 8, 5000, 9
	forEach(t, func(t *testing.T, fresh func() balancer.Picker) {
		p, all := fresh(), loaded(n)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for k := range each {
					set := all[:1+(k+w)%n]
					i := p.Pick(set, uint64(k))
					if i < 0 || i >= len(set) {
						panic(fmt.Sprint("picked ", i, " of ", len(set)))
					}
					set[i].Load.Begin()
					set[i].Load.End(time.Microsecond)
				}
			})
		}
		wg.Wait()
		for _, c := range all {
			require.Zero(t, c.Load.Pending())
		}
	})
}

func TestLoad(t *testing.T) {
	var l balancer.Load
	require.Zero(t, l.Latency())
	for range 3 {
		l.Begin()
	}
	require.Equal(t, 3, l.Pending())
	l.End(800)
	require.Equal(t, time.Duration(800), l.Latency(), "the first one is the average")
	l.End(1600)
	require.Equal(t, time.Duration(900), l.Latency(), "an eighth of the way")
	l.Drop()
	require.Equal(t, time.Duration(900), l.Latency())
	require.Zero(t, l.Pending())
	for range 200 {
		l.Begin()
		l.End(0)
	}
	require.Positive(t, l.Latency(), "0 would say that nothing is known")
	require.Less(t, l.Latency(), time.Duration(10))
}

func BenchmarkPick(b *testing.B) {
	for _, name := range balancer.Names() {
		fresh, _ := balancer.Parse(name)
		for _, n := range []int{2, 64} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				p, set, key := fresh(), loaded(n), uint64(0)
				for i := range set {
					set[i].Load.Begin()
				}
				b.ReportAllocs()
				for b.Loop() {
					key++
					p.Pick(set, key)
				}
			})
		}
	}
}
