package supervisor

import (
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/agext/levenshtein"
)

const (
	mebi = 1 << 20

	maxScale = 1024
	minQueue = 64 << 10
	maxLine  = 1 << 20
)

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$`)

// whole returns s with its defaults filled in, or all that is wrong with it.
func (s Spec) whole() (Spec, error) {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("supervisor: process %q: "+format,
			append([]any{s.Name}, args...)...))
	}
	if !validName.MatchString(s.Name) {
		wrong("name, want 1 to 128 letters, digits and . _ - / : beginning with a letter or digit")
	}
	if s.Command == "" {
		wrong("no command")
	}
	for _, text := range append([]string{s.Command, s.Dir, s.Services}, s.Args...) {
		if strings.ContainsRune(text, 0) {
			wrong("a zero byte in %.40q", text)
		}
	}
	for _, e := range s.Env {
		if key, _, ok := strings.Cut(e, "="); !ok || key == "" || strings.ContainsRune(e, 0) {
			wrong("env %.40q, want KEY=value", e)
		}
	}
	if s.Scale < Auto || s.Scale > maxScale {
		wrong("scale %d, want 1 to %d or Auto", s.Scale, maxScale)
	}
	s.Scale = instances(s.Scale)
	s.Ready, s.Restart = s.Ready.whole(wrong), s.Restart.whole(wrong)
	s.Stop, s.Log = s.Stop.whole(wrong), s.Log.whole(wrong)
	if l := s.Limits; l.Memory < 0 || l.CPU < 0 || l.Processes < 0 {
		wrong("limits %v, none may be below 0", l)
	}
	return s, errors.Join(errs...)
}

// instances returns how many a Scale is.
func instances(scale int) int {
	if scale == Auto {
		return runtime.GOMAXPROCS(0)
	}
	return max(scale, 1)
}

type wrongFunc func(format string, args ...any)

func (r Readiness) whole(wrong wrongFunc) Readiness {
	nonNegative(wrong, "ready", r.Interval, r.Timeout, r.Window, r.Watchdog)
	orElse(&r.Interval, 250*time.Millisecond)
	orElse(&r.Timeout, 5*time.Second)
	orElse(&r.After, 100*time.Millisecond)
	r.After = max(r.After, 0)
	orElse(&r.Window, max(time.Minute, 2*r.After))
	if r.After > r.Window && !r.Notify && r.Probe == nil {
		wrong("ready after %v, longer than its window, %v", r.After, r.Window)
	}
	return r
}

func (p RestartPolicy) whole(wrong wrongFunc) RestartPolicy {
	nonNegative(wrong, "restart", p.Delay, p.MaxDelay, p.Stable)
	if p.Mode < RestartAlways || p.Mode > RestartNever {
		wrong("restart mode %d, want 0 to %d", p.Mode, RestartNever)
	}
	if p.Burst < 0 {
		wrong("restart burst %d, want 1 or more", p.Burst)
	}
	orElse(&p.Delay, 100*time.Millisecond)
	orElse(&p.MaxDelay, max(p.Delay, 30*time.Second))
	orElse(&p.Stable, 10*time.Second)
	orElse(&p.Burst, 5)
	if p.MaxDelay < p.Delay {
		wrong("restart delay %v, longer than the longest, %v", p.Delay, p.MaxDelay)
	}
	return p
}

func (p StopPolicy) whole(wrong wrongFunc) StopPolicy {
	nonNegative(wrong, "stop", p.Window)
	orElse(&p.Window, 5*time.Second)
	if p.Signal == nil {
		p.Signal = syscall.SIGTERM
	}
	if _, ok := p.Signal.(syscall.Signal); !ok {
		wrong("stop signal %v, not one of this system", p.Signal)
	}
	return p
}

func (p LogPolicy) whole(wrong wrongFunc) LogPolicy {
	if p.MaxSize < 0 || p.MaxSize > 0 && p.MaxSize < mebi {
		wrong("log size %d, want %d bytes or more", p.MaxSize, mebi)
	}
	if p.MaxFiles < 0 || p.Tail < 0 || p.MaxLine < 0 {
		wrong("log with %d files, %d lines in the tail, lines of %d: none may be below 0",
			p.MaxFiles, p.Tail, p.MaxLine)
	}
	if p.MaxLine > maxLine {
		wrong("log lines of %d bytes, limit %d", p.MaxLine, maxLine)
	}
	if p.Full != Drop && p.Full != Block {
		wrong("full log policy %d, want Drop or Block", p.Full)
	}
	orElse(&p.MaxSize, 10*mebi)
	orElse(&p.MaxFiles, 5)
	orElse(&p.MaxLine, 16<<10)
	orElse(&p.Tail, 50)
	orElse(&p.Queue, mebi)
	if p.Queue < minQueue {
		wrong("log queue of %d bytes, want %d or more", p.Queue, minQueue)
	}
	return p
}

// orElse gives *v the default d if it is 0.
func orElse[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func nonNegative(wrong wrongFunc, what string, times ...time.Duration) {
	for _, d := range times {
		if d < 0 {
			wrong("%s: a time of %v, none may be below 0", what, d)
		}
	}
}

// A CycleError says that processes depend on each other in a circle.
type CycleError struct {
	Cycle []string // the first comes again at the end
}

func (e *CycleError) Error() string {
	return "supervisor: dependency cycle: " + strings.Join(e.Cycle, " -> ")
}

// An UnknownError says that there is no process of that name.
type UnknownError struct {
	Name       string
	By         string   // who depends on it; "" if a caller named it
	Candidates []string // the names that there are, the nearest first
}

func (e *UnknownError) Error() string {
	text := fmt.Sprintf("supervisor: no process %q", e.Name)
	if e.By != "" {
		text = fmt.Sprintf("supervisor: process %q depends on %q, which does not exist", e.By,
			e.Name)
	}
	if len(e.Candidates) == 0 {
		return text + ": there are no processes"
	}
	return text + ", there are: " + strings.Join(e.Candidates, ", ")
}

// checkGraph returns all that is wrong with how specs, which are whole, depend on each other.
func checkGraph(specs map[string]*Spec, names []string) error {
	var errs []error
	for _, n := range names {
		for _, d := range specs[n].DependsOn {
			on, ok := specs[d.Name]
			switch {
			case !ok:
				errs = append(errs, &UnknownError{d.Name, n, nearest(d.Name, names)})
			case d.Until < UntilReady || d.Until > UntilDone:
				errs = append(errs, fmt.Errorf("supervisor: process %q depends on %q until %d, "+
					"want 0 to %d", n, d.Name, d.Until, UntilDone))
			case on.Order > specs[n].Order:
				errs = append(errs, fmt.Errorf("supervisor: process %q of order %d depends on %q "+
					"of order %d, which starts later", n, specs[n].Order, d.Name, on.Order))
			}
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if cycle := findCycle(specs, names); cycle != nil {
		return &CycleError{cycle}
	}
	return nil
}

// findCycle returns names that depend on each other in a circle, the first again at the end, or
// nil.
func findCycle(specs map[string]*Spec, names []string) []string {
	done := make(map[string]bool)
	var trail []string
	var visit func(n string) []string
	visit = func(n string) []string {
		if i := slices.Index(trail, n); i >= 0 {
			return append(slices.Clone(trail[i:]), n)
		}
		if done[n] {
			return nil
		}
		trail = append(trail, n)
		for _, d := range specs[n].DependsOn {
			if cycle := visit(d.Name); cycle != nil {
				return cycle
			}
		}
		trail = trail[:len(trail)-1]
		done[n] = true
		return nil
	}
	for _, n := range names {
		if cycle := visit(n); cycle != nil {
			return cycle
		}
	}
	return nil
}

// nearest returns names ordered by how much has to be edited to make name of them.
func nearest(name string, names []string) []string {
	sorted := slices.Sorted(slices.Values(names))
	slices.SortStableFunc(sorted, func(a, b string) int {
		return levenshtein.Distance(name, a, nil) - levenshtein.Distance(name, b, nil)
	})
	return sorted
}
