// Package paired measures what something costs that can be turned on and off, by the rates of short
// slices in turns. What a machine does beside the measurement lasts for longer than a few slices,
// so it is in both of a pair, and not in their ratio; what is left of it shows as an interval.
//
//	off on on off | on off off on | off on on off | ...      each quartet gives one ratio
//
// For benchmarks only.
package paired

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// resamples is how many samples are drawn from those measured for the interval (B. Efron, Bootstrap
// Methods: Another Look at the Jackknife, 1979).
const resamples = 2000

// Costs are costs in percent, one of each quartet of slices.
type Costs []float64

// Quartet adds the cost of one more quartet. rate is what a slice brings, with or without.
func (c *Costs) Quartet(rate func(on bool) float64) {
	var sums [2]float64
	first := len(*c)%2 == 1
	for _, on := range [...]bool{first, !first, !first, first} {
		if on {
			sums[1] += rate(true)
		} else {
			sums[0] += rate(false)
		}
	}
	*c = append(*c, 100*(1-sums[1]/sums[0]))
}

// Median is the median cost.
func (c Costs) Median() float64 { return c.quantile(0.5) }

func (c Costs) quantile(q float64) float64 {
	sorted := slices.Sorted(slices.Values(c))
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

// Interval is where the median lies with a probability of 95 %.
func (c Costs) Interval() (low, high float64) {
	rng := rand.New(rand.NewPCG(1, 2))
	medians := make(Costs, resamples)
	drawn := make(Costs, len(c))
	for i := range medians {
		for k := range drawn {
			drawn[k] = c[rng.IntN(len(c))]
		}
		medians[i] = drawn.Median()
	}
	return medians.quantile(0.025), medians.quantile(0.975)
}

// Report reports the median, the ends of its interval and the quartiles as metrics.
func (c Costs) Report(b *testing.B) {
	low, high := c.Interval()
	b.ReportMetric(c.Median(), "cost-%")
	b.ReportMetric(low, "low-%")
	b.ReportMetric(high, "high-%")
	b.ReportMetric(c.quantile(0.25), "quarter-%")
	b.ReportMetric(c.quantile(0.75), "three-quarters-%")
	b.ReportMetric(0, "ns/op")
	b.Logf("cost %.2f %% (95 %% interval %.2f to %.2f) of %d quartets", c.Median(), low, high,
		len(c))
}
