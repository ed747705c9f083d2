package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/pithos-ipc/pithos/hub"
)

// Report is the outcome of a run.
type Report struct {
	Machine  Machine       `json:"machine"`
	Rounds   int           `json:"rounds"`
	Duration time.Duration `json:"duration_ns"`  // of one measurement
	BusyPoll time.Duration `json:"busy_poll_ns"` // 0: the product's default
	Results  []*Result     `json:"results"`
	Claims   []Verdict     `json:"claims"`
	Earlier  []Part        `json:"earlier,omitempty"` // runs that Include has added

	rows      []Row
	scenarios []Scenario
}

// Part is a run whose results are in the report of a later one.
type Part struct {
	Machine   Machine       `json:"machine"`
	Rounds    int           `json:"rounds"`
	Duration  time.Duration `json:"duration_ns"`
	BusyPoll  time.Duration `json:"busy_poll_ns"`
	Scenarios []string      `json:"scenarios"` // that are still in the report
}

// Result is one row in one scenario.
type Result struct {
	Scenario  string            `json:"scenario"`
	Row       string            `json:"row"`
	Metrics   map[string]Spread `json:"metrics"`
	Histogram []hub.Bucket      `json:"histogram,omitempty"` // of all rounds
	Errors    []string          `json:"errors,omitempty"`
	Skipped   string            `json:"skipped,omitempty"` // what was missing

	hist *hub.Histogram
}

func newReport(o Options, rows []Row, scenarios []Scenario) *Report {
	return &Report{
		Machine:   readMachine(),
		Rounds:    o.Rounds,
		Duration:  o.Duration,
		BusyPoll:  o.BusyPoll,
		rows:      rows,
		scenarios: scenarios,
	}
}

// add adds one measurement: its figures or its error.
func (r *Report) add(scenario, row string, v values, h *hub.Histogram, err error) {
	s := r.find(scenario, row)
	if s == nil {
		s = &Result{Scenario: scenario, Row: row, Metrics: make(map[string]Spread)}
		r.Results = append(r.Results, s)
	}
	if skipped, ok := errors.AsType[*skipError](err); ok {
		s.Skipped = skipped.missing
		return
	}
	if err != nil {
		s.Errors = append(s.Errors, err.Error())
		return
	}
	for name, value := range v {
		s.Metrics[name] = newSpread(append(s.Metrics[name].Rounds, value))
	}
	if h != nil {
		if s.hist == nil {
			s.hist = new(hub.Histogram)
		}
		s.hist.Merge(h)
		s.Histogram = s.hist.Buckets()
	}
	r.Claims = r.judge()
}

// ReadReport reads what WriteJSON wrote.
func ReadReport(in io.Reader) (*Report, error) {
	r := &Report{rows: Rows(), scenarios: Scenarios()}
	if err := json.NewDecoder(in).Decode(r); err != nil {
		return nil, fmt.Errorf("bench: read report: %w", err)
	}
	return r, nil
}

// Include adds the results of an earlier run, but for the scenarios that this one has measured, and
// judges the claims again. Ratios stay what they are: those of rows of one run.
func (r *Report) Include(earlier *Report) {
	mine := make(map[string]bool)
	for _, result := range r.Results {
		mine[result.Scenario] = true
	}
	parts := append(slices.Clone(earlier.Earlier), Part{
		Machine: earlier.Machine, Rounds: earlier.Rounds, Duration: earlier.Duration,
		BusyPoll: earlier.BusyPoll, Scenarios: earlier.own(),
	})
	for _, p := range parts {
		p.Scenarios = slices.DeleteFunc(slices.Clone(p.Scenarios), func(name string) bool {
			return mine[name]
		})
		if len(p.Scenarios) > 0 {
			r.Earlier = append(r.Earlier, p)
		}
	}
	for _, result := range earlier.Results {
		if !mine[result.Scenario] {
			r.Results = append(r.Results, result)
		}
	}
	r.rows, r.scenarios = Rows(), Scenarios()
	r.Claims = r.judge()
}

// own returns the scenarios of the results that are no earlier run's.
func (r *Report) own() []string {
	var names []string
	for _, result := range r.Results {
		theirs := func(p Part) bool { return slices.Contains(p.Scenarios, result.Scenario) }
		if !slices.Contains(names, result.Scenario) && !slices.ContainsFunc(r.Earlier, theirs) {
			names = append(names, result.Scenario)
		}
	}
	return names
}

func (r *Report) find(scenario, row string) *Result {
	for _, s := range r.Results {
		if s.Scenario == scenario && s.Row == row {
			return s
		}
	}
	return nil
}

// spread returns a figure, and false if it was not measured.
func (r *Report) spread(scenario, row, metric string) (Spread, bool) {
	s := r.find(scenario, row)
	if s == nil {
		return Spread{}, false
	}
	v, ok := s.Metrics[metric]
	return v, ok
}

// Err returns the errors of the measurements that failed.
func (r *Report) Err() error {
	var err error
	for _, s := range r.Results {
		for _, text := range s.Errors {
			err = errors.Join(err, fmt.Errorf("%s %s: %s", s.Scenario, s.Row, text))
		}
	}
	return err
}
