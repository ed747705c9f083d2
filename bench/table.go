package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteJSON writes the report with the figures of every round.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteTable writes the report as text: where it was measured, a table for each scenario, and how
// the claims fared.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	m := r.Machine
	fmt.Fprintf(t, "commit %s, %s\n", orUnknown(m.Commit), m.Date.Format(time.RFC3339))
	fmt.Fprintf(t, "%s, %d cores, GOMAXPROCS %d, kernel %s, %s %s\n",
		m.CPU, m.Cores, m.Procs, m.Kernel, m.Go, m.System)
	fmt.Fprintf(t, "%s\n", m.Command)
	fmt.Fprintf(t, "%d interleaved rounds of %v, a process for each part; "+
		"median (least-greatest round)\n", r.Rounds, r.Duration)
	for _, p := range r.Earlier {
		fmt.Fprintf(t, "from commit %s, %s, %d rounds of %v, %s: %s\n",
			orUnknown(p.Machine.Commit), p.Machine.Date.Format(time.RFC3339), p.Rounds,
			p.Duration, p.Machine.Command, strings.Join(p.Scenarios, " "))
	}
	fmt.Fprintln(t, "a column with / is the ratio to that row: of the medians (of single rounds)")
	for _, s := range r.scenarios {
		if slices.ContainsFunc(r.Results, func(v *Result) bool { return v.Scenario == s.Name }) {
			r.writeScenario(t, s)
		}
	}
	r.writeClaims(t)
	return t.Flush()
}

func (r *Report) writeScenario(t *tabwriter.Writer, s Scenario) {
	fmt.Fprintf(t, "\n%s: %s\n", s.Name, s.About)
	titles := []string{"row"}
	for _, c := range s.columns {
		if c.title != "" {
			titles = append(titles, c.title)
		}
	}
	fmt.Fprintln(t, strings.Join(titles, "\t"))
	for _, row := range s.able(r.rows) {
		result := r.find(s.Name, row.Name)
		if result == nil {
			continue
		}
		if result.Skipped != "" {
			fmt.Fprintf(t, "%s\tskipped: %s\n", row.Name, result.Skipped)
			continue
		}
		if len(result.Metrics) == 0 {
			fmt.Fprintf(t, "%s\tfailed: %s\n", row.Name, strings.Join(result.Errors, "; "))
			continue
		}
		cells := []string{row.Name}
		for _, c := range s.columns {
			text := c.cell(r, s.Name, row.Name)
			if c.title == "" {
				cells[len(cells)-1] += text
			} else {
				cells = append(cells, text)
			}
		}
		if n := len(result.Errors); n > 0 {
			cells = append(cells, fmt.Sprintf("%d rounds failed: %s", n, result.Errors[0]))
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
}

func (r *Report) writeClaims(t *tabwriter.Writer) {
	if len(r.Claims) == 0 {
		return
	}
	fmt.Fprintln(t, "\nclaims\tmedian (least-greatest round)\t")
	for _, v := range r.Claims {
		word := "holds"
		if !v.Holds {
			word = "FAILS"
		}
		fmt.Fprintf(t, "%s\t%.3f (%.3f-%.3f)\t%s\n",
			v.Claim, v.Value.Median, v.Value.Min, v.Value.Max, word)
	}
}

func orUnknown(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}
