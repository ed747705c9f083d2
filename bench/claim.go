package bench

import (
	"fmt"
	"slices"
)

// A claim is a bound that a figure of the product keeps, as a ratio to a row of the same run or,
// with no base, as it is.
type claim struct {
	scenario string
	row      string
	metric   string
	base     string
	least    float64 // the value is at least so much, if this is not 0
	most     float64 // at most so much, otherwise
}

// Verdict is a claim held against a run.
type Verdict struct {
	Claim string `json:"claim"`
	Value Spread `json:"value"`
	Holds bool   `json:"holds"` // of the median
}

const (
	rowPithos     = "pithos"
	rowNoSpin     = "pithos-nospin"
	rowLane       = "lane"
	rowLaneNoSpin = "lane-nospin"
	rowZerocopy   = "lane-zerocopy"
	rowPortable   = "portable"
	rowHub        = "hub"
	rowHubLane    = "hub-lane"
)

// noAllocs is what an allocation per call must stay under: the measurement itself allocates a
// little.
const noAllocs = 0.01

func claims() []claim {
	list := of(rowPithos,
		claim{scenario: latencyScenario, metric: metricP50, base: rowPlain, most: 0.30},
		claim{scenario: latencyScenario, metric: metricP50, base: rowRawSpin, most: 1.4},
		claim{scenario: latencyScenario, metric: metricP999, base: rowPlain, most: 1},
		claim{scenario: hogsScenario, metric: metricP999, base: rowPlain, most: 1},
		claim{scenario: callers64Scenario, metric: metricRate, base: rowPlain, least: 2},
		claim{scenario: callback64Scenario, metric: metricRate, base: rowPlain, least: 1.6},
		claim{scenario: callers1000Scenario, metric: metricRate, base: rowPlain, least: 1.4},
		claim{scenario: callback1000Scenario, metric: metricRate, base: rowPlain, least: 1.4},
		claim{scenario: body1MScenario, metric: metricBytes, base: rowRawSpin, least: 0.9},
		claim{scenario: body1MScenario, metric: metricBytes, base: rowRawBlock, least: 0.9},
		claim{scenario: callers64Scenario, metric: metricCPU, base: rowPlain, most: 0.6},
		claim{scenario: callback64Scenario, metric: metricCPU, base: rowPlain, most: 0.6},
		claim{scenario: pausesScenario, metric: clientSide + stopP99, most: 1000},
		claim{scenario: pausesScenario, metric: serverSide + stopP99, most: 1000},
		claim{scenario: pausesScenario, metric: clientSide + pauseP99, most: 1000},
		claim{scenario: pausesScenario, metric: serverSide + pauseP99, most: 1000},
		claim{scenario: crowdScenario, metric: metricRate, base: rowNoSpin, least: 1},
		claim{scenario: idleScenario, metric: clientIdle, most: 0.1},
		claim{scenario: idleScenario, metric: serverIdle, most: 0.1},
	)
	list = append(list, of(rowNoSpin,
		claim{scenario: latencyScenario, metric: metricP50, base: rowPlain, most: 0.65},
	)...)
	for _, row := range []string{rowPithos, rowLane} {
		for _, s := range []string{
			latencyScenario, callers64Scenario, callback64Scenario, callers1000Scenario,
			callback1000Scenario, body64K8Scenario, body1MScenario,
		} {
			list = append(list,
				claim{scenario: s, row: row, metric: clientAllocs, most: noAllocs},
				claim{scenario: s, row: row, metric: serverAllocs, most: noAllocs})
		}
	}
	return slices.Concat(list, laneClaims(), hubClaims())
}

// laneClaims are those of shared memory.
func laneClaims() []claim {
	return slices.Concat(of(rowLane,
		claim{scenario: latencyScenario, metric: metricP50, base: rowRing, most: 2.5},
		claim{scenario: latencyScenario, metric: metricP50, base: rowPlain, most: 0.08},
		claim{scenario: latencyScenario, metric: metricP99, most: 3},
		claim{scenario: hogsScenario, metric: metricP50, base: rowNoSpin, most: 1.2},
		claim{scenario: hogsScenario, metric: metricP999, base: rowNoSpin, most: 1.2},
		claim{scenario: callback64Scenario, metric: metricRate, base: rowRing, least: 0.5},
		claim{scenario: callback64Scenario, metric: metricRate, base: rowPithos, least: 2},
		claim{scenario: callers64Scenario, metric: metricRate, base: rowPithos, least: 1.5},
		claim{scenario: body64KScenario, metric: metricBytes, base: rowRawSpin, least: 1.5},
		claim{scenario: body64K8Scenario, metric: metricBytes, base: rowRawSpin, least: 2},
		claim{scenario: body1MScenario, metric: metricBytes, base: rowRawSpin, least: 1.1},
		claim{scenario: crowdScenario, metric: metricRate, base: rowLaneNoSpin, least: 1},
		claim{scenario: pausesScenario, metric: clientSide + stopP99, most: 1000},
		claim{scenario: pausesScenario, metric: serverSide + stopP99, most: 1000},
		claim{scenario: idleScenario, metric: clientIdle, most: 0.1},
		claim{scenario: idleScenario, metric: serverIdle, most: 0.1},
	), of(rowLaneNoSpin,
		claim{scenario: latencyScenario, metric: metricP50, base: rowNoSpin, most: 0.9},
	), of(rowZerocopy,
		claim{scenario: body1MScenario, metric: metricBytes, base: rowRawSpin, least: 1.3},
		claim{scenario: body1MScenario, metric: clientAllocs, most: noAllocs},
		claim{scenario: body1MScenario, metric: serverAllocs, most: noAllocs},
	))
}

// hubClaims are those of two hops, and of Pandora's clients.
func hubClaims() []claim {
	list := slices.Concat(of(rowHub,
		claim{scenario: hubScenario, metric: metricP50, base: rowPlainHub, most: 0.5},
		claim{scenario: hub10Scenario, metric: metricRate, base: rowPlainHub, least: 2.5},
		claim{scenario: hub64Scenario, metric: metricRate, base: rowPlainHub, least: 1.6},
		claim{scenario: scaleScenario, metric: scaleP50, most: 2},
		claim{scenario: scaleScenario, metric: scaleP99, most: 2},
	), of(rowHubLane,
		claim{scenario: hubScenario, metric: metricP50, base: rowRingHub, most: 2.5},
		claim{scenario: hubScenario, metric: metricP50, base: rowPlainHub, most: 0.2},
		claim{scenario: hub64Scenario, metric: metricRate, base: rowRingHub, least: 0.5},
		claim{scenario: hub64Scenario, metric: metricRate, base: rowPlainHub, least: 1.8},
		claim{scenario: scaleScenario, metric: scaleP50, most: 2},
		claim{scenario: scaleScenario, metric: scaleP99, most: 2},
	), of(rowPandora,
		claim{scenario: pandoraScenario, metric: metricRate, base: rowNodeHub, least: 1.5},
		claim{scenario: pandoraScenario, metric: metricP99, base: rowNodeHub, most: 0.5},
	))
	for _, row := range []string{rowHub, rowHubLane} {
		for _, s := range []string{hubScenario, hub64Scenario} {
			for _, m := range []string{clientAllocs, hubAllocs, serverAllocs} {
				list = append(list, claim{scenario: s, row: row, metric: m, most: noAllocs})
			}
		}
	}
	return list
}

// of says whose claims these are.
func of(row string, list ...claim) []claim {
	for i := range list {
		list[i].row = row
	}
	return list
}

// judge holds every claim whose rows were measured against the report.
func (r *Report) judge() []Verdict {
	var list []Verdict
	for _, c := range claims() {
		if value, ok := r.value(c); ok {
			v := Verdict{Claim: c.String(), Value: value, Holds: c.holds(value.Median)}
			list = append(list, v)
		}
	}
	return list
}

// value returns the figure that a claim speaks of, and false if it was not measured.
func (r *Report) value(c claim) (Spread, bool) {
	value, ok := r.spread(c.scenario, c.row, c.metric)
	if !ok || c.base == "" {
		return value, ok
	}
	base, ok := r.spread(c.scenario, c.base, c.metric)
	return value.over(base), ok
}

func (c claim) holds(value float64) bool {
	if c.least > 0 {
		return value >= c.least
	}
	return value <= c.most
}

// String describes the claim in a line.
func (c claim) String() string {
	text := fmt.Sprintf("%s: %s of %s", c.scenario, c.metric, c.row)
	if c.base != "" {
		text += " to " + c.base
	}
	if c.least > 0 {
		return fmt.Sprintf("%s at least %g", text, c.least)
	}
	return fmt.Sprintf("%s at most %g", text, c.most)
}
