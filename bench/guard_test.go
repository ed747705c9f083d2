package bench

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The guards are bounds that a change must not break unnoticed: allocations exactly, speed as a
// ratio to a baseline in the same run, at a fraction of what is usual, since a busy machine bends
// even ratios. One is broken when no round keeps it: what the machine does beside a round is not in
// all of them. They follow the claims from far below; see BENCHMARKS.md for the figures themselves.
func guards() []claim {
	list := of(rowPithos,
		claim{scenario: latencyScenario, metric: metricP50, base: rowPlain, most: 1.5},
		claim{scenario: callers64Scenario, metric: metricRate, base: rowPlain, least: 0.4},
		claim{scenario: callback64Scenario, metric: metricRate, base: rowPlain, least: 0.4})
	return append(list, noAllocGuards(rowPithos)...)
}

func laneGuards() []claim {
	list := of(rowLane,
		claim{scenario: latencyScenario, metric: metricP50, base: rowPlain, most: 0.8},
		claim{scenario: callers64Scenario, metric: metricRate, base: rowPlain, least: 0.5},
		claim{scenario: callback64Scenario, metric: metricRate, base: rowPlain, least: 0.5})
	return append(list, noAllocGuards(rowLane)...)
}

func noAllocGuards(row string) []claim {
	var list []claim
	for _, s := range []string{latencyScenario, callers64Scenario, callback64Scenario} {
		for _, m := range []string{clientAllocs, serverAllocs} {
			list = append(list, claim{scenario: s, row: row, metric: m, most: noAllocs})
		}
	}
	return list
}

func hubGuards() []claim {
	list := of(rowHub,
		claim{scenario: hubScenario, metric: metricP50, base: rowPlainHub, most: 2},
		claim{scenario: hub64Scenario, metric: metricRate, base: rowPlainHub, least: 0.3})
	if haveLanes {
		list = append(list, of(rowHubLane,
			claim{scenario: hubScenario, metric: metricP50, base: rowPlainHub, most: 0.8},
			claim{scenario: hub64Scenario, metric: metricRate, base: rowPlainHub, least: 0.4})...)
	}
	for _, c := range slices.Clone(list) {
		for _, m := range []string{clientAllocs, hubAllocs, serverAllocs} {
			list = append(list, claim{scenario: c.scenario, row: c.row, metric: m, most: noAllocs})
		}
	}
	return list
}

// BenchmarkGuard fails when a guard does, and so do the two below. They are benchmarks, not tests,
// since they measure time:
//
//	go test -run '^$' -bench Guard -benchtime 1x ./bench
func BenchmarkGuard(b *testing.B) { guard(b, guards()) }

func BenchmarkGuardLane(b *testing.B) {
	if !haveLanes {
		b.Skip("this build has no lane through shared memory")
	}
	guard(b, laneGuards())
}

func BenchmarkGuardHub(b *testing.B) { guard(b, hubGuards()) }

// guard measures what the guards speak of, and holds them against it.
func guard(b *testing.B, guards []claim) {
	o := Options{Rounds: 5, Duration: 200 * time.Millisecond}
	for _, c := range guards {
		o.Scenarios = append(o.Scenarios, c.scenario)
		o.Rows = append(o.Rows, c.row)
		if c.base != "" {
			o.Rows = append(o.Rows, c.base)
		}
	}
	for b.Loop() {
		r, err := Run(b.Context(), o)
		require.NoError(b, err)
		require.NoError(b, r.Err())
		for _, c := range guards {
			value, ok := r.value(c)
			require.True(b, ok, "%v", c)
			best := value.Min
			if c.least > 0 {
				best = value.Max
			}
			if !c.holds(best) {
				b.Errorf("%v: %.3f (%.3f-%.3f)", c, value.Median, value.Min, value.Max)
			}
		}
	}
}
