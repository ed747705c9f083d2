package paired_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/internal/paired"
)

// A cost of 2 % is found although the rate drifts by half and each slice is off by up to 10 %.
func TestCostIsToldFromNoise(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, cost := range []float64{0, 2, 10} {
		var c paired.Costs
		machine := 1.0
		for range 1000 {
			machine = min(max(machine+rng.Float64()*0.1-0.05, 0.5), 1)
			c.Quartet(func(on bool) float64 {
				rate := 1e6 * machine * (1 + rng.Float64()*0.2 - 0.1)
				if on {
					rate *= 1 - cost/100
				}
				return rate
			})
		}
		low, high := c.Interval()
		require.Less(t, low, c.Median())
		require.Greater(t, high, c.Median())
		require.Less(t, high-low, 1.5)
		require.InDelta(t, cost, c.Median(), 1)
	}
}
