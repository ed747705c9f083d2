package bench

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// guards are the bounds that a change must not break unnoticed: allocations exactly, speed as a
// ratio to plain in the same run, at a fraction of what is usual, since a busy machine bends even
// ratios. They follow the claims from far below; see BENCHMARKS.md for the figures
// themselves.
var guards = []claim{
	{scenario: latencyScenario, metric: metricP50, base: rowPlain, most: 1.5},
	{scenario: callers64Scenario, metric: metricRate, base: rowPlain, least: 0.4},
	{scenario: callback64Scenario, metric: metricRate, base: rowPlain, least: 0.4},
	{scenario: latencyScenario, metric: clientAllocs, most: noAllocs},
	{scenario: latencyScenario, metric: serverAllocs, most: noAllocs},
	{scenario: callers64Scenario, metric: clientAllocs, most: noAllocs},
	{scenario: callers64Scenario, metric: serverAllocs, most: noAllocs},
	{scenario: callback64Scenario, metric: clientAllocs, most: noAllocs},
	{scenario: callback64Scenario, metric: serverAllocs, most: noAllocs},
}

// BenchmarkGuard fails when a guard does. It is a benchmark, not a test, since it measures time:
//
//	go test -run '^$' -bench Guard -benchtime 1x ./bench
func BenchmarkGuard(b *testing.B) {
	for b.Loop() {
		r, err := Run(b.Context(), Options{
			Rounds: 5, Duration: 200 * time.Millisecond,
			Rows:      []string{rowPithos, rowPlain},
			Scenarios: []string{latencyScenario, callers64Scenario, callback64Scenario},
		})
		require.NoError(b, err)
		require.NoError(b, r.Err())
		for _, c := range guards {
			c.row = rowPithos
			value, ok := r.value(c)
			require.True(b, ok, "%v", c)
			if !c.holds(value.Median) {
				b.Errorf("%v: %.3f (%.3f-%.3f)", c, value.Median, value.Min, value.Max)
			}
		}
	}
}
