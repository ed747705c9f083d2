package bench

import "slices"

// Spread is one figure over the rounds of a run.
type Spread struct {
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Rounds []float64 `json:"rounds"` // in the order they were measured
}

// newSpread keeps values. Of an even number of them the median is the mean of the middle two.
func newSpread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := sorted[len(sorted)/2]
	if len(sorted)%2 == 0 {
		middle = (middle + sorted[len(sorted)/2-1]) / 2
	}
	return Spread{Median: middle, Min: sorted[0], Max: sorted[len(sorted)-1], Rounds: values}
}

// over returns the ratio of s to base: of the medians, and the least and the greatest ratio of one
// round. If a round of either failed, only the medians can be compared.
func (s Spread) over(base Spread) Spread {
	var ratios []float64
	for i := range s.Rounds {
		if len(s.Rounds) == len(base.Rounds) {
			ratios = append(ratios, ratio(s.Rounds[i], base.Rounds[i]))
		}
	}
	median := ratio(s.Median, base.Median)
	if ratios == nil {
		return Spread{Median: median, Min: median, Max: median}
	}
	r := newSpread(ratios)
	r.Median = median
	return r
}

// ratio is 0 where there is none, since JSON has no infinity.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
