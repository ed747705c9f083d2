package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Options says what a run measures. The zero value measures everything.
type Options struct {
	Rounds    int           // interleaved rounds; 0: 5
	Duration  time.Duration // of one measurement; 0: 500 ms
	Rows      []string      // names, or patterns of path.Match; none: every row
	Scenarios []string      // likewise; the name of a group stands for all that are in it
	Peers     int           // of hub-scale; 0: 10,000
	BusyPoll  time.Duration // how long the product spins; 0: its default
	Profiles  string        // an existing folder for a CPU profile of each process, or none
	Progress  io.Writer     // a line for each measurement; nil: none
}

const (
	defaultRounds   = 5
	defaultDuration = 500 * time.Millisecond
)

// runner is a run under way.
type runner struct {
	options   Options
	rows      []Row
	scenarios []Scenario
	folder    string // of the sockets
	report    *Report
	begun     time.Time
	done, all int // measurements
}

// Run measures the rows side by side: in each round every scenario, in each scenario every row
// that can do it, beginning with another one in each round. Every measurement has a server
// process of its own. When ctx ends, Run returns what it has, with the error of ctx. A row that
// fails does not end the run: its error is in the report.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Rounds <= 0 {
		o.Rounds = defaultRounds
	}
	if o.Duration <= 0 {
		o.Duration = defaultDuration
	}
	if o.Peers <= 0 {
		o.Peers = defaultPeers
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	rows, err := pick(Rows(), o.Rows, Row.names)
	if err != nil {
		return nil, err
	}
	scenarios, err := pick(Scenarios(), o.Scenarios, Scenario.names)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "pithos-bench-")
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer os.RemoveAll(folder)
	r := &runner{
		options:   o,
		rows:      rows,
		scenarios: scenarios,
		folder:    folder,
		report:    newReport(o, rows, scenarios),
		begun:     time.Now(),
	}
	for _, s := range scenarios {
		r.all += o.Rounds * len(s.able(rows))
	}
	for round := range o.Rounds {
		for _, s := range scenarios {
			if err = r.measure(ctx, s, round); err != nil {
				return r.report, err
			}
		}
	}
	return r.report, nil
}

// able returns the rows that can do s.
func (s Scenario) able(rows []Row) []Row {
	return slices.DeleteFunc(slices.Clone(rows), func(r Row) bool {
		return s.Modes&^r.Modes != 0 || (s.Modes^r.Modes)&apart != 0 ||
			r.Modes&Long != 0 && s.body < longBody
	})
}

// measure measures one scenario in one round.
func (r *runner) measure(ctx context.Context, s Scenario, round int) error {
	if s.hogs {
		stop, err := startHogs(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	rows := s.able(r.rows)
	for i := range rows {
		row := rows[(i+round)%len(rows)]
		m := &measurement{
			row:      row,
			scenario: s,
			setup:    s.setup(filepath.Join(r.folder, fmt.Sprint(r.done)), r.options.BusyPoll),
			duration: r.options.Duration,
			peers:    r.options.Peers,
			profile:  profileName(r.options.Profiles, s.Name, row.Name, round),
		}
		measure := (*measurement).run
		if s.measure != nil {
			measure = s.measure
		}
		v, err := measure(m, ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.done++
		r.report.add(s.Name, row.Name, v, m.hist, err)
		r.progress(s, row, round, v, err)
	}
	return nil
}

// progress writes one line.
func (r *runner) progress(s Scenario, row Row, round int, v values, err error) {
	left := time.Since(r.begun) / time.Duration(r.done) * time.Duration(r.all-r.done)
	text := "failed: " + fmt.Sprint(err)
	if skipped, ok := errors.AsType[*skipError](err); ok {
		text = "skipped: " + skipped.missing
	}
	if err == nil {
		c := s.columns[0]
		text = fmt.Sprintf("%s "+c.format, c.title, v[c.metric]*c.factor())
	}
	fmt.Fprintf(r.options.Progress, "[%*d/%d, %v left] round %d/%d %s %s: %s\n",
		len(fmt.Sprint(r.all)), r.done, r.all, left.Round(time.Second),
		round+1, r.options.Rounds, s.Name, row.Name, text)
}

var errUnknown = errors.New("bench: unknown name")

func (r Row) names() []string { return []string{r.Name} }

func (s Scenario) names() []string { return []string{s.Name, s.Group} }

// pick returns the items one of whose names matches one of the patterns, in their own order.
func pick[T any](items []T, patterns []string, names func(T) []string) ([]T, error) {
	if len(patterns) == 0 {
		return items, nil
	}
	chosen := make([]bool, len(items))
	for _, pattern := range patterns {
		found := false
		for i, item := range items {
			match, err := matches(pattern, names(item))
			if err != nil {
				return nil, fmt.Errorf("bench: pattern %q: %w", pattern, err)
			}
			chosen[i] = chosen[i] || match
			found = found || match
		}
		if !found {
			var known []string
			for _, item := range items {
				known = append(known, names(item)[0])
			}
			return nil, fmt.Errorf("%w %q, there are: %s",
				errUnknown, pattern, strings.Join(known, ", "))
		}
	}
	var list []T
	for i, item := range items {
		if chosen[i] {
			list = append(list, item)
		}
	}
	return list, nil
}

func matches(pattern string, names []string) (bool, error) {
	for _, name := range names {
		if match, err := filepath.Match(pattern, name); match || err != nil {
			return match, err
		}
	}
	return false, nil
}
