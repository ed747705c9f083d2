package bench

import "fmt"

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
	rowPithos   = "pithos"
	rowNoSpin   = "pithos-nospin"
	rowPortable = "portable"
)

// noAllocs is what an allocation per call must stay under: the measurement itself allocates a
// little.
const noAllocs = 0.01

func claims() []claim {
	list := []claim{
		{scenario: latencyScenario, metric: metricP50, base: rowPlain, most: 0.30},
		{scenario: latencyScenario, metric: metricP50, base: rowRawSpin, most: 1.4},
		{scenario: latencyScenario, metric: metricP50, base: rowPlain, most: 0.65, row: rowNoSpin},
		{scenario: latencyScenario, metric: metricP999, base: rowPlain, most: 1},
		{scenario: hogsScenario, metric: metricP999, base: rowPlain, most: 1},
		{scenario: callers64Scenario, metric: metricRate, base: rowPlain, least: 2},
		{scenario: callback64Scenario, metric: metricRate, base: rowPlain, least: 1.6},
		{scenario: callers1000Scenario, metric: metricRate, base: rowPlain, least: 1.4},
		{scenario: callback1000Scenario, metric: metricRate, base: rowPlain, least: 1.4},
		{scenario: body1MScenario, metric: metricBytes, base: rowRawSpin, least: 0.9},
		{scenario: body1MScenario, metric: metricBytes, base: rowRawBlock, least: 0.9},
		{scenario: callers64Scenario, metric: metricCPU, base: rowPlain, most: 0.6},
		{scenario: callback64Scenario, metric: metricCPU, base: rowPlain, most: 0.6},
		{scenario: pausesScenario, metric: clientSide + stopP99, most: 1000},
		{scenario: pausesScenario, metric: serverSide + stopP99, most: 1000},
		{scenario: pausesScenario, metric: clientSide + pauseP99, most: 1000},
		{scenario: pausesScenario, metric: serverSide + pauseP99, most: 1000},
		{scenario: idleScenario, metric: clientIdle, most: 0.1},
		{scenario: idleScenario, metric: serverIdle, most: 0.1},
	}
	for _, s := range []string{
		latencyScenario, callers64Scenario, callback64Scenario, callers1000Scenario,
		callback1000Scenario, body1MScenario,
	} {
		list = append(list,
			claim{scenario: s, metric: clientAllocs, most: noAllocs},
			claim{scenario: s, metric: serverAllocs, most: noAllocs})
	}
	for i := range list {
		if list[i].row == "" {
			list[i].row = rowPithos
		}
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
